"""The stored variables of classifier runs."""

from __future__ import annotations

from pipeline.store.variables import LAYER, register

SUBSETS = ("train", "test", "unpermuted", "permuted", "restored")
MOMENTS = ("init", "best", "final")


def _register_all() -> None:
    labels = {
        "recorded_seed": "seed whose activations are recorded",
    }
    for name, meaning in labels.items():
        register(name, (name,), "int64", meaning, coordinate=True)

    accuracy = (
        "share of correct answers, by subset (attribute subsets): train, unpermuted and permuted "
    )
    accuracy += "against the labels that were told, restored and test against the true ones"
    register("accuracy", ("seed", "epoch", "subset"), "float64", accuracy)
    register("last_epoch", ("seed",), "int64", "epoch at which training ended", "epochs")
    best = "epoch of the highest test accuracy, the first of equals"
    register("best_epoch", ("seed",), "int64", best, "epochs")
    told = "label that the network was told"
    register("noisy_labels", ("seed", "sample"), "int64", told)
    drawn = "whether the label was drawn at random"
    register("permuted", ("seed", "sample"), "bool", drawn)

    kept = ("stored_seed", "kept")
    register("kept_epoch", kept, "int64", "epoch of the weight set; -1: none", "epochs")
    sets = "parameters and batch-normalisation statistics, flattened; NaN: none"
    register("kept_weights", (*kept, "parameter"), "float32", sets)

    point = ("recorded_seed", "point")
    register("point_kind", point, "int64", "kind of manifold of the point (attribute kinds)")
    register("point_class", point, "int64", "manifold of the point")
    sample = "training or test sample that the point is; -1: none"
    register("point_sample", point, "int64", sample)
    moment = "epoch of the moment (attribute moments)"
    register("moment_epoch", ("recorded_seed", "moment"), "int64", moment, "epochs")
    units = ("recorded_seed", "moment", "point", f"unit_{LAYER}")
    features = "output of the layer, after the nonlinearity, for the recorded points"
    register("recorded_activations", units, "float32", features)


_register_all()
