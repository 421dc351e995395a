"""Random streams: named, independent, the same for ever."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.seeds import PURPOSES, generator


def first(*arguments: object) -> int:
    return int(generator(*arguments).integers(2**62))  # type: ignore[arg-type]


def test_streams_never_change() -> None:
    # every result depends on these numbers
    assert generator(2303, "stragglers/main", 0, "init").integers(1000, size=4).tolist() == [
        402,
        631,
        743,
        118,
    ]
    assert generator(0, "a", 1, "order", 7).permutation(6).tolist() == [2, 5, 3, 4, 1, 0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_name_gives_the_same_numbers_whatever_was_drawn_before(seed: int) -> None:
    expected = generator(1, "run", seed, "init").standard_normal(5)
    generator(1, "run", seed, "noise").standard_normal(100)
    np.testing.assert_array_equal(generator(1, "run", seed, "init").standard_normal(5), expected)


def test_every_part_of_the_name_counts() -> None:
    names = list(itertools.product((0, 1, 11), ("a", "a/1", "1/a"), (0, 1, 11), ("init", "order")))
    names += [(*name, counter) for name in names for counter in (0, 1)]
    assert len({first(*name) for name in names}) == len(names)


def test_counters_are_ordered_and_their_kind_does_not_count() -> None:
    assert first(0, "a", 0, "order", 1, 2) != first(0, "a", 0, "order", 2, 1)
    assert first(0, "a", 0, "order", 12) != first(0, "a", 0, "order", 1, 2)
    assert first(np.int64(5), "a", np.int32(1), "order", np.int64(3)) == first(
        5, "a", 1, "order", 3
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streams_are_uncorrelated_and_normal(seed: int) -> None:
    draws = np.stack(
        [generator(3, "run", seed, purpose).standard_normal(20000) for purpose in PURPOSES]
    )
    correlation = np.corrcoef(draws) - np.eye(len(PURPOSES))
    assert abs(correlation).max() < 5 / np.sqrt(20000)
    assert abs(draws.mean(axis=1)).max() < 5 / np.sqrt(20000)
    assert abs(draws.std(axis=1) - 1).max() < 0.03


def test_unknown_purposes_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'shuffle' is no random stream; known are: init, order"):
        generator(0, "a", 0, "shuffle")
