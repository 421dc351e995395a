"""Seconds of manifold capacity by the engine and by the plain way, side by side on one thread.

    pip install -e ".[benchmark]"
    python benchmarks/capacity.py [--rounds 3] [--projection] [--docs]

1. 20,000 problems of non-negative least squares: 100 manifolds of 50 points, 200 vectors T each.
2. The example of the authors' programme as a whole: 100 manifolds of 50 Gaussian points in 5000 features,
   the same starts and T both ways; peak memory.
3. --projection: 5000 points of 65,536 features on 5000 random directions, time and peak memory.

The ways are timed in turn, round after round, so that a machine whose speed drifts treats them alike;
medians are reported. --docs writes the tables into docs/capacity.md.
"""

import os

os.environ |= dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)

import argparse
import functools
import importlib.metadata
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import scipy
from threadpoolctl import threadpool_limits

from pipeline.geometry.capacity import manifold_capacity
from pipeline.geometry.capacity.nnls import nonnegative_least_squares
from pipeline.geometry.capacity.projection import project_points
from pipeline.provenance import machine

try:
    import capacity_plain as plain
except ModuleNotFoundError as error:
    if error.name != "cvxopt":
        raise
    sys.exit('The plain way needs cvxopt; install it with pip install -e ".[benchmark]".')

MANIFOLDS, POINTS, FEATURES, VECTORS = 100, 50, 5000, 200
SUBSET = 10  # T of each manifold that cvxopt solves in the first part
WIDE, WIDE_POINTS, DIRECTIONS = 65_536, 5000, 5000
EXTENTS = {"as in the example": 1.0, "small manifolds, 0.1 of that": 0.1}


def example():
    """The manifolds of the authors' example, and the stream that they are drawn from."""
    stream = np.random.RandomState(0)
    return [stream.standard_normal((FEATURES, POINTS)) for _ in range(MANIFOLDS)], stream


def problems(extent):
    """(S, T) of each manifold, its points scaled about its centre; no structure is removed."""
    manifolds, stream = example()
    pairs = []
    for points in manifolds:
        s = plain.reduce_manifold(points)
        s[:-1] *= extent
        pairs.append((s, stream.standard_normal((len(s), VECTORS))))
    return pairs


def by_cvxopt(s, t):
    return t - np.stack([plain.project(s, vector, 0.0) for vector in t.T], axis=1)


def by_scipy(s, t):
    return s @ np.stack([scipy.optimize.nnls(s, vector)[0] for vector in t.T], axis=1)


def by_engine(s, t):
    return s @ nonnegative_least_squares(s.T @ s, t.T @ s).T


WAYS = {
    "cvxopt, a loop": by_cvxopt,
    "scipy.optimize.nnls, a loop": by_scipy,
    "engine": by_engine,
}


def exact(s, t):
    """S a in extended precision, from the points that the engine finds to support it, and their mean
    number.

    a = argmin |S_F a - T| on the support F by iterative refinement; the conditions a >= 0 and
    S^T (T - S a) <= 0 then show that it is the solution, whoever found the support.
    """
    columns, supports = [], []
    wide = s.astype(np.longdouble)
    for vector, rough in zip(t.T, nonnegative_least_squares(s.T @ s, t.T @ s), strict=True):
        members = np.flatnonzero(rough)
        a = rough[members].astype(np.longdouble)
        for _ in range(4 if members.size else 0):
            slack = wide[:, members].T @ (vector - wide[:, members] @ a)
            a += np.linalg.solve(s[:, members].T @ s[:, members], slack.astype(float))
        columns.append(wide[:, members] @ a)
        assert np.all(a > 0)
        assert np.max(s.T @ (vector - columns[-1])) < 1e-13
        supports.append(members.size)
    return np.stack(columns, axis=1), statistics.mean(supports)


