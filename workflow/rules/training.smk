# Trajectories: one job trains one run (a configuration, many seeds) as one batch.


rule train_run:
    input:
        store=ancient(lambda w: f"{RESULTS}/data/{run_of(w)['dataset']}/store"),
        manifest=lambda w: f"{RESULTS}/data/{run_of(w)['dataset']}/manifest.json",
    output:
        store=directory(f"{RESULTS}/runs/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/runs/{{paper}}/{{run}}/manifest.json",
    log:
        f"{LOGS}/train_run/{{paper}}/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/train_run/{{paper}}/{{run}}.tsv"
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
        state=f"{RESULTS}/state/{{paper}}/{{run}}",
        code=lambda w: code_of(
            "train_run.py",
            CONFIG["networks"][run_of(w)["network"]]["builder"],
            CONFIG["optimizers"][run_of(w)["optimizer"]]["builder"],
        ),
    script:
        "../scripts/train_run.py"
