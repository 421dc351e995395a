"""Data sets by name or by configuration entry, and their form in a store."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.data.files import MissingEverywhere, sha256_of_array
from pipeline.data.images import ImageDataset
from pipeline.data.pictures import PictureDataset
from pipeline.data.points import PointDataset
from pipeline.data.sources import chosen_sources
from pipeline.data.status import COMPLETE, SUBSTITUTED, UNAVAILABLE
from pipeline.errors import ConfigError, DataError
from pipeline.registry import lookup, resolve

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)

Dataset = ImageDataset | PointDataset | PictureDataset

DEFAULT_ROOT = Path("data")
LOADERS = {
    "mnist": "pipeline.data.idx:mnist",
    "fashion_mnist": "pipeline.data.idx:fashion_mnist",
    "kmnist": "pipeline.data.idx:kmnist",
    "kmnist_test_as_train": "pipeline.data.idx:kmnist_test_as_train",
    "cifar10": "pipeline.data.cifar:cifar10",
    "cifar100": "pipeline.data.cifar:cifar100",
    "tiny_imagenet": "pipeline.data.tiny_imagenet:tiny_imagenet",
    "imagenet": "pipeline.data.imagenet:imagenet",
    "spheres": "pipeline.data.spheres:spheres",
    "generated": "pipeline.data.generated:generated",
    "generated_colour": "pipeline.data.generated:generated_colour",
}
TRAIN_SPLIT, TEST_SPLIT = 0, 1
ENTRY_KEYS = ("loader", "options", "samples", "shape", "classes", "optional", "in_place")


def load(
    name: str,
    root: Path | str | None = None,
    sources: Sequence[str] | None = None,
    **options: Any,
) -> Dataset:
    """A data set by name, checked against its published checksums.

    Arguments
    ---------
    name: one of ``LOADERS``.
    root: folder of data in torchvision's layout (default ``data`` in the working directory); what
        is fetched is written there.
    sources: which of folder, mirror, registry to try, in order (default: $PIPELINE_DATA_SOURCES,
        else all three).
    options: further arguments of the loader, such as ``train_samples`` of ``generated``.

    Raises ConfigError for an unknown name, source or option; DataError for data that are missing
    everywhere, or altered.
    """
    return load_entry(
        {"loader": lookup("data set", name, LOADERS), "options": options}, root, sources
    )


def load_entry(
    entry: Mapping[str, Any],
    root: Path | str | None = None,
    sources: Sequence[str] | None = None,
) -> Dataset:
    """The data set of a configuration entry ``{loader: reference, options: {...}}``.

    A loader is a function ``loader(root: Path, **options)`` that returns an ImageDataset, a
    PointDataset of vectors, or a PictureDataset of files that stay where they are; one that has a
    keyword ``sources`` is told which to try. The entry may state ``samples`` ({train, test}), the
    ``shape`` of one sample, the number of ``classes`` and whether its files stay ``in_place``, on which
    plans made without the data rest; the data must then agree (a class may lack samples). ``optional``
    concerns ``prepare`` only.

    Raises ConfigError for an unknown key, loader or option, and where the data are of another size.
    """
    if "loader" not in entry or not set(entry) <= set(ENTRY_KEYS):
        raise ConfigError(
            f"a data set's entry has the keys {', '.join(ENTRY_KEYS)} (loader at least), "
            f"not {', '.join(sorted(entry)) or 'none'}."
        )
    for key in ("optional", "in_place"):
        if not isinstance(entry.get(key, False), bool):
            raise ConfigError(
                f"{key} is {entry[key]!r} in the entry of {entry['loader']}; "
                "valid are true and false."
            )
    reference, options = entry["loader"], dict(entry.get("options") or {})
    loader = resolve(reference)
    parameters = list(inspect.signature(loader).parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        for option in options:
            if option not in names or option == "sources":
                valid = ", ".join(n for n in names if n != "sources") or "none"
                raise ConfigError(f"{reference} has no option {option!r}; its options: {valid}.")
    if "sources" in names:
        options["sources"] = chosen_sources(sources)
    dataset = loader(DEFAULT_ROOT if root is None else Path(root), **options)
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"{reference} returns {type(dataset).__name__}; "
            "it must be an ImageDataset, a PointDataset or a PictureDataset."
        )
    _require_as_stated(entry, dataset)
    return dataset


def _require_as_stated(entry: Mapping[str, Any], dataset: Dataset) -> None:
    if isinstance(dataset, PictureDataset):
        in_place, shape = True, dataset.shape
    else:
        in_place, shape = False, getattr(dataset, f"train_{dataset.kind}").shape[1:]
    found = {
        "in_place": in_place,
        "samples": {"train": len(dataset.train_labels), "test": len(dataset.test_labels)},
        "shape": list(shape),
    }
    for key, value in found.items():
        if entry.get(key) not in (None, value):
            raise ConfigError(
                f"the entry of {entry['loader']} states {key}: {entry[key]}, but {dataset.name} "
                f"has {value}: correct the entry."
            )
    classes = entry.get("classes")
    if classes is None:
        return
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ConfigError(
            f"classes is {classes!r} in the entry of {entry['loader']}; "
            "valid are whole numbers from 1 on."
        )
    least = int(max(dataset.train_labels.max(), dataset.test_labels.max())) + 1
    if least > classes:
        raise ConfigError(
            f"the entry of {entry['loader']} states classes: {classes}, but {dataset.name} has at "
            f"least {least}: correct the entry."
        )


def to_store_dataset(dataset: Dataset) -> xr.Dataset:
    """The data set as it is stored: training samples first, each split in its published order.

    Variables ``images`` (sample, row, column[, channel]) uint8, or ``points`` (sample, feature)
    float32 of vectors, or ``pictures`` (sample, byte) uint8 of names of files, ``labels`` (sample) int64
    and ``split`` (sample) uint8 (0 training, 1 test); attributes ``name``, ``status`` (complete),
    ``train_samples`` and ``test_samples``, ``provenance`` (the sha256 of every array), ``origin`` (where
    the data came from this time), and of files the ``shape`` that networks are given.
    """
    import xarray as xr

    keys = (f"train_{dataset.kind}", "train_labels", f"test_{dataset.kind}", "test_labels")
    arrays = {key: getattr(dataset, key) for key in keys}
    inputs = np.concatenate([arrays[keys[0]], arrays[keys[2]]])
    split = np.repeat(
        np.array([TRAIN_SPLIT, TEST_SPLIT], np.uint8),
        [len(dataset.train_labels), len(dataset.test_labels)],
    )
    checksums = {key: sha256_of_array(array) for key, array in arrays.items()}
    return xr.Dataset(
        {
            dataset.kind: (dataset.dims[: inputs.ndim], inputs),
            "labels": (("sample",), np.concatenate([dataset.train_labels, dataset.test_labels])),
            "split": (("sample",), split),
        },
        attrs={
            "name": dataset.name,
            "status": COMPLETE,
            "train_samples": len(dataset.train_labels),
            "test_samples": len(dataset.test_labels),
            "provenance": {"sha256": checksums},
            "origin": dict(dataset.provenance),
            **({"shape": list(dataset.shape)} if isinstance(dataset, PictureDataset) else {}),
        },
    )


def prepare(
    entry: Mapping[str, Any], root: Path | str, sources: Sequence[str] | None = None
) -> xr.Dataset:
    """What the workflow stores of a configuration entry; ``status.data_status`` reads it back.

    As ``to_store_dataset``. Where no source has the data of an entry that says ``optional: true``:
    the arrays of the substitute that the data set has, status ``substituted`` and a sentence
    ``substitution``; else no arrays, status ``unavailable`` and a sentence ``reason``.

    Raises as ``load_entry``; an altered file is an error, whatever is optional.
    """
    try:
        return to_store_dataset(load_entry(entry, root, sources))
    except MissingEverywhere as missing:
        if not entry.get("optional"):
            raise
        return _substituted(missing, entry, root, sources) or _unavailable(missing)


def _substituted(
    missing: MissingEverywhere,
    entry: Mapping[str, Any],
    root: Path | str,
    sources: Sequence[str] | None,
) -> xr.Dataset | None:
    """The store's form of what stands in for missing data; None where that is missing as well."""
    if missing.substitute is None:
        return None
    try:
        dataset = load(missing.substitute, root, sources)
    except MissingEverywhere:
        return None
    _require_as_stated({**entry, "samples": None}, dataset)  # it has sizes of its own
    stored = to_store_dataset(dataset)
    how = dataset.provenance.get("substitution")
    sentence = (
        f"{dataset.name} stands in for {missing.name}, which was not found in any source: "
        f"{stored.attrs['train_samples']} training and {stored.attrs['test_samples']} test samples"
        f"{f' ({how})' if how else ''}."
    )
    log.warning("%s", sentence)
    return stored.assign_attrs(status=SUBSTITUTED, substitution=sentence)


def _unavailable(missing: MissingEverywhere) -> xr.Dataset:
    """The store's form of data that cannot be had; what each source answered is in ``origin``."""
    import xarray as xr

    log.warning("%s", missing)
    return xr.Dataset(
        attrs={
            "name": missing.name,
            "status": UNAVAILABLE,
            "train_samples": 0,
            "test_samples": 0,
            "reason": missing.reason,
            "origin": {"origin": "none", "answers": str(missing)},
        }
    )
