# Images and labels of one data set, checked against the published checksums, as a Zarr store.


rule prepare_data:
    output:
        store=directory(f"{RESULTS}/data/{{dataset}}/store"),
        manifest=f"{RESULTS}/data/{{dataset}}/manifest.json",
    params:
        entry=lambda w: CONFIG["datasets"][w.dataset],
        root=CONFIG["data"]["root"],
        sources=CONFIG["data"]["sources"],
        code=lambda w: code_of("prepare_data.py", CONFIG["datasets"][w.dataset]["loader"]),
    log:
        f"{LOGS}/prepare_data/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_data/{{dataset}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    script:
        "../scripts/prepare_data.py"
