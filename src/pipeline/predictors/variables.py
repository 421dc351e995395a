"""The stored variables of runs whose predictions are recorded."""

from __future__ import annotations

from pipeline.store.variables import register

SPLITS = ("train", "test")


def _register_all() -> None:
    register("model_seed", ("model",), "int64", "seed whose model it is", coordinate=True)
    done = "updates done when the model was recorded"
    register("model_update", ("model",), "int64", done, "updates", coordinate=True)
    passes = "epochs of training done when the model was recorded"
    register("model_epoch", ("model",), "float64", passes, "epochs", coordinate=True)
    for split in SPLITS:
        root = f"square root of the probability that the model gives the class, {split} samples"
        dims = ("model", f"{split}_sample", "class")
        register(f"{split}_root_probabilities", dims, "float32", root)
        told = f"logarithm of the probability that the model gives the true class, {split} samples"
        register(f"{split}_log_likelihood", dims[:2], "float32", told)
        right = f"true class of the {split} sample"
        register(f"{split}_labels", (f"{split}_sample",), "int64", right)
    weights = "weight set of the seed after training, NaN where it diverged"
    register("last_weights", ("seed", "parameter"), "float32", weights)
    update = "updates done when training diverged; -1: it did not"
    register("failed_update", ("seed",), "int64", update, "updates")


_register_all()
