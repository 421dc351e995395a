# Configuration, paths and functions that the rules share; no rules here.
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
# The library beside this file is used, here and in jobs, whatever else is installed.
LIBRARY = str(ROOT / "src")
if LIBRARY not in sys.path[:1]:
    sys.path.insert(0, LIBRARY)
    found = os.environ.get("PYTHONPATH")
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, found])))

from pipeline.errors import PipelineError
from pipeline.config import load_config, run_parameters
from pipeline.fingerprint import code_fingerprint
from pipeline.plan import check_disk, job_estimate, plan_table, run_summary
from pipeline.staleness import write_requests

# Targets that compute no results, and so need no room for them (clean_<paper> makes some).
MAINTENANCE = {"plan", "verify", "disk_use", "benchmark", "rulegraph"}


def fail(error):
    """End with one sentence: a raised error would come with lines of the Snakefile."""
    print(error, file=sys.stderr)
    sys.exit(1)


try:
    CONFIG = load_config(ROOT, config)
    # What the papers did: another data set than theirs is a substitute.
    STATED = load_config(ROOT, {"scale": "paper"})
except PipelineError as error:
    fail(error)

SCALE = CONFIG["scale"]
RESULTS = f"results/{SCALE}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
# Folders below results/<scale> that hold one folder per paper.
RESULT_KINDS = ("runs", "geometry", "inversion", "figures", "export", "state")


def code_of(script, *references):
    """Fingerprint of a rule's script with our modules that it imports, for params.code."""
    try:
        return code_fingerprint(
            ROOT / "workflow/scripts" / script, references, root=Path.cwd()
        )
    except PipelineError as error:
        fail(error)


def run_of(wildcards):
    """The resolved settings of the run that the wildcards name."""
    runs = CONFIG[wildcards.paper]["runs"]
    if wildcards.run not in runs:
        fail(
            f"{wildcards.run!r} is no run of {wildcards.paper}; its runs are: {', '.join(runs)}."
        )
    return runs[wildcards.run]


def members(paper, groups):
    """The runs of some groups, in order, each once."""
    names = [name for group in groups for name in CONFIG[paper]["groups"][group]]
    return list(dict.fromkeys(names))


def folders(kind, paper, groups):
    """Folders results/<scale>/<kind>/<paper>/<run> of all runs of some groups."""
    return [f"{RESULTS}/{kind}/{paper}/{name}" for name in members(paper, groups)]


def stated_dataset(paper, name):
    """The data set that the paper used for a run; None for a run that is not the paper's."""
    runs = STATED[paper]["runs"] if paper in STATED["papers"] else {}
    return runs[name]["dataset"] if name in runs else None


def run_table(paper, groups):
    """What a figure or a claim is told of its runs: group, name, settings, folders."""
    return [
        {
            "group": group,
            "name": name,
            "config": CONFIG[paper]["runs"][name],
            "trajectories": f"{RESULTS}/runs/{paper}/{name}",
            "inversion": f"{RESULTS}/inversion/{paper}/{name}",
            "stated_dataset": stated_dataset(paper, name),
        }
        for group in groups
        for name in CONFIG[paper]["groups"][group]
    ]


def claim_runs(wildcards):
    """Groups of runs that the claims of a paper need."""
    groups = [
        group for claim in CONFIG[wildcards.paper]["claims"] for group in claim["runs"]
    ]
    return list(dict.fromkeys(groups))


def figures_of(papers):
    """The pictures of all figures of some papers."""
    return [
        f"{RESULTS}/figures/{paper}/fig{figure}.png"
        for paper in papers
        for figure in CONFIG[paper]["figures"]
    ]


def geometry_of(papers):
    """The recomputed geometry of all runs of some papers: the check of what training recorded."""
    return [
        f"{RESULTS}/geometry/{paper}/{run}/manifest.json"
        for paper in papers
        for run in CONFIG[paper]["runs"]
    ]


def figure_of(wildcards):
    """The config entry of the figure that the wildcards name."""
    figures = CONFIG[wildcards.paper]["figures"]
    if wildcards.figure not in figures:
        valid = ", ".join(figures)
        fail(
            f"{wildcards.figure!r} is no figure of {wildcards.paper}; its figures are: {valid}."
        )
    return figures[wildcards.figure]


def dataset_of(wildcards):
    """The config entry of the data set that the wildcards name."""
    datasets = CONFIG["datasets"]
    if wildcards.dataset not in datasets:
        valid = ", ".join(datasets)
        fail(f"{wildcards.dataset!r} is no known data set; known are: {valid}.")
    return datasets[wildcards.dataset]


def estimate(wildcards):
    """Estimated seconds, memory and disk of training one run (see `snakemake plan`)."""
    run_of(wildcards)
    return costs(job_estimate, wildcards.paper, wildcards.run)


def costs(function, *arguments):
    """What a function of pipeline.plan says of the configuration, its errors as one sentence."""
    try:
        return function(CONFIG, *arguments)
    except PipelineError as error:
        fail(error)


def training_code(run):
    """Fingerprint of the code that trains a run: the engine, its network and its optimiser."""
    network, optimizer = (
        CONFIG["networks"][run["network"]],
        CONFIG["optimizers"][run["optimizer"]],
    )
    return code_of("train_run.py", network["builder"], optimizer["builder"])


def data_code(dataset):
    """Fingerprint of the code that prepares a data set."""
    return code_of("prepare_data.py", CONFIG["datasets"][dataset]["loader"])


def expected(kind, name, config, code):
    """The request and the manifest of a store, and what it should be made with."""
    request = f"{RESULTS}/requests/{kind}/{name}.json"
    return request, f"{RESULTS}/{kind}/{name}/manifest.json", config, code


def expected_stores():
    """``expected`` of every store of the configured data sets and runs."""
    for name, entry in CONFIG["datasets"].items():
        yield expected("data", name, {"entry": entry}, data_code(name))
    for paper in CONFIG["papers"]:
        for run, settings in CONFIG[paper]["runs"].items():
            name = f"{paper}/{run}"
            config = run_parameters(CONFIG, paper, run)
            layer = {"layer": settings["layers"][0]}
            yield expected("runs", name, config, training_code(settings))
            yield expected("geometry", name, config, code_of("measure_geometry.py"))
            yield expected(
                "inversion", name, config | layer, code_of("find_inversion.py")
            )


def check_start():
    """One line on what is ahead; refuse where the disk cannot hold it."""
    targets = set(workflow.dag_settings.targets)
    maintenance = MAINTENANCE | {f"clean_{paper}" for paper in CONFIG["papers"]}
    if targets and not targets - maintenance:
        return
    print(costs(run_summary, Path.cwd()), file=sys.stderr)
    costs(check_disk, Path.cwd())
