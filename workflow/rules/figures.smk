# Pictures, one target each: fig_<paper>_<id>; and all figures of a paper: figures_<paper>.


for paper in CONFIG["papers"]:
    for figure, entry in CONFIG[paper]["figures"].items():
        base = f"{RESULTS}/figures/{paper}/fig{figure}"

        rule:
            name:
                f"fig_{paper}_{figure}"
            input:
                **result_inputs(paper, entry),
            output:
                **({"html": f"{base}.html"} if entry.get("interactive") else {}),
                png=report(
                    f"{base}.png",
                    caption=str(Path.cwd() / f"{base}.rst"),
                    category=f"Figures: {paper}",
                    labels={"figure": figure, "title": entry["title"], "scale": SCALE},
                ),
                svg=f"{base}.svg",
                csv=f"{base}.csv",
                rst=f"{base}.rst",
            log:
                f"{LOGS}/plot_figure/{paper}/fig{figure}.log",
            benchmark:
                f"{BENCHMARKS}/plot_figure/{paper}/fig{figure}.tsv"
            conda:
                "../envs/pipeline.yml"
            threads: 1
            resources:
                mem_mb=growing(1500),
                runtime=growing_minutes(10, f"fig_{paper}_{figure}"),
            params:
                figure={key: value for key, value in entry.items() if key != "minutes"},
                identifier=figure,
                paper=paper,
                runs=run_table(paper, entry["runs"]),
                analyses=analysis_folders(paper, entry["analyses"]),
                scale=SCALE,
                code=code_of("plot_figure.py", entry["function"]),
            script:
                "../scripts/plot_figure.py"

    rule:
        name:
            f"figures_{paper}"
        input:
            figures_of([paper]),


# A figure that does not exist, asked for by name or path: its input function says which ones do.
for paper in CONFIG["papers"]:

    rule:
        name:
            f"unknown_figure_{paper}"
        input:
            lambda w, paper=paper: unknown_figure(paper, w.figure),
        output:
            f"fig_{paper}_{{figure}}",
            f"{RESULTS}/figures/{paper}/fig{{figure}}.png",
        wildcard_constraints:
            figure=rf"(?!(?:{'|'.join(CONFIG[paper]['figures'])})\b)\w+",