def time_problems(extent, rounds):
    """Way -> (seconds for all problems, of each round; errors of S a), and the mean support."""
    pairs = problems(extent)
    subset = [(s, t[:, :SUBSET]) for s, t in pairs]
    by_engine(*subset[0])  # reads or makes the compiled kernels
    times = {way: [] for way in WAYS}
    found = {}
    for _ in range(rounds):
        for way, solve in WAYS.items():
            chosen = subset if solve is by_cvxopt else pairs
            start = time.perf_counter()
            found[way] = [solve(s, t) for s, t in chosen]
            share = len(chosen[0][1].T) / VECTORS
            times[way].append((time.perf_counter() - start) / share)
    right = [exact(s, t) for s, t in subset]
    errors = {
        way: np.concatenate(
            [
                np.max(np.abs(one[:, :SUBSET] - true), axis=0).astype(float)
                for one, (true, _) in zip(ones, right, strict=True)
            ]
        )
        for way, ones in found.items()
    }
    support = statistics.mean(size for _, size in right)
    return {way: (times[way], errors[way]) for way in WAYS}, support


CONJUGATE = "conjugate gradients"
DESCENTS = {"gradient descent": False, CONJUGATE: True}


def plain_example(manifolds, stream, conjugate):
    def draw_start(n, k):
        stream.standard_normal(
            (n + 1, 1)
        )  # the authors' programme draws a mixture that it leaves unused
        return stream.standard_normal((n, k))

    return plain.manifold_capacity(
        manifolds,
        draw_start,
        lambda rows: stream.standard_normal((rows, VECTORS)),
        conjugate=conjugate,
    )


def time_example(rounds, plain_rounds):
    """Seconds of each round, both ways, their results, and the largest relative differences."""
    manifolds, stream = example()
    manifold_capacity([points[:60, :20] for points in manifolds[:8]])  # reads or makes the kernels
    state = stream.get_state()
    times = {"engine": []} | {way: [] for way in DESCENTS}
    usual = {}
    for number in range(rounds):
        for way, conjugate in DESCENTS.items():
            if number < plain_rounds:
                start = time.perf_counter()
                usual[way] = plain_example(manifolds, stream, conjugate)
                times[way].append((time.perf_counter() - start, usual[way]["seconds"]))
                stream.set_state(state)
        start = time.perf_counter()
        ours = manifold_capacity(manifolds, n_t=VECTORS, seed=stream)
        times["engine"].append(time.perf_counter() - start)
        stream.set_state(state)
    difference = {
        name: float(np.max(np.abs(getattr(ours, name) / usual[CONJUGATE][name] - 1)))
        for name in ("capacity", "radius", "dimension")
    }
    return times, usual, ours, difference


def alone(what):
    """Print seconds and peak memory (MB) of this process, which does nothing else."""
    if what == "example":
        manifolds, stream = example()
        run = functools.partial(manifold_capacity, manifolds, n_t=VECTORS, seed=stream)
    else:
        random = np.random.default_rng(0)
        pieces = [
            random.standard_normal((WIDE, WIDE_POINTS // 5), dtype=np.float32) for _ in range(5)
        ]
        run = functools.partial(project_points, pieces, DIRECTIONS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "before_mb": before, "peak_mb": peak}))


