# What follows from trajectories: geometry recomputed from activations, and inversion points.


rule measure_geometry:
    input:
        request=lambda w: inverted(w.paper)
        and run_of(w)
        and f"{RESULTS}/requests/geometry/{w.paper}/{w.run}.json",
        store=ancient(f"{RESULTS}/runs/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/runs/{{paper}}/{{run}}/manifest.json",
    output:
        manifest=f"{RESULTS}/geometry/{{paper}}/{{run}}/manifest.json",
        store=directory(f"{RESULTS}/geometry/{{paper}}/{{run}}/store"),
    log:
        f"{LOGS}/measure_geometry/{{paper}}/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_geometry/{{paper}}/{{run}}.tsv"
    conda:
        "../envs/pipeline.yml"
    threads: CONFIG["compute"]["threads"]
    resources:
        mem_mb=growing(1500),
        runtime=growing_minutes(20, "measure_geometry"),
    params:
        workers=CONFIG["compute"]["threads"],
        code=code_of("measure_geometry.py"),
    script:
        "../scripts/measure_geometry.py"


rule find_inversion:
    input:
        request=lambda w: inverted(w.paper)
        and f"{RESULTS}/requests/inversion/{w.paper}/{w.group}.json",
        stores=ancient(lambda w: stores("runs", w.paper, [group_of(w)])),
        manifests=lambda w: manifests("runs", w.paper, [group_of(w)]),
    output:
        manifest=f"{RESULTS}/inversion/{{paper}}/{{group}}/manifest.json",
        store=directory(f"{RESULTS}/inversion/{{paper}}/{{group}}/store"),
    log:
        f"{LOGS}/find_inversion/{{paper}}/{{group}}.log",
    benchmark:
        f"{BENCHMARKS}/find_inversion/{{paper}}/{{group}}.tsv"
    # Pruned runs wait for it.
    priority: 1000000
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=growing(1500),
        runtime=growing_minutes(10, "find_inversion"),
    params:
        config=lambda w: inversion_config(w.paper, group_of(w)),
        code=code_of("find_inversion.py"),
    script:
        "../scripts/find_inversion.py"


rule run_analysis:
    input:
        unpack(lambda w: result_inputs(w.paper, analysis_of(w), data=True)),
        request=f"{RESULTS}/requests/analyses/{{paper}}/{{analysis}}.json",
    output:
        manifest=f"{RESULTS}/analyses/{{paper}}/{{analysis}}/manifest.json",
        store=directory(f"{RESULTS}/analyses/{{paper}}/{{analysis}}/store"),
    log:
        f"{LOGS}/run_analysis/{{paper}}/{{analysis}}.log",
    benchmark:
        f"{BENCHMARKS}/run_analysis/{{paper}}/{{analysis}}.tsv"
    # The longest first.
    priority: lambda w: round(60 * analysis_of(w)["minutes"])
    conda:
        "../envs/pipeline.yml"
    threads: CONFIG["compute"]["threads"]
    resources:
        **dask_resources(),
        mem_mb=lambda w, attempt: attempt
        * (analysis_of(w)["memory_mb"] + LOCAL_WORKERS_MB),
        runtime=lambda w, attempt: allowed_minutes(
            attempt
            * max(
                60,
                round(10 * analysis_of(w)["minutes"] / CONFIG["compute"]["threads"]),
            ),
            "run_analysis",
        ),
    params:
        runs=lambda w: run_table(w.paper, analysis_of(w)["runs"]),
        analyses=lambda w: analysis_folders(w.paper, analysis_of(w)["analyses"]),
        cache=f"{RESULTS}/cache/{{paper}}",
        config=lambda w: analysis_config(w.paper, w.analysis),
        threads=CONFIG["compute"]["threads"],
        code=lambda w: code_of("run_analysis.py", analysis_of(w)["function"]),
    script:
        "../scripts/run_analysis.py"
