"""Where jobs run: GPUs, SLURM, Dask's workers, locks. Nothing here changes a result."""
