"""The configuration: read, merged, checked and resolved into plain dictionaries.

Sources, the later winning: ``config/config.yaml`` and one ``config/<paper>.yaml`` per paper, what
that file changes at the chosen scale, the command line. All of it is validated, and every problem
is reported as one sentence that names file, key, value and the valid ones. Nothing heavy is
imported here: Snakemake reads the configuration at every start.

``python -m pipeline.config docs`` writes config/README.md from the schemas.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import config_checks as checks
from pipeline.config_files import (
    COMMAND_LINE,
    Layer,
    command_line_values,
    locate,
    merge,
    read_yaml,
)
from pipeline.config_runs import expanded_runs, leave_out, resolve_run
from pipeline.config_schema import (
    Schemas,
    load_schemas,
    names,
    run_schema,
    sentence,
    show,
    suggestion,
    violations,
)
from pipeline.errors import ConfigError
from pipeline.registry import resolve

__all__ = ["build_config", "load_config", "paper_file", "run_parameters"]

CONFIG_FILE = "config/config.yaml"
ANALYSIS_MEMORY_MB = 2000


def paper_file(paper: str) -> str:
    """The main configuration file of a paper, relative to the repository's root."""
    return f"config/{paper}.yaml"


def read_paper(root: Path, paper: str) -> dict[str, Any]:
    """The parsed files of a paper by name: the main one, and one per section in config/<paper>/."""
    more = sorted((root / "config" / paper).glob("*.yaml"))
    found = [paper_file(paper), *(path.relative_to(root).as_posix() for path in more)]
    return {name: read_yaml(root, name) for name in found}


