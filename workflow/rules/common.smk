# Configuration, paths and functions that the rules share; no rules here.
import os
import sys
import time
from pathlib import Path

ROOT = Path(workflow.basedir)
# The library beside this file is used, here and in jobs, whatever else is installed.
LIBRARY = str(ROOT / "src")
if LIBRARY not in sys.path[:1]:
    sys.path.insert(0, LIBRARY)
    found = os.environ.get("PYTHONPATH")
    os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, found])))

from snakemake.persistence.file import FilePersistence

from pipeline.errors import PipelineError
from pipeline.config import load_config, run_parameters, stated_dataset
from pipeline.data.local import local_files
from pipeline.execution.locks import lock_sentence, release_own_locks
from pipeline.execution.shared_cache import shared_folder
from pipeline.execution.slurm_log import explained
from pipeline.execution.slurm_requests import own_array_command
from pipeline.fingerprint import code_fingerprint
from pipeline.plan import measures_inversion
from pipeline.scripting import collect_rarely
from pipeline.staleness import write_requests

collect_rarely()


def fail(error):
    """End with one sentence: a raised error would come with lines of the Snakefile."""
    print(error, file=sys.stderr)
    sys.exit(1)


def answered(function, *arguments, **named):
    """What a function returns; ends with its sentence where it refuses."""
    try:
        return function(*arguments, **named)
    except PipelineError as error:
        fail(error)


# In a task of an array of jobs that was started with the command of another.
if own := answered(own_array_command, [sys.executable, *sys.orig_argv[1:]], os.environ):
    os.execv(own[0], own)

CONFIG = answered(load_config, ROOT, config)
# What the papers did: another data set than theirs is a substitute.
STATED = answered(load_config, ROOT, {"scale": "paper"})

if workflow.is_main_process:
    if "--unlock" not in sys.argv and (locked := lock_sentence(Path.cwd())):
        print(locked, file=sys.stderr)
    # Of a run that ends; `snakemake --unlock` ends all locks, as before.
    if FilePersistence.unlock is not release_own_locks:
        FilePersistence.cleanup_locks = FilePersistence.unlock
        FilePersistence.unlock = release_own_locks

SCALE = CONFIG["scale"]
# Whether data and trained runs are shared between folders (snakemake --cache).
SHARED = shared_folder() is not None
RESULTS = f"results/{SCALE}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
# What a run is to replace, until it has ended.
REPLACED = f"{RESULTS}/requests/replaced.json"
# Folders below results/<scale> that hold one folder per paper.
RESULT_KINDS = (
    *(
        "runs",
        "geometry",
        "inversion",
        "analyses",
        "figures",
        "export",
        "state",
        "cache",
    ),
)


def without_benchmarks(*names):
    """Drop the benchmark files of some rules: Snakemake shares no result of a rule that has one."""
    for one in workflow.rules:
        if one.name in names:
            one._benchmark = None


# What code_of said last of a script with its references, and when. Snakemake asks for each job, in bursts.
FINGERPRINTS = {}
FINGERPRINT_SECONDS = 0.5


def code_of(script, *references):
    """Fingerprint of a rule's script with our modules that it imports, for params.code.

    Where ``code`` is a function of the wildcards it is asked again for every job, as code may be edited
    while others run; an answer that is older than an edit makes the next start run the job again.
    """
    said, at = FINGERPRINTS.get((script, references), ("", -FINGERPRINT_SECONDS))
    if time.monotonic() - at >= FINGERPRINT_SECONDS:
        path = ROOT / "workflow/scripts" / script
        said = answered(code_fingerprint, path, references, root=Path.cwd())
        FINGERPRINTS[script, references] = said, time.monotonic()
    return said


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


def stores(kind, paper, groups):
    """The stores in ``folders``."""
    return [f"{folder}/store" for folder in folders(kind, paper, groups)]


def manifests(kind, paper, groups):
    """The manifests in ``folders``."""
    return [f"{folder}/manifest.json" for folder in folders(kind, paper, groups)]


