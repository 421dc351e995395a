# What follows from trajectories: geometry recomputed from activations, and inversion points.


rule measure_geometry:
    input:
        request=f"{RESULTS}/requests/geometry/{{paper}}/{{run}}.json",
        store=ancient(f"{RESULTS}/runs/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/runs/{{paper}}/{{run}}/manifest.json",
    output:
        store=directory(f"{RESULTS}/geometry/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/geometry/{{paper}}/{{run}}/manifest.json",
    log:
        f"{LOGS}/measure_geometry/{{paper}}/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_geometry/{{paper}}/{{run}}.tsv"
    conda:
        "../envs/pipeline.yml"
    threads: CONFIG["compute"]["threads"]
    resources:
        mem_mb=1500,
        runtime=20,
    params:
        workers=CONFIG["compute"]["threads"],
        code=code_of("measure_geometry.py"),
    script:
        "../scripts/measure_geometry.py"


rule find_inversion:
    input:
        request=f"{RESULTS}/requests/inversion/{{paper}}/{{run}}.json",
        store=ancient(f"{RESULTS}/runs/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/runs/{{paper}}/{{run}}/manifest.json",
    output:
        store=directory(f"{RESULTS}/inversion/{{paper}}/{{run}}/store"),
        manifest=f"{RESULTS}/inversion/{{paper}}/{{run}}/manifest.json",
    log:
        f"{LOGS}/find_inversion/{{paper}}/{{run}}.log",
    benchmark:
        f"{BENCHMARKS}/find_inversion/{{paper}}/{{run}}.tsv"
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        layer=lambda w: run_of(w)["layers"][0],
        code=code_of("find_inversion.py"),
    script:
        "../scripts/find_inversion.py"