def load_config(root: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The merged, validated and resolved configuration.

    Arguments
    ---------
    root: the repository's root, which holds config/ and workflow/schemas/.
    overrides: the values of the command line, nested as in the files (a key may be dotted).

    Returns ``scale``, ``seed``, ``compute``, ``data``, ``datasets``, ``networks``, ``optimizers``,
    ``trainers``, ``papers`` and, per paper, ``{"trainer": name or None, "runs": {name: run}, "groups":
    {name: [run names]}, "analyses": {name: analysis}, "figures": {id: figure}, "claims": [claim]}``.
    A run holds all its settings, its ``name``, ``paper`` and ``group``. What a scale leaves out is in
    none of them but the claims. Everything is a new plain dictionary, list, string, number, boolean
    or None.

    Raises ConfigError with one line per problem.
    """
    root = Path(root)
    over = command_line_values(overrides)
    base = read_yaml(root, CONFIG_FILE)
    papers = _paper_names(base, over)
    for paper in papers:
        if not (root / paper_file(paper)).is_file():
            found = sorted(path.stem for path in (root / "config").glob("*.yaml"))
            valid = f"valid is {names(name for name in found if name != 'config')}"
            where, key = locate(_layers(base, over), ("papers",))
            reason = f"needs the file {paper_file(paper)}, which does not exist"
            raise ConfigError(sentence(where, key, papers, reason, valid))
    files = {CONFIG_FILE: base}
    for paper in papers:
        files |= read_paper(root, paper)
    return build_config(files, load_schemas(root, ["config", *papers]), over)


def build_config(files: dict[str, Any], schemas: Schemas, over: dict[str, Any]) -> dict[str, Any]:
    """``load_config`` on parsed files (by name), schemas and ``command_line_values``."""
    base = files[CONFIG_FILE]
    papers = _paper_names(base, over)
    shared = {key: value for key, value in over.items() if key not in papers}
    layers = _layers(base, shared)
    config = merge(base, shared)
    problems = list(violations("config", schemas, config, layers, extra_keys=papers))
    scale = config.get("scale") if isinstance(config, dict) else None
    stacks = {}
    for paper in papers:
        own = {name: content for name, content in files.items() if _is_of(name, paper)}
        stack = _paper_layers(paper, own, scale, over.get(paper, {}))
        merged: Any = {}
        for layer in stack:
            merged = merge(merged, layer.tree)
        problems += violations(paper, schemas, merged, stack)
        stacks[paper] = (merged, stack)
    _refuse(problems)
    for section in ("datasets", "networks", "optimizers"):
        config[section] = {n: {"options": {}, **entry} for n, entry in config[section].items()}
    for paper, (merged, stack) in stacks.items():
        settings = run_schema(schemas[paper], schemas).get("properties", {})
        config[paper], found = _resolve_paper(paper, merged, stack, config, settings)
        problems += found
    _refuse(problems)
    return config


def run_parameters(config: Mapping[str, Any], paper: str, run: str) -> dict[str, Any]:
    """All that the training of one run depends on, and nothing else: its change means retraining.

    Arguments
    ---------
    config: the result of ``load_config``.
    paper, run: names; ConfigError lists the valid ones.
    """
    if paper not in config["papers"]:
        raise ConfigError(f"{paper!r} is no known paper; valid is {names(config['papers'])}.")
    runs = config[paper]["runs"]
    if run not in runs:
        raise ConfigError(
            f"{run!r} is no run of {paper}{suggestion(run, runs)}; valid is {names(runs)}."
        )
    settings = {key: value for key, value in runs[run].items() if key != "group"}
    keys = ["threads", "device", "compile"]
    keys += ["ensemble_size"] if config[paper]["trainer"] == "ensemble" else []
    # The precision is the run's: changing the default for others does not retrain it.
    compute = {key: config["compute"][key] for key in keys} | {"precision": settings["precision"]}
    source, start = settings.get("prune_from"), settings.get("start_from")
    return {
        "seed": config["seed"],
        "run": settings,
        "network": merge(
            config["networks"][settings["network"]],
            {"options": settings.get("network_options", {})},
        ),
        "optimizer": config["optimizers"][settings["optimizer"]],
        "compute": compute,
        "pruned": run_parameters(config, paper, source) if source else None,
        **({"started": run_parameters(config, paper, start)} if start else {}),
    }


def stated_dataset(
    stated: Mapping[str, Any], config: Mapping[str, Any], paper: str, run: str
) -> str | None:
    """The data set that a paper used for a run; None for a run that is not the paper's.

    Of a run that only this scale has, it is the one data set of the paper's runs of its group.

    Arguments
    ---------
    stated: the resolved configuration of the scale ``paper``; config: that of the run.
    """
    if paper not in stated["papers"]:
        return None
    runs, group = stated[paper]["runs"], config[paper]["runs"][run]["group"]
    namesakes = [run] if run in runs else stated[paper]["groups"].get(group, [])
    datasets = {runs[name]["dataset"] for name in namesakes}
    return datasets.pop() if len(datasets) == 1 else None


def _layers(base: Any, over: dict[str, Any]) -> list[Layer]:
    return [Layer(CONFIG_FILE, (), base), Layer(COMMAND_LINE, (), over)]


def _paper_names(base: Any, over: dict[str, Any]) -> list[str]:
    merged = merge(base, over)
    papers = merged.get("papers") if isinstance(merged, dict) else None
    if not isinstance(papers, list):
        return []  # the schema says what is wrong
    return list(dict.fromkeys(p for p in papers if isinstance(p, str) and p.isidentifier()))


def _is_of(file: str, paper: str) -> bool:
    return file == paper_file(paper) or file.startswith(f"config/{paper}/")


def _paper_layers(paper: str, files: Mapping[str, Any], scale: Any, over: Any) -> list[Layer]:
    """The values of a paper's files, what they change at ``scale``, and the command line's."""
    layers: list[Layer] = []
    for file, content in files.items():
        if not isinstance(content, dict) or list(content) != [paper]:
            found = names(map(str, content)) if isinstance(content, dict) else repr(content)[:40]
            raise ConfigError(f"{file}: its only top key must be {paper!r}, but it has {found}.")
        layer = Layer(file, (paper,), content[paper])
        for earlier in layers:
            if twice := sorted(checks.entries_of(earlier) & checks.entries_of(layer)):
                raise ConfigError(
                    f"{file}: {paper}.{twice[0]} is in {earlier.where} too; keep one of them."
                )
        layers.append(layer)
    main = layers[0]
    scales = main.tree.get("scales") if isinstance(main.tree, dict) else None
    overlay = scales.get(scale) if isinstance(scales, dict) and isinstance(scale, str) else None
    # One that is no mapping is refused below ``scales``, where it stands.
    changes = overlay if isinstance(overlay, dict) else {}
    # What a scale leaves out is no value: it is taken from the resolved paper at the end.
    values = {key: value for key, value in changes.items() if key != "without"}
    scaled = Layer(main.where, (paper, "scales", str(scale)), values)
    return [*layers, scaled, Layer(COMMAND_LINE, (paper,), over)]


def _resolve_paper(
    paper: str,
    merged: dict[str, Any],
    layers: list[Layer],
    config: dict[str, Any],
    settings: dict[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """(runs, groups, analyses, figures and claims; the problems found) of one paper."""
    problems = [*checks.layer_problems(merged, layers), *_grid_problems(merged, layers)]
    runs: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {entry: [] for entry in merged["runs"]}
    expanded = expanded_runs(merged)
    problems += checks.only_problems(merged, layers)
    written = {name: values for found in expanded.values() for name, values in found}
    for entry, changes in merged["runs"].items():
        for name, values in expanded[entry]:
            if name in runs:
                where, key = locate(layers, ("runs", entry))
                reason = f"gives a second run the name {name!r}"
                problems.append(sentence(where, key, changes, reason, "a name may occur once"))
                continue
            # A pruned run is like its source where it does not say otherwise.
            source = written.get(values.get("prune_from") or "", {})
            values = merge(source, values)
            run = resolve_run(merged, values, config["compute"], settings)
            runs[name] = run | {"name": name, "paper": paper, "group": entry}
            groups[entry].append(name)
    for name, run in runs.items():
        if "init_stream" not in run:
            continue
        # A pruned run starts from the weights of the run whose samples it leaves out.
        source = runs.get(run["prune_from"] or "", {})
        run["init_stream"] = (
            run["init_stream"] or source.get("init_stream") or run["prune_from"] or name
        )
    trainer = merged.get("trainer")
    problems += _trainer_problems(trainer, runs, config, layers)
    problems += checks.paper_problems(merged, groups, layers)
    resolved = {
        "trainer": trainer,
        "runs": runs,
        "groups": groups,
        "analyses": {
            name: _filled(
                analysis,
                options={},
                memory_mb=ANALYSIS_MEMORY_MB,
                minutes=1.0,
                variables=[],
                analyses=[],
            )
            for name, analysis in merged["analyses"].items()
        },
        "figures": {
            name: _filled(figure, options={}, analyses=[])
            for name, figure in merged["figures"].items()
        },
        "claims": [
            _filled(claim, id=name, analyses=[]) for name, claim in merged["claims"].items()
        ],
    }
    without = merged["scales"].get(config["scale"], {}).get("without", [])
    return leave_out(resolved, set(without)), problems


def _trainer_problems(
    trainer: str | None,
    runs: dict[str, dict[str, Any]],
    config: dict[str, Any],
    layers: list[Layer],
) -> Iterator[str]:
    """What a paper's trainer refuses in its runs; a paper without runs may have no trainer."""
    known = config["trainers"]
    if trainer in known:
        function = known[trainer]["checks"]
        try:
            refusals = resolve(function)
        except Exception as error:  # of any kind, where its module is a user's own
            yield (
                f"trainers.{trainer}.checks = {show(function)} cannot be imported "
                f"({type(error).__name__}: {error}); valid is a function of (run, runs, config)."
            )
            return
        try:
            yield from checks.run_problems(runs, config, layers, refusals)
        except ConfigError:
            raise
        except (TypeError, AttributeError, LookupError, ValueError) as error:
            yield (
                f"trainers.{trainer}.checks = {show(function)} cannot check the runs "
                f"({type(error).__name__}: {error}); valid is a function of (run, runs, config) that yields "
                "refusals."
            )
    elif trainer is not None:
        where, key = locate(layers, ("trainer",))
        reason = f"is no entry of trainers{suggestion(trainer, known)}"
        yield sentence(where, key, trainer, reason, f"valid is {names(known)}")
    elif runs:
        paper, where = layers[0].prefix[0], layers[0].where
        yield f"{where}: {paper}.trainer is missing; set it to one of {names(known)}."


def _filled(entry: dict[str, Any], **left_out: Any) -> dict[str, Any]:
    """An entry of a paper with the values of keys that it leaves out; without runs it has none."""
    return {**left_out, **entry, "runs": entry.get("runs", [])}


def _grid_problems(merged: dict[str, Any], layers: list[Layer]) -> Iterator[str]:
    if "grid" in merged.get("defaults", {}):
        where, key = locate(layers, ("defaults", "grid"))
        grid = merged["defaults"]["grid"]
        yield sentence(where, key, grid, "has no place in defaults", "only a run has a grid")
    for entry, changes in merged["runs"].items():
        for key in sorted(set(changes.get("grid", {})) & set(changes)):
            where, full = locate(layers, ("runs", entry, key))
            reason = "is set beside the grid's values of the same key"
            yield sentence(where, full, changes[key], reason, "keep one of them")


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def main(arguments: list[str]) -> int:
    """``docs [root]``: write config/README.md."""
    if not arguments or arguments[0] != "docs" or len(arguments) > 2:
        print("usage: python -m pipeline.config docs [ROOT]", file=sys.stderr)
        return 2
    from pipeline.config_docs import write_readme

    print(write_readme(Path(arguments[1] if len(arguments) == 2 else ".")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
