"""Distances out of core: chunked = whole, only new tiles are computed, damaged tiles are not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from made_up_predictions import RECORD, ROOTS, plain_distances, prediction_store, stress, trajectory

from pipeline.errors import GeometryError
from pipeline.execution.dask_workers import DaskSettings, dask_workers
from pipeline.geometry.bhattacharyya import pairwise_distances, stored
from pipeline.geometry.bhattacharyya.chosen_samples import count_of, sample_groups, sample_runs
from pipeline.geometry.bhattacharyya.sources import Source, prediction_sources, split_models
from pipeline.geometry.bhattacharyya.stored import TileMatrix, measure_tiles
from pipeline.geometry.inpca import embed, explained_distances
from pipeline.geometry.prediction_distances import DISTANCES, prediction_distances
from pipeline.store import manifest

SIDE = 32


@pytest.fixture(scope="module")
def predictions() -> list[np.ndarray]:
    return [trajectory(0, models=45)[0], stress(0), trajectory(1, models=33)[0]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, predictions: list[np.ndarray]) -> list[Path]:
    root = tmp_path_factory.mktemp("predictions")
    return [prediction_store(root / f"run{k}", p) for k, p in enumerate(predictions)]


def as_stored(predictions: list[np.ndarray]) -> np.ndarray:
    """Predictions as stores of float32 roots hold them: those below 1e-76 have few digits left."""
    roots = np.sqrt(np.concatenate(predictions)).astype(np.float32)
    return np.square(roots.astype(np.float64))


def plain_matrix(p: np.ndarray) -> np.ndarray:
    plain = plain_distances(p, p)
    np.fill_diagonal(plain, 0)
    return plain


def measured(stores: list[Path], folder: Path, **options: Any) -> TileMatrix:
    measure_tiles(prediction_sources(stores, ROOTS), folder, RECORD, side=SIDE, **options)
    return TileMatrix(folder)


def test_tiles_are_the_whole_matrix(
    tmp_path: Path, stores: list[Path], predictions: list[np.ndarray]
) -> None:
    found = measured(stores, tmp_path / "D")
    p = as_stored(predictions)
    assert found.models == len(p)
    whole = plain_matrix(p)
    np.testing.assert_allclose(found.whole(), whole, rtol=1e-7, atol=1e-7)  # stored in float32
    of_probabilities = pairwise_distances(np.concatenate(predictions))
    np.testing.assert_allclose(found.whole(), of_probabilities, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.whole(), found.whole().T, rtol=0, atol=0)
    stored_values = found.whole().astype(np.float64)
    np.testing.assert_allclose(found.rows, stored_values.sum(axis=1), rtol=1e-12)
    assert found.squares == pytest.approx((stored_values**2).sum(), rel=1e-12)
    x = np.random.default_rng(0).standard_normal((len(p), 5))
    np.testing.assert_allclose(found.multiply(x), stored_values @ x, rtol=1e-10, atol=1e-8)
    several = TileMatrix(tmp_path / "D", threads=3)
    np.testing.assert_array_equal(several.multiply(x), found.multiply(x))


@pytest.mark.parametrize("block_bytes", [1, 10_000, 10**9])
def test_sample_blocks_do_not_matter(
    tmp_path: Path,
    stores: list[Path],
    predictions: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    block_bytes: int,
) -> None:
    monkeypatch.setattr(stored, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(stored, "CHUNK_BYTES", 1)
    found = measured(stores[:2], tmp_path / "D")
    plain = plain_matrix(as_stored(predictions[:2]))
    np.testing.assert_allclose(found.whole(), plain, rtol=1e-7, atol=2e-7)


def test_chunks_of_samples_are_read_once(
    tmp_path: Path, stores: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of 1,000 classes are larger than a block: read a sample at a time, each would be read often."""
    monkeypatch.setattr(stored, "BLOCK_BYTES", 1)
    read: list[tuple[int, int, int, int]] = []
    plain = Source.read

    def counted(self: Source, first: int, last: int, samples: slice) -> Any:
        read.append((first, last, samples.start, samples.stop))
        return plain(self, first, last, samples)

    monkeypatch.setattr(Source, "read", counted)
    measure_tiles(prediction_sources(stores[:1], ROOTS), tmp_path / "D", RECORD, side=64)
    assert len(read) == len({*read}) == 3
    assert {stop - start for _, _, start, stop in read} == {20}  # a chunk of the made-up stores


