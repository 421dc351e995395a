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
        store=directory(f"{RESULTS}/runs/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/runs/{{paper}}/{{run}}/manifest.json",
    log:
        f"{LOGS}/train_run/{{paper}}/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train_run/{{paper}}/{{run}}.tsv"
    # The longest first, and first of all what others wait for: no long job is left to the end.
    priority: lambda w: training_priority(w)
    conda:
        "../envs/pipeline.yml"
    threads: CONFIG["compute"]["threads"]
    resources:
        mem_mb=lambda w, attempt: attempt * estimate(w).memory_mb,
        runtime=lambda w, attempt: attempt * estimate(w).minutes,
        # How often the resume state is saved does not change what is trained: not a parameter.
        state_seconds=CONFIG["compute"]["state_seconds"],
    params:
        parameters=lambda w: run_parameters(CONFIG, w.paper, w.run),
        trainer=lambda w: trainer_of(w.paper)["function"],
        root=CONFIG["data"]["root"],
        state=f"{RESULTS}/state/{{paper}}/{{run}}",
        code=lambda w: training_code(run_of(w)),
    script:
        "../scripts/train_run.py"
