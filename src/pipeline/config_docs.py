"""config/README.md, written from the schemas and configuration files so that they agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import CONFIG_FILE, paper_file, read_paper
from pipeline.config_files import KeyPath, dotted, has, read_yaml
from pipeline.config_schema import Schemas, describe, follow, load_schemas, run_schema, show

README = "config/README.md"
COMMAND = "python -m pipeline.config docs"
SCALES = ("paper", "laptop", "smoke")

_INTRODUCTION = f"""\
# Configuration

Written by `{COMMAND}` from workflow/schemas/ and the files here; change those, not this page.

| file | holds |
| --- | --- |
| `{CONFIG_FILE}` | what all papers share: scale, seed, compute, data sets, networks, optimisers |
| `config/<paper>.yaml` | one paper's runs and what the scales change; its numbers name their section |
| `config/<paper>/` | its analyses, figures and claims, one file each |

## Scales

| scale | what it is |
| --- | --- |
| `paper` | the paper's own numbers |
| `laptop` | the same experiments with fewer seeds, on real data (the default) |
| `smoke` | generated data, few short runs, no network: for tests |

Choose one with `snakemake --config scale=smoke`. Results lie in `results/<scale>/` and never
collide.

## Which value counts

Later wins; mappings are merged key by key, lists and single values are replaced:

1. the file's values, which are the paper's; a run takes from `defaults` what it does not set;
2. what `scales.<scale>` in a paper's file changes. It may only change entries that the file has.
   A changed default does not touch a run that sets the key itself;
3. the command line: `--configfile my.yaml`, then `--config`.

```
snakemake --config scale=smoke 'compute={{threads: 2}}'
snakemake --config 'stragglers={{runs: {{main: {{seeds: 20}}}}}}'
```

A run with `grid: {{block: [0, 1]}}` stands for one run per combination of values (`<name>_0`,
`<name>_1`); its own name means all of them in `figures` and `claims`.

An unknown key, a wrong type or an impossible combination stops every command, a dry run too, with
one sentence per problem: file (or command line), key, value, valid values. Files are read strictly:
a key given twice, an alias or a tag is refused; only `true` and `false` are booleans.

## Adding an entry

One function and one entry, here or in a file of your own for `--configfile`. A function is named as
`package.module:function` or `path/to/file.py:function`; the functions already named in these files
show what it takes and returns.

```yaml
datasets: # in {CONFIG_FILE}
  mine:
    loader: "plugins/mine.py:load"
    samples: {{ train: 5000, test: 1000 }}
    shape: [28, 28]
networks:
  mine:
    builder: "plugins/mine.py:build"
```

```yaml
stragglers: # in config/stragglers.yaml
  runs:
    mine: {{ dataset: mine, network: mine, samples: 4096 }}
  figures:
    mine:
      title: My figure
      function: "plugins/mine.py:draw"
      runs: [mine]
      paper: Not in the paper.
      section: ours
      minutes: 1
```
"""


def readme(root: Path) -> str:
    """The text of config/README.md; raises ConfigError where a file or schema cannot be read."""
    shared = read_yaml(root, CONFIG_FILE)
    papers = shared["papers"]
    schemas = load_schemas(root, ["config", *papers])
    parts = [_INTRODUCTION, f"## {CONFIG_FILE}\n"]
    parts += _table(schemas["config"], schemas["config"], schemas, shared)
    for paper in papers:
        values: dict[str, Any] = {}
        for content in read_paper(root, paper).values():
            values |= content[paper]
        document = schemas[paper]
        parts.append(f"\n## {paper_file(paper)} and config/{paper}/, below `{paper}`\n")
        parts += _paper_tables(document, schemas, values)
        if paper == papers[0]:
            parts += _entry_tables(document, schemas)
        else:
            parts.append("\n`analyses`, `figures` and `claims` have the same keys as above.")
        parts.append(f"\n### What the scales of {paper_file(paper)} change\n")
        parts += _scale_table(values)
    return "\n".join(parts) + "\n"


def write_readme(root: Path) -> Path:
    """Write config/README.md below ``root`` and return its path."""
    path = root / README
    path.write_text(readme(root), encoding="utf-8")
    return path


def _paper_tables(document: dict[str, Any], schemas: Schemas, values: Any) -> Iterator[str]:
    yield "| section | what it holds |\n| --- | --- |"
    for key, schema in document["properties"].items():
        yield f"| `{key}` | {_cell(schema['description'])} |"
    if run := run_schema(document, schemas):
        yield "\n### `defaults` and each of `runs`\n"
        yield from _table(run, document, schemas, values["defaults"])


def _entry_tables(document: dict[str, Any], schemas: Schemas) -> Iterator[str]:
    for section in ("analyses", "figures", "claims"):
        title = f"each of `{section}`"
        (entry,) = document["properties"][section]["patternProperties"].values()
        yield f"\n### {title}\n"
        yield from _table(follow(entry, document, schemas), document, schemas, {})


def _table(
    schema: dict[str, Any], document: dict[str, Any], schemas: Schemas, values: Any
) -> Iterator[str]:
    yield "| key | type | default | allowed | description |\n| --- | --- | --- | --- | --- |"
    for path, entry in _rows(schema, document, schemas):
        default = f"`{show(_at(values, path), 40)}`" if has(values, path) else ""
        allowed = _cell(describe(entry, document, schemas))
        description = _cell(entry["description"])
        yield f"| `{dotted(path)}` | {_kind(entry)} | {default} | {allowed} | {description} |"


def _rows(
    schema: dict[str, Any], document: dict[str, Any], schemas: Schemas, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """The keys that hold a value, without the mappings that only hold keys."""
    children = dict(schema.get("properties", {}))
    if "patternProperties" in schema:
        (children["<name>"],) = schema["patternProperties"].values()
    if path and (not children or path[-1] == "grid"):
        yield path, schema
        return
    for key, child in children.items():
        yield from _rows(follow(child, document, schemas), document, schemas, (*path, key))


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "choice"
    kinds = schema.get("type", "any")
    return " or ".join(kinds) if isinstance(kinds, list) else kinds


def _scale_table(values: Any) -> Iterator[str]:
    """Key, and its value at each scale: the base file's where a scale does not change it."""
    scales = {scale: dict(_leaves(values["scales"][scale])) for scale in SCALES}
    yield f"| key | {' | '.join(SCALES)} |\n| --- |{' --- |' * len(SCALES)}"
    for path in dict.fromkeys(path for leaves in scales.values() for path in leaves):
        cells = [scales[s].get(path, _inherited(path, values, scales[s])) for s in SCALES]
        yield f"| `{dotted(path)}` | {' | '.join(f'`{show(cell, 40)}`' for cell in cells)} |"


def _inherited(path: KeyPath, values: Any, leaves: dict[KeyPath, Any]) -> Any:
    """The value that counts where a scale leaves ``path`` alone: the file's, else the defaults'."""
    if has(values, path) or path[0] != "runs":
        return _at(values, path)
    default = ("defaults", *path[2:])
    return leaves.get(default, _at(values, default))


def _leaves(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, tree


def _at(tree: Any, path: KeyPath) -> Any:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return "not set"  # an option that only a scale sets
        tree = tree[part]
    return tree


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
