"""Training one group of networks as one batch, epoch by epoch, recording its trajectories."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import TrainingError
from pipeline.hardware import chosen_device, compiler_available
from pipeline.models.initialise import stacked_parameters
from pipeline.seeds import generator
from pipeline.training.convolution_pass import ConvolutionPass
from pipeline.training.dense_pass import DensePass
from pipeline.training.measures import EpochMeasures
from pipeline.training.module_pass import ModulePass, check_network, representations
from pipeline.training.optimizers import Optimizer
from pipeline.training.problem import Architecture, Problem
from pipeline.training.resume import StateFile
from pipeline.training.settings import Settings
from pipeline.training.sparse import density
from pipeline.training.sparse_pass import MAX_DENSITY, SparsePass

log = logging.getLogger(__name__)

# Below this many sample-epochs of one job, compiling costs more than it saves (about 25 s).
COMPILE_WORTH = 2e9


class Pass(Protocol):
    """Measures (and gradients, in place) of all networks of a group at their present parameters."""

    def __call__(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor] | None = None,
        *,
        with_test: bool = True,
    ) -> EpochMeasures: ...


class Engine:
    """The passes that train one group, and what they are, for the record."""

    def __init__(self, problem: Problem, settings: Settings, networks: int):
        self.device = chosen_device(settings.device)
        self.dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.network = settings.build_network(problem.train_images.shape[1])
        check_network(self.network, settings.layers)
        self.compiled = False
        # The full pass measures; the batch pass gives minibatch gradients.
        self.measure: Pass
        self.batches: DensePass | ModulePass | None = None
        if not settings.built_in:
            module = ModulePass(
                problem,
                self.network,
                settings.layers,
                networks,
                device=self.device,
                precision=settings.precision,
            )
            self.kind, self.measure, self.batches = "module", module, module
            return
        architecture = Architecture(
            problem.train_images.shape[1],
            settings.depth,
            settings.width,
            settings.activation,
            settings.layers,
            settings.kernel,
        )
        test_once = settings.test_epochs == "last"
        sparse = (
            self.device == "cpu"
            and settings.precision == "float32"
            and density(problem.train_images) <= MAX_DENSITY
        )
        if sparse:
            self.kind = "sparse"
            # At a single position a convolution is a fully connected layer.
            lanes = SparsePass if architecture.positions == 1 else ConvolutionPass
            self.measure = lanes(
                problem,
                architecture,
                networks,
                settings.threads,
                test_once=test_once,
            )
        if not sparse or settings.batch_size is not None:
            self.compiled = not sparse and self._compiles(problem, settings, networks)
            dense = DensePass(
                problem,
                architecture,
                networks,
                device=self.device,
                precision=settings.precision,
                compiled=self.compiled,
                test_once=test_once,
            )
            self.batches = dense
            if not sparse:
                self.kind, self.measure = "dense", dense

    def _compiles(self, problem: Problem, settings: Settings, networks: int) -> bool:
        if settings.compile is True and self.device == "cpu" and not compiler_available():
            raise TrainingError("compile is true, but there is no C++ compiler; use auto or false.")
        if settings.compile != "auto":
            return bool(settings.compile)
        work = networks * len(problem.train_labels) * settings.epochs
        return self.device == "cpu" and compiler_available() and work >= COMPILE_WORTH

    def describe(self) -> dict[str, Any]:
        """What was used, for the manifest."""
        return {"engine": self.kind, "compiled": self.compiled, "device": self.device}


def train_group(
    problem: Problem,
    seeds: list[int],
    settings: Settings,
    *,
    checkpoints: list[int],
    stored: list[int],
    state: StateFile | None = None,
    progress: Callable[[int, float], None] | None = None,
    parameters: list[np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train the networks ``seeds`` and record them; a saved ``state`` is continued.

    Metrics at epoch t belong to the weights after t updates (full batch) or t epochs (minibatch).
    Returns arrays, seed first: train_error, test_error, loss (R, epochs + 1); radius_plus,
    radius_minus, distance (R, epochs + 1, layers); misclassified (R, epochs + 1, bytes); failed_epoch
    (R,); and, checkpoint first, for the seeds in ``stored``: activations_<l> of the measured layers,
    predictions, weights; with ``settings.final_weights``, final_weights (R, parameters), flattened as by
    torch.nn.utils.parameters_to_vector; and what trained them (Engine.describe). test_error is NaN at
    the epochs that ``settings.test_epochs`` leaves out.
    From the epoch on at which a network has a loss or a weight that is not finite, its values are NaN
    (and its bits in misclassified 0).
    """
    engine = Engine(problem, settings, len(seeds))
    trained = _initial(engine, seeds, settings, parameters)
    gradients = [torch.zeros_like(p) for p in trained]
    for p, gradient in zip(trained, gradients, strict=True):
        p.grad = gradient
    optimizer = settings.build_optimizer(trained)
    records = _empty_records(problem, settings, len(seeds))
    kept: dict[str, list[np.ndarray]] = {}
    start = 0
    if state is not None and (saved := state.load()) is not None:
        start = _restore(saved, trained, optimizer, records, kept)
        log.info("resuming at epoch %d of %d", start, settings.epochs)
    full_batch = settings.batch_size is None
    failed = records["failed_epoch"]
    for epoch in range(start, settings.epochs + 1):
        if state is not None and epoch > start and state.due():
            state.save(_state(epoch, trained, optimizer, records, kept))
        last = epoch == settings.epochs
        # The last epoch needs no gradient, but compiled code without one would have to be made for it.
        wanted = full_batch and (engine.compiled or not last)
        measures = engine.measure(
            trained,
            gradients if wanted else None,
            with_test=last or settings.test_epochs == "all",
        )
        _record(records, epoch, measures)
        _note_failures(records, epoch, measures, trained)
        if epoch in checkpoints and stored:
            positions = [seeds.index(seed) for seed in stored]
            _record_checkpoint(kept, engine, problem, settings.layers, trained, positions, failed)
        if progress is not None:
            alive = measures.train_error[failed < 0]
            progress(epoch, float(alive.mean()) if alive.size else float("nan"))
        if last:
            break
        if full_batch:
            optimizer.step()
        else:
            _minibatch_epoch(engine, problem, settings, seeds, epoch, trained, gradients, optimizer)
        for p in trained:
            p.data[torch.from_numpy(failed >= 0)] = 0
    if settings.final_weights:
        records["final_weights"] = _flat_weights(trained, failed)
    return _finish(records, kept), engine.describe()


