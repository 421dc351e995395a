# What was measured against what the papers state; pictures and tables about the workflow itself.


rule measure_claims:
    input:
        unpack(lambda w: result_inputs(w.paper, claims_entry(w))),
    output:
        f"{RESULTS}/claims/{{paper}}.json",
    log:
        f"{LOGS}/measure_claims/{{paper}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_claims/{{paper}}.tsv"
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing_minutes(10, "measure_claims"),
    params:
        claims=lambda w: CONFIG[w.paper]["claims"],
        runs=lambda w: run_table(w.paper, claims_entry(w)["runs"]),
        analyses=lambda w: analysis_folders(w.paper, claims_entry(w)["analyses"]),
        paper=lambda w: w.paper,
        scale=SCALE,
        code=lambda w: code_of(
            "measure_claims.py",
            *(claim["function"] for claim in CONFIG[w.paper]["claims"]),
        ),
    script:
        "../scripts/measure_claims.py"


rule scorecard:
    input:
        [f"{RESULTS}/claims/{paper}.json" for paper in CONFIG["papers"]],
    output:
        csv=f"{RESULTS}/scorecard/scorecard.csv",
        html=report(
            f"{RESULTS}/scorecard/scorecard.html",
            caption="../report/scorecard.rst",
            category="Scorecard",
            labels={"table": "the papers' numbers against ours", "scale": SCALE},
        ),
    log:
        f"{LOGS}/make_scorecard.log",
    benchmark:
        f"{BENCHMARKS}/make_scorecard.tsv"
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing_minutes(5, "scorecard"),
    params:
        code=code_of("make_scorecard.py"),
    script:
        "../scripts/make_scorecard.py"
