# From images to trajectories to figures. Targets: see README.md, or `snakemake --list-target-rules`.
from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/start.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/geometry.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/maintenance.smk"


wildcard_constraints:
    paper="|".join(CONFIG["papers"]),
    run="[a-z0-9_.-]+",
    dataset="[a-z0-9_]+",
    group="[a-z][a-z0-9_]*",
    analysis="[a-z][a-z0-9_]*",


rule all:
    default_target: True
    input:
        figures_of(CONFIG["papers"]),
        geometry_of(CONFIG["papers"]),
        [f"{RESULTS}/claims/{paper}.json" for paper in CONFIG["papers"]],
        f"{RESULTS}/scorecard/scorecard.html",


if SHARED:
    without_benchmarks("prepare_data", "train_run")

# Stores made with another configuration or other code are made again, see pipeline/staleness.py.
if workflow.is_main_process:
    INTERRUPTED = interrupted_stores()
    if said := gone_sentence(INTERRUPTED):
        print(said, file=sys.stderr)
    answered(write_requests, expected_stores(), INTERRUPTED)


onstart:
    check_start()


onsuccess:
    answered(note, Path(REPLACED), alone=alone())


onerror:
    said = "".join(Path(one).read_text(errors="replace") for one in log)
    for sentence in explained(
        said, Path(".snakemake/slurm_logs"), partition_minutes
    ):
        print(sentence, file=sys.stderr)