def test_only_new_tiles_are_computed(
    tmp_path: Path, stores: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[tuple[int, int]] = []
    plain = stored.tile_distances

    def counted(left: Any, right: Any, *rest: Any, **options: Any) -> Any:
        computed.append((left.models, right.models))
        return plain(left, right, *rest, **options)

    monkeypatch.setattr(stored, "tile_distances", counted)
    cache = tmp_path / "cache"
    first = measured(stores[:2], tmp_path / "D", cache=cache)
    assert len(computed) == len(first.places) == 6  # 45 + 49 models: blocks of 32, 32, 30
    computed.clear()
    more = measured(stores, tmp_path / "more", cache=cache)
    assert len(more.places) == 10
    assert len(computed) == 10 - 3  # of the two blocks that stayed the same
    computed.clear()
    again = measured(stores, tmp_path / "more", cache=cache)
    assert not computed
    np.testing.assert_array_equal(again.whole(), more.whole())
    fresh = measured(stores, tmp_path / "fresh")
    assert manifest.read(tmp_path / "fresh") == manifest.read(tmp_path / "more")
    np.testing.assert_array_equal(fresh.whole(), more.whole())


@pytest.mark.parametrize("damage", ["empty", "cut", "bit"])
def test_a_damaged_tile_of_the_cache_is_computed_again(
    tmp_path: Path, stores: list[Path], damage: str
) -> None:
    cache = tmp_path / "cache"
    first = measured(stores[:1], tmp_path / "D", cache=cache)
    wanted = first.whole()
    for path in cache.iterdir():
        content = bytearray(path.read_bytes())
        if damage == "bit":
            content[len(content) // 2] ^= 16
        path.write_bytes({"empty": b"", "cut": content[:-40], "bit": content}[damage])
    again = measured(stores[:1], tmp_path / "again", cache=cache)
    np.testing.assert_array_equal(again.whole(), wanted)


def test_a_matrix_of_tiles_is_embedded(
    tmp_path: Path, stores: list[Path], predictions: list[np.ndarray]
) -> None:
    matrix = measured(stores, tmp_path / "D")
    found = matrix.embed(5)
    whole = embed(pairwise_distances(np.concatenate(predictions)), 5)
    scale = np.abs(whole.coordinates).max()
    np.testing.assert_allclose(found.coordinates, whole.coordinates, atol=1e-4 * scale)
    np.testing.assert_allclose(found.explained_stress, whole.explained_stress, atol=1e-5)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_every_scheduler_gives_the_same_bits(
    tmp_path: Path, stores: list[Path], scheduler: str
) -> None:
    with dask.config.set(scheduler=scheduler, num_workers=3):
        measured(stores[:2], tmp_path / "D")
    with dask.config.set(scheduler="threads", num_workers=1):
        measured(stores[:2], tmp_path / "one")
    assert manifest.read(tmp_path / "D") == manifest.read(tmp_path / "one")


def test_blocks_go_across_stores_and_are_named_by_content(tmp_path: Path) -> None:
    sources = [Source("a", "x", (5, 2, 2), "1"), Source("b", "x", (4, 2, 2), "2")]
    blocks = split_models(sources, 3)
    sizes = [[(part[0].folder, part[1], part[2]) for part in block.parts] for block in blocks]
    assert sizes == [[("a", 0, 3)], [("a", 3, 5), ("b", 0, 1)], [("b", 1, 4)]]
    moved = [Source("elsewhere", "x", (5, 2, 2), "1"), sources[1]]
    assert [b.key() for b in split_models(moved, 3)] == [b.key() for b in blocks]
    other = [sources[0], Source("b", "x", (4, 2, 2), "3")]
    same = [b.key() == c.key() for b, c in zip(split_models(other, 3), blocks, strict=True)]
    assert same == [True, False, False]


def test_stores_that_do_not_fit_are_refused(tmp_path: Path, stores: list[Path]) -> None:
    odd = prediction_store(tmp_path / "odd", trajectory(0, models=3, samples=9)[0])
    with pytest.raises(GeometryError, match="must be of the same samples and classes"):
        prediction_sources([stores[0], odd], ROOTS)
    with pytest.raises(GeometryError, match="holds no logits"):
        prediction_sources(stores, "logits")
    with pytest.raises(GeometryError, match="No store of predictions"):
        prediction_sources([], ROOTS)
    with pytest.raises(GeometryError, match="holds no matrix of distances"):
        TileMatrix(stores[0])


def test_workers_in_other_processes_give_the_same_bits(tmp_path: Path, stores: list[Path]) -> None:
    measured(stores[:2], tmp_path / "here")
    with dask_workers(DaskSettings(kind="local", memory_mb=1000)):
        measured(stores[:2], tmp_path / "there", cache=tmp_path / "cache")
    assert manifest.read(tmp_path / "there") == manifest.read(tmp_path / "here")


def test_what_is_no_prediction_is_refused_not_measured(tmp_path: Path) -> None:
    """A NaN would be a distance of 0 to everyone."""
    p = trajectory(0, models=6)[0]
    p[3, 7, 2] = np.nan
    with pytest.raises(GeometryError, match=r"test_root_probabilities\[3, 7\] of the store .*bad"):
        measured([prediction_store(tmp_path / "bad", p)], tmp_path / "D")
    twice = trajectory(0, models=3)[0] ** 2  # not normalised
    with pytest.raises(GeometryError, match="no roots of probabilities that sum to 1"):
        measured([prediction_store(tmp_path / "twice", twice)], tmp_path / "D")


def test_chosen_models_and_samples(
    tmp_path: Path, stores: list[Path], predictions: list[np.ndarray]
) -> None:
    models, samples = [3, 1, 40], [0, 1, 2, 17, 30, 31, 59]
    sources = prediction_sources(stores[:2], ROOTS, {str(stores[0]): models})
    measure_tiles(sources, tmp_path / "D", RECORD, side=SIDE, samples=samples)
    p = as_stored([predictions[0][models], predictions[1]])[:, samples]
    found = TileMatrix(tmp_path / "D").whole()
    np.testing.assert_allclose(found, plain_matrix(p), rtol=1e-7, atol=2e-7)
    with pytest.raises(GeometryError, match="valid are 0 to 44"):
        prediction_sources(stores, ROOTS, {str(stores[0]): [45]})
    for wrong in ([], [3, 3], [5, 60]):
        with pytest.raises(GeometryError, match="amples"):
            measure_tiles(sources, tmp_path / "no", RECORD, samples=wrong)


@pytest.mark.parametrize("kind", DISTANCES)
def test_other_distances_out_of_core(
    tmp_path: Path, stores: list[Path], predictions: list[np.ndarray], kind: str
) -> None:
    measure_tiles(prediction_sources(stores, ROOTS), tmp_path / "D", RECORD, side=SIDE, kind=kind)
    wanted = prediction_distances(np.concatenate(predictions), kind=kind)
    found = TileMatrix(tmp_path / "D").whole()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_equal_blocks_keep_tiles_of_their_own(tmp_path: Path) -> None:
    """Six times the same models: all tiles off the diagonal have one key, and many writers."""
    p = trajectory(0, models=8)[0]
    folders = [prediction_store(tmp_path / f"run{k}", p) for k in range(6)]
    with dask.config.set(scheduler="threads", num_workers=4):
        for name in ("first", "again"):
            sources = prediction_sources(folders, ROOTS)
            measure_tiles(sources, tmp_path / name, RECORD, side=8, cache=tmp_path / "cache")
        measure_tiles(sources, tmp_path / "plain", RECORD, side=8)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert manifest.read(tmp_path / "plain") == manifest.read(tmp_path / "first")
    assert manifest.read(tmp_path / "plain") == manifest.read(tmp_path / "again")


def test_what_a_stored_matrix_explains(tmp_path: Path, stores: list[Path]) -> None:
    matrix = measured(stores, tmp_path / "D")
    D = matrix.whole().astype(np.float64)
    found = embed(D, 8)
    explained = matrix.explained_distances(found.coordinates, found.signature)
    wanted = explained_distances(D, found.coordinates, found.signature)
    np.testing.assert_allclose(explained, wanted, atol=1e-10)
    moved = found.transform_tiles(matrix.multiply)
    scale = np.abs(found.coordinates).max()
    np.testing.assert_allclose(moved, found.coordinates, atol=1e-9 * scale)
    other = D * np.linspace(1, 1.5, len(D))[:, None]
    np.testing.assert_allclose(
        found.transform_tiles(lambda x: other @ x), found.transform(other), atol=1e-9 * scale
    )
    with pytest.raises(GeometryError, match="finite ones"):
        matrix.explained_distances(found.coordinates[:-1], found.signature)


def test_refusals_leave_an_earlier_matrix_as_it_is(tmp_path: Path, stores: list[Path]) -> None:
    before = measured(stores[:1], tmp_path / "D").whole()
    sources = prediction_sources(stores[:1], ROOTS)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"kind": "cosine"}, "There is no distance 'cosine'"),
        ({"side": 0}, "side is 0"),
        ({"samples": [60]}, "valid are 0 to 59"),
    ]
    for options, text in wrong:
        with pytest.raises(GeometryError, match=text):
            measure_tiles(sources, tmp_path / "D", RECORD, **options)
    np.testing.assert_array_equal(TileMatrix(tmp_path / "D").whole(), before)
    with pytest.raises(GeometryError, match="which is not among the stores"):
        prediction_sources(stores, ROOTS, {"elsewhere": [0]})


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
@pytest.mark.parametrize("count", [1, 10, 60, 100])
def test_groups_hold_each_chosen_sample_once_and_read_each_chunk_once(
    chunk: int, count: int
) -> None:
    chosen = np.sort(np.random.default_rng(count).choice(100, count, replace=False))
    for step in (3, 7 * chunk):
        groups = sample_groups(sample_runs(100, chosen), chunk, step)
        found = [
            np.arange(read.start, read.stop)[slice(None) if some is None else some]
            for group in groups
            for read, some in group
        ]
        np.testing.assert_array_equal(np.concatenate(found), chosen)
        assert max(count_of(group) for group in groups) <= max(step, chunk)
        if chunk <= step and count < 100:
            read = [one.start // chunk for group in groups for one, _ in group]
            assert len(read) == len(set(read)) == len(set(chosen // chunk))


def test_groups_of_all_samples_are_consecutive() -> None:
    groups = sample_groups(sample_runs(10, None), 2, 4)
    assert groups == [[(slice(0, 4), None)], [(slice(4, 8), None)], [(slice(8, 10), None)]]