def inversion_folder(paper, group):
    """Folder of the inversion points of a group of runs; None where its trainer has none."""
    if not measures_inversion(CONFIG, paper):
        return None
    return f"{RESULTS}/inversion/{paper}/{group}"


def inverted(paper):
    """True where inversion points and geometry follow a paper's runs; else ends with a sentence."""
    if not measures_inversion(CONFIG, paper):
        fail(
            f"The runs of {paper} have no inversion points and no recomputed geometry: these are for "
            f"trainers with inversion: true, not for its trainer, {CONFIG[paper]['trainer']}."
        )
    return True


def result_inputs(paper, entry, data=False):
    """What an analysis, a figure or a claim is made from, for ``unpack``.

    Manifests count by their content, stores by their being there.
    """
    groups = entry["runs"]
    inverted = groups if measures_inversion(CONFIG, paper) else []
    inversions = [inversion_folder(paper, group) for group in inverted]
    analyses = [
        f"{RESULTS}/analyses/{paper}/{name}" for name in entry.get("analyses", [])
    ]
    names = [CONFIG[paper]["runs"][name]["dataset"] for name in members(paper, groups)]
    datasets = [f"{RESULTS}/data/{name}" for name in dict.fromkeys(names) if data]
    places = [*folders("runs", paper, groups), *inversions, *analyses, *datasets]
    return {
        "manifests": [f"{place}/manifest.json" for place in places],
        "stores": ancient([f"{place}/store" for place in places]),
    }


def source_inputs(wildcards):
    """What a pruned run's sets, or the first networks of a run that starts from another, come from, for
    ``unpack``; nothing for other runs."""
    paper, run = wildcards.paper, run_of(wildcards)
    if (start := run.get("start_from")) is not None:
        folder = f"{RESULTS}/runs/{paper}/{start}"
        return {
            "start": f"{folder}/manifest.json",
            "start_store": ancient(f"{folder}/store"),
        }
    source = run.get("prune_from")
    if source is None:
        return {}
    run = f"{RESULTS}/runs/{paper}/{source}"
    points = f"{RESULTS}/inversion/{paper}/{CONFIG[paper]['runs'][source]['group']}"
    return {
        "source": f"{run}/manifest.json",
        "source_store": ancient(f"{run}/store"),
        "inversions": f"{points}/manifest.json",
        "inversion_store": ancient(f"{points}/store"),
    }


def run_table(paper, groups):
    """What a figure or a claim is told of its runs: group, name, settings, folders."""
    return [
        {
            "group": group,
            "name": name,
            "config": CONFIG[paper]["runs"][name],
            "trajectories": f"{RESULTS}/runs/{paper}/{name}",
            "inversion": inversion_folder(paper, group),
            "data": f"{RESULTS}/data/{CONFIG[paper]['runs'][name]['dataset']}",
            "stated_dataset": stated_dataset(STATED, CONFIG, paper, name),
        }
        for group in groups
        for name in CONFIG[paper]["groups"][group]
    ]


def analysis_folders(paper, names):
    """Name -> folder of some analyses."""
    return {name: f"{RESULTS}/analyses/{paper}/{name}" for name in names}


def claims_entry(wildcards):
    """Groups of runs and analyses of the claims of a paper that can be measured at this scale."""
    paper = CONFIG[wildcards.paper]
    measured = [
        claim
        for claim in paper["claims"]
        if {*claim["runs"]} <= {*paper["groups"]}
        and {*claim["analyses"]} <= {*paper["analyses"]}
    ]
    return {
        kind: list(dict.fromkeys(name for claim in measured for name in claim[kind]))
        for kind in ("runs", "analyses")
    }


def figures_of(papers):
    """The pictures of all figures of some papers."""
    return [
        f"{RESULTS}/figures/{paper}/fig{figure}.png"
        for paper in papers
        for figure in CONFIG[paper]["figures"]
    ]


def geometry_of(papers):
    """The recomputed geometry of runs with stored activations: the check of what training recorded."""
    return [
        f"{RESULTS}/geometry/{paper}/{name}/manifest.json"
        for paper in papers
        if measures_inversion(CONFIG, paper)
        for name, run in CONFIG[paper]["runs"].items()
        if run["stored_seeds"]
    ]


