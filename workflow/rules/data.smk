# Images and labels of one data set, checked against the published checksums, as a Zarr store.


rule prepare_data:
    input:
        request=lambda w: dataset_of(w) and f"{RESULTS}/requests/data/{w.dataset}.json",
    output:
        manifest=f"{RESULTS}/data/{{dataset}}/manifest.json",
        store=directory(f"{RESULTS}/data/{{dataset}}/store"),
    log:
        f"{LOGS}/prepare_data/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_data/{{dataset}}.tsv"
    cache: SHARED
    conda:
        "../envs/pipeline.yml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: attempt * data_memory(w.dataset),
        runtime=growing_minutes(30, "prepare_data"),
    params:
        entry=dataset_of,
        root=lambda w: CONFIG["data"]["root"],  # as it is: braces in it are no wildcards
        sources=CONFIG["data"]["sources"],
        # Files that are put there later are noticed.
        found=lambda w: found_files(w.dataset),
        code=lambda w: dataset_of(w) and data_code(w.dataset),
    script:
        "../scripts/prepare_data.py"