def _initial(
    engine: Engine, seeds: list[int], settings: Settings, given: list[np.ndarray] | None
) -> list[Tensor]:
    if given is not None:
        values = [torch.as_tensor(v).to(engine.device, engine.dtype).contiguous() for v in given]
    else:
        values = stacked_parameters(
            engine.network,
            [0] * len(seeds) if settings.shared_init else seeds,
            root=settings.root_seed,
            stream=settings.init_stream or settings.stream,
            scheme=settings.init,
            variance=settings.init_variance,
            dtype=engine.dtype,
            device=engine.device,
        )
    return [value.clone().requires_grad_(True) for value in values]


def _empty_records(problem: Problem, settings: Settings, networks: int) -> dict[str, np.ndarray]:
    shape = (networks, settings.epochs + 1)
    records: dict[str, np.ndarray] = {}
    records |= {name: np.full(shape, np.nan) for name in ("loss", "train_error", "test_error")}
    for name in ("radius_plus", "radius_minus", "distance"):
        records[name] = np.full((*shape, len(settings.layers)), np.nan)
    records["misclassified"] = np.zeros((*shape, -(-len(problem.train_labels) // 8)), np.uint8)
    records["failed_epoch"] = np.full(networks, -1, np.int64)
    return records


def _record(records: dict[str, np.ndarray], epoch: int, measures: EpochMeasures) -> None:
    for name, values in measures._asdict().items():
        records[name][:, epoch] = values


def _note_failures(
    records: dict[str, np.ndarray], epoch: int, measures: EpochMeasures, trained: list[Tensor]
) -> None:
    sound = np.isfinite(measures.loss) & np.isfinite(measures.distance).all(axis=1)
    for p in trained:
        sound = sound & torch.isfinite(p.detach().flatten(1).sum(1)).cpu().numpy()
    fresh = ~sound & (records["failed_epoch"] < 0)
    records["failed_epoch"][fresh] = epoch
    for network in np.flatnonzero(fresh):
        log.warning("network %d of the group failed (not finite) at epoch %d", network, epoch)


def _flat_weights(trained: list[Tensor], failed: np.ndarray) -> np.ndarray:
    """All parameters of every network, (R, parameters) float32; NaN of those that failed."""
    flat = torch.cat([p.detach().flatten(1) for p in trained], 1).float().cpu().numpy()
    flat[failed >= 0] = np.nan
    return flat


def _record_checkpoint(
    kept: dict[str, list[np.ndarray]],
    engine: Engine,
    problem: Problem,
    layers: tuple[int, ...],
    trained: list[Tensor],
    positions: list[int],
    failed: np.ndarray,
) -> None:
    """Representations, logit differences and weights of some networks; NaN of those that failed."""
    images = torch.from_numpy(problem.train_images).to(engine.dtype)
    network = engine.network.to(engine.dtype)
    found: dict[str, list[np.ndarray]] = {}
    for position in positions:
        flat = torch.cat([p.detach()[position].cpu().flatten() for p in trained])
        if failed[position] >= 0:
            flat = torch.full_like(flat, float("nan"))
        with torch.no_grad():
            nn.utils.vector_to_parameters(flat, network.parameters())
            hidden, outputs = representations(network, images)
        for layer in layers:
            name = f"activations_{layer}"
            found.setdefault(name, []).append(hidden[layer - 1].float().numpy())
        difference = (outputs[:, 1] - outputs[:, 0]).float().numpy()
        found.setdefault("predictions", []).append(difference)
        found.setdefault("weights", []).append(flat.float().numpy())
    for name, values in found.items():
        kept.setdefault(name, []).append(np.stack(values))


def _minibatch_epoch(
    engine: Engine,
    problem: Problem,
    settings: Settings,
    seeds: list[int],
    epoch: int,
    trained: list[Tensor],
    gradients: list[Tensor],
    optimizer: Optimizer,
) -> None:
    """The updates of one epoch in minibatches, each network in its own order of the samples.

    Update u takes batch u mod B of pass u div B through the set, B batches to a pass, whatever the
    number of updates in an epoch: a resumed run needs no more than the epoch's number.
    """
    if engine.batches is None:
        raise RuntimeError("an engine for minibatches lacks its batch pass")
    samples, size = len(problem.train_labels), settings.batch_size or 1
    in_pass = -(-samples // size)
    count = settings.updates_per_epoch or in_pass
    names = [0] * len(seeds) if settings.shared_order else seeds
    drawn, index = -1, torch.empty(0)
    for update in range(epoch * count, (epoch + 1) * count):
        number, batch = divmod(update, in_pass)
        if number != drawn:
            orders = [
                generator(settings.root_seed, settings.stream, seed, "order", number).permutation(
                    samples
                )
                for seed in names
            ]
            drawn, index = number, torch.from_numpy(np.stack(orders)).to(engine.device)
        part = index[:, batch * size : (batch + 1) * size]
        engine.batches.batch_gradients(trained, gradients, part)
        optimizer.step()


def _state(
    epoch: int,
    trained: list[Tensor],
    optimizer: Optimizer,
    records: dict[str, np.ndarray],
    kept: dict[str, list[np.ndarray]],
) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "parameters": [p.detach().cpu() for p in trained],
        "optimizer": optimizer.state_dict(),
        "records": {name: torch.from_numpy(values) for name, values in records.items()},
        "kept": {name: [torch.from_numpy(v) for v in values] for name, values in kept.items()},
    }


def _restore(
    saved: dict[str, Any],
    trained: list[Tensor],
    optimizer: Optimizer,
    records: dict[str, np.ndarray],
    kept: dict[str, list[np.ndarray]],
) -> int:
    with torch.no_grad():
        for p, value in zip(trained, saved["parameters"], strict=True):
            p.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    for name, values in saved["records"].items():
        records[name][:] = values.numpy()
    kept.update({name: [v.numpy() for v in values] for name, values in saved["kept"].items()})
    return int(saved["epoch"])


def _finish(
    records: dict[str, np.ndarray], kept: dict[str, list[np.ndarray]]
) -> dict[str, np.ndarray]:
    for network, epoch in enumerate(records["failed_epoch"]):
        if epoch >= 0:
            for name in ("loss", "train_error", "test_error"):
                records[name][network, epoch:] = np.nan
            for name in ("radius_plus", "radius_minus", "distance"):
                records[name][network, epoch:] = np.nan
            records["misclassified"][network, epoch:] = 0
    return records | {name: np.stack(values) for name, values in kept.items()}