def measure_alone(what):
    done = subprocess.run(
        [sys.executable, __file__, "--alone", what], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def middle(values):
    low, high = min(values), max(values)
    return f"{statistics.median(values):.3g} [{low:.3g}, {high:.3g}]"


def table_of_problems(measured):
    """``measured``: name of the problems -> what ``time_problems`` returns."""
    total, subset = MANIFOLDS * VECTORS, MANIFOLDS * SUBSET
    lines = [
        f"{total:,} problems of {POINTS} points in {POINTS + 1} coordinates ({MANIFOLDS} manifolds, "
        f"{VECTORS} vectors T each), kappa 0; from S and T to S a. cvxopt solved {subset:,} of them in "
        "each round and its time is extrapolated linearly. The error of a problem is that of the worst "
        f"coordinate of S a against extended precision, in the same {subset:,}.",
        "",
        "| manifolds | points in use | way | seconds | times faster than cvxopt | error, median | largest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, (ways, support) in measured.items():
        slowest = statistics.median(ways["cvxopt, a loop"][0])
        lines += [
            f"| {name} | {support:.1f} | {way} | {middle(times)} | "
            f"{slowest / statistics.median(times):.3g} | {np.median(errors):.0e} | {errors.max():.0e} |"
            for way, (times, errors) in ways.items()
        ]
    return "\n".join(lines)


def table_of_example(times, usual, ours, difference, memory):
    engine = statistics.median(times["engine"])

    def row(name, values):
        return f"| {name} | {middle(values)} | {statistics.median(values) / engine:.3g} |"

    lines = [
        f"The example of the authors' programme as a whole: {MANIFOLDS} manifolds of {POINTS} Gaussian "
        f"points in {FEATURES} features, {VECTORS} vectors T each, 10 restarts; the same starts and T all "
        "ways.",
        "",
        "| way | seconds | times the engine's |",
        "| --- | --- | --- |",
    ]
    for way in DESCENTS:
        lines.append(row(f"plain, {way}", [seconds for seconds, _ in times[way]]))
        lines += [
            row(f"of which {stage}", [stages[stage] for _, stages in times[way]])
            for stage in usual[way]["seconds"]
        ]
    steps = " and ".join(
        f"{found['iterations']:,} steps of {way} in {10 * found['searched']} descents"
        for way, found in usual.items()
    )
    found = usual[CONJUGATE]
    lines += [
        row("engine", times["engine"]),
        "",
        "The plain way makes all left singular vectors of the centres, as the authors' programme does; only "
        f"the singular values are needed. Its searches took {steps}. Plain way with conjugate gradients and "
        f"engine remove K = {found['K']} and {ours.K} directions; capacity {found['mean_capacity']:.10f} and "
        f"{ours.mean_capacity:.10f}. Largest relative difference of one manifold: "
        + ", ".join(f"{name} {value:.0e}" for name, value in difference.items())
        + f". Peak memory of a process that runs the engine: {memory['peak_mb']:.0f} MB, of which "
        f"{memory['before_mb']:.0f} MB before it starts (the points, Python and its libraries).",
    ]
    return "\n".join(lines)


def text_of_projection(found):
    return (
        f"Projection of {WIDE_POINTS} points of {WIDE:,} features (float32, "
        f"{WIDE * WIDE_POINTS * 4 / 1e6:.0f} MB) on {DIRECTIONS} directions: {found['seconds']:.0f} s, peak "
        f"memory {found['peak_mb']:.0f} MB, of which {found['before_mb']:.0f} MB before it starts; the "
        f"directions alone would be {WIDE * DIRECTIONS * 8 / 1e6:.0f} MB in double precision."
    )


def heading(options):
    hardware = machine()
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("numpy", "scipy", "numba", "cvxopt")
    )
    command = f"python benchmarks/capacity.py --rounds {options.rounds}"
    command += " --projection" * options.projection
    return (
        f"Measured with `{command}` on one thread of "
        f"{hardware['cpu']} ({', '.join(hardware['simd'])}), {versions}; medians of {options.rounds} "
        f"rounds ({options.plain_rounds} of the plain way as a whole), in brackets the smallest and largest."
    )


def write_docs(text):
    from training import BEGIN, END, ROOT  # brings torch along, which nothing else here needs

    page = ROOT / "docs" / "capacity.md"
    before, rest = page.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-rounds", type=int, default=1, help="rounds of the whole plain way")
    parser.add_argument("--projection", action="store_true", help="time a large projection too")
    parser.add_argument(
        "--docs", action="store_true", help="write the tables into docs/capacity.md"
    )
    parser.add_argument("--alone", choices=("example", "projection"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return alone(options.alone)
    # first, while this process is small: Linux counts the parent's memory in its child's peak
    memory = measure_alone("example")
    parts = [heading(options)]
    with threadpool_limits(1):
        measured = {name: time_problems(size, options.rounds) for name, size in EXTENTS.items()}
        parts.append(table_of_problems(measured))
        example_found = time_example(options.rounds, min(options.plain_rounds, options.rounds))
        parts.append(table_of_example(*example_found, memory))
    if options.projection:
        parts.append(text_of_projection(measure_alone("projection")))
    text = "\n\n".join(parts)
    print(text)
    if options.docs:
        write_docs(text)


if __name__ == "__main__":
    main()
