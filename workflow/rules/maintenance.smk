# About the results: what they cost, whether they are sound, taking them along, deleting them.
# These targets write no results of their own, or tables that are remade each time.


rule plan:
    params:
        rows=plan_table(CONFIG),
        summary=run_summary(CONFIG, ROOT),
        code=code_of("print_plan.py"),
    log:
        f"{LOGS}/print_plan.log",
    benchmark:
        f"{BENCHMARKS}/print_plan.tsv"
    threads: 1
    resources:
        mem_mb=500,
    script:
        "../scripts/print_plan.py"


rule verify:
    params:
        results=RESULTS,
        code=code_of("verify_stores.py"),
    log:
        f"{LOGS}/verify_stores.log",
    benchmark:
        f"{BENCHMARKS}/verify_stores.tsv"
    threads: 1
    resources:
        mem_mb=1000,
    script:
        "../scripts/verify_stores.py"


rule disk_use:
    params:
        results=RESULTS,
        code=code_of("print_disk_use.py"),
    log:
        f"{LOGS}/print_disk_use.log",
    benchmark:
        f"{BENCHMARKS}/print_disk_use.tsv"
    threads: 1
    resources:
        mem_mb=500,
    script:
        "../scripts/print_disk_use.py"


rule benchmark:
    params:
        benchmarks=BENCHMARKS,
        base=f"{RESULTS}/benchmark",
        code=code_of("tabulate_benchmarks.py"),
    log:
        f"{LOGS}/tabulate_benchmarks.log",
    benchmark:
        f"{BENCHMARKS}/tabulate_benchmarks.tsv"
    threads: 1
    resources:
        mem_mb=500,
    script:
        "../scripts/tabulate_benchmarks.py"


rule rulegraph:
    params:
        base=f"{RESULTS}/rulegraph",
        overrides=config,
        code=code_of("draw_rulegraph.py"),
    log:
        f"{LOGS}/draw_rulegraph.log",
    benchmark:
        f"{BENCHMARKS}/draw_rulegraph.tsv"
    threads: 1
    resources:
        mem_mb=500,
    script:
        "../scripts/draw_rulegraph.py"


rule export_figure:
    input:
        csv=f"{RESULTS}/figures/{{paper}}/fig{{figure}}.csv",
        manifests=lambda w: [
            f"{folder}/manifest.json"
            for folder in folders("runs", w.paper, figure_of(w)["runs"])
        ],
        stores=ancient(
            lambda w: [
                f"{folder}/store" for folder in folders("runs", w.paper, figure_of(w)["runs"])
            ]
        ),
    output:
        nc=f"{RESULTS}/export/{{paper}}/fig{{figure}}.nc",
        csv=f"{RESULTS}/export/{{paper}}/fig{{figure}}.csv",
    params:
        runs=lambda w: run_table(w.paper, figure_of(w)["runs"]),
        title=lambda w: figure_of(w)["title"],
        code=code_of("export_figure.py"),
    log:
        f"{LOGS}/export_figure/{{paper}}/fig{{figure}}.log",
    benchmark:
        f"{BENCHMARKS}/export_figure/{{paper}}/fig{{figure}}.tsv"
    threads: 1
    resources:
        mem_mb=1000,
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
        localrule: True
        params:
            folders=[f"{RESULTS}/{kind}/{paper}" for kind in RESULT_KINDS],
            code=code_of("clean_results.py"),
        log:
            f"{LOGS}/clean_{paper}.log",
        benchmark:
            f"{BENCHMARKS}/clean_{paper}.tsv"
        threads: 1
        resources:
            mem_mb=500,
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