def unknown_figure(paper, figure):
    """End with a sentence that says which figures a paper has."""
    valid = ", ".join(CONFIG[paper]["figures"])
    fail(
        f"{figure!r} is no figure of {paper} at scale {SCALE}; its figures are: {valid}."
    )


def figure_of(wildcards):
    """The config entry of the figure that the wildcards name."""
    figures = CONFIG[wildcards.paper]["figures"]
    if wildcards.figure not in figures:
        unknown_figure(wildcards.paper, wildcards.figure)
    return figures[wildcards.figure]


def group_of(wildcards):
    """The group of runs that the wildcards name."""
    groups = CONFIG[wildcards.paper]["groups"]
    if wildcards.group not in groups:
        fail(
            f"{wildcards.group!r} is no entry of runs of {wildcards.paper}; they are: {', '.join(groups)}."
        )
    return wildcards.group


def analysis_of(wildcards):
    """The config entry of the analysis that the wildcards name."""
    analyses = CONFIG[wildcards.paper]["analyses"]
    if wildcards.analysis not in analyses:
        valid = ", ".join(analyses)
        fail(
            f"{wildcards.analysis!r} is no analysis of {wildcards.paper}; they are: {valid}."
        )
    return analyses[wildcards.analysis]


def dataset_of(wildcards):
    """The config entry of the data set that the wildcards name."""
    datasets = CONFIG["datasets"]
    if wildcards.dataset not in datasets:
        valid = ", ".join(datasets)
        fail(f"{wildcards.dataset!r} is no known data set; known are: {valid}.")
    return datasets[wildcards.dataset]


def found_files(name):
    """The files of an optional data set that lie in the folder of data; None for any other."""
    entry = CONFIG["datasets"][name]
    return local_files(entry, CONFIG["data"]["root"]) if entry.get("optional") else None


def inversion_config(paper, group):
    """What the inversion points of a group depend on."""
    names = CONFIG[paper]["groups"][group]
    layer = CONFIG[paper]["runs"][names[0]]["layers"][0]
    return {
        "layer": layer,
        "runs": {name: run_parameters(CONFIG, paper, name) for name in names},
    }


def analysis_config(paper, name):
    """What an analysis depends on."""
    entry = CONFIG[paper]["analyses"][name]
    keys = ("function", "runs", "variables", "analyses", "options")
    runs = {
        member: run_parameters(CONFIG, paper, member)
        for member in members(paper, entry["runs"])
    }
    analysis = {key: entry[key] for key in keys}
    return {"analysis": analysis, "runs": runs, "seed": CONFIG["seed"]}


def trainer_of(paper):
    """The config entry of a paper's trainer."""
    return CONFIG["trainers"][CONFIG[paper]["trainer"]]


def training_code(run):
    """Fingerprint of the code that trains a run: its trainer, its network and its optimiser."""
    network, optimizer = (
        CONFIG["networks"][run["network"]],
        CONFIG["optimizers"][run["optimizer"]],
    )
    references = (
        trainer_of(run["paper"])["function"],
        network["builder"],
        optimizer["builder"],
    )
    return code_of("train_run.py", *references)


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
        inverted = measures_inversion(CONFIG, paper)
        for run, settings in CONFIG[paper]["runs"].items():
            name = f"{paper}/{run}"
            config = run_parameters(CONFIG, paper, run)
            yield expected("runs", name, config, training_code(settings))
            if inverted and settings["stored_seeds"]:
                yield expected("geometry", name, config, code_of("measure_geometry.py"))
        for group in CONFIG[paper]["groups"] if inverted else ():
            config = inversion_config(paper, group)
            yield expected(
                "inversion", f"{paper}/{group}", config, code_of("find_inversion.py")
            )
        for name, entry in CONFIG[paper]["analyses"].items():
            code = code_of("run_analysis.py", entry["function"])
            yield expected(
                "analyses", f"{paper}/{name}", analysis_config(paper, name), code
            )
