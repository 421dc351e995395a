# About the results: what they cost, whether they are sound, taking them along, deleting them.
# Targets without outputs run whenever they are asked for (a benchmark file would count as one).
from pipeline.plan import plan_table, run_summary


rule plan:
    log:
        f"{LOGS}/print_plan.log",
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=500,
    params:
        rows=lambda w: costs(plan_table),
        summary=lambda w: costs(run_summary, Path.cwd()),
        code=code_of("print_plan.py"),
    script:
        "../scripts/print_plan.py"


rule verify:
    log:
        f"{LOGS}/verify_stores.log",
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        results=RESULTS,
        code=code_of("verify_stores.py"),
    script:
        "../scripts/verify_stores.py"


rule disk_use:
    log:
        f"{LOGS}/print_disk_use.log",
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=500,
    params:
        results=RESULTS,
        code=code_of("print_disk_use.py"),
    script:
        "../scripts/print_disk_use.py"


rule benchmark:
    log:
        f"{LOGS}/tabulate_benchmarks.log",
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=500,
    params:
        benchmarks=BENCHMARKS,
        base=f"{RESULTS}/benchmark",
        code=code_of("tabulate_benchmarks.py"),
    script:
        "../scripts/tabulate_benchmarks.py"


rule rulegraph:
    log:
        f"{LOGS}/draw_rulegraph.log",
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=500,
    params:
        base=f"{RESULTS}/rulegraph",
        overrides=config,
        code=code_of("draw_rulegraph.py"),
    script:
        "../scripts/draw_rulegraph.py"


rule export_figure:
    input:
        csv=f"{RESULTS}/figures/{{paper}}/fig{{figure}}.csv",
        manifests=lambda w: manifests("runs", w.paper, figure_of(w)["runs"]),
        stores=ancient(lambda w: stores("runs", w.paper, figure_of(w)["runs"])),
    output:
        nc=f"{RESULTS}/export/{{paper}}/fig{{figure}}.nc",
        csv=f"{RESULTS}/export/{{paper}}/fig{{figure}}.csv",
    log:
        f"{LOGS}/export_figure/{{paper}}/fig{{figure}}.log",
    benchmark:
        f"{BENCHMARKS}/export_figure/{{paper}}/fig{{figure}}.tsv"
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing_minutes(10, "export_figure"),
    params:
        runs=lambda w: run_table(w.paper, figure_of(w)["runs"]),
        title=lambda w: figure_of(w)["title"],
        code=code_of("export_figure.py"),
    script:
        "../scripts/export_figure.py"


rule export:
    input:
        [
            f"{RESULTS}/export/{paper}/fig{figure}.nc"
            for paper in CONFIG["papers"]
            for figure in CONFIG[paper]["figures"]
        ],


for paper in CONFIG["papers"]:

    rule:
        name:
            f"clean_{paper}"
        log:
            f"{LOGS}/clean_{paper}.log",
        localrule: True
        conda:
            "../envs/pipeline.yml"
        threads: 1
        resources:
            mem_mb=500,
        params:
            results=[f"{RESULTS}/{kind}/{paper}" for kind in RESULT_KINDS]
            + [f"{RESULTS}/claims/{paper}.json"],
            code=code_of("clean_results.py"),
        script:
            "../scripts/clean_results.py"


localrules:
    plan,
    verify,
    disk_use,
    benchmark,
    rulegraph,
    export,
    scorecard,
