# Trajectories: one job trains one run (a configuration, many seeds) as one batch.


rule train_run:
    input:
        unpack(source_inputs),
        # An error of the estimate is one sentence here, and wrapped by Snakemake in resources.
        request=lambda w: estimate(w)
        and f"{RESULTS}/requests/runs/{w.paper}/{w.run}.json",
        store=ancient(lambda w: f"{RESULTS}/data/{run_of(w)['dataset']}/store"),
        manifest=lambda w: f"{RESULTS}/data/{run_of(w)['dataset']}/manifest.json",
    output:
        manifest=f"{RESULTS}/runs/{{paper}}/{{run}}/manifest.json",
        store=directory(f"{RESULTS}/runs/{{paper}}/{{run}}/store"),
    log:
        f"{LOGS}/train_run/{{paper}}/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train_run/{{paper}}/{{run}}.tsv"
    cache: SHARED
    # The longest first, and first of all what others wait for: no long job is left to the end.
    priority: lambda w: training_priority(w)
    conda:
        "../envs/pipeline.yml"
    threads: CONFIG["compute"]["threads"]
    resources:
        **place_resources(),
        mem_mb=lambda w, attempt: asked_memory(w, attempt),
        runtime=lambda w, attempt: asked_minutes(w, attempt),
    params:
        parameters=lambda w: run_parameters(CONFIG, w.paper, w.run),
        trainer=lambda w: trainer_of(w.paper)["function"],
        state=f"{RESULTS}/state/{{paper}}/{{run}}",
        code=lambda w: training_code(run_of(w)),
    script:
        "../scripts/train_run.py"
