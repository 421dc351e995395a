"""YAML files of the configuration, read strictly, and the layers that they are merged from.

Stricter than YAML 1.1: a key given twice is refused, ``1e-3`` is a number, ``yes`` and ``12:30``
are text, keys are text, and there are no aliases, tags or several documents. Every refusal is one
sentence.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

COMMAND_LINE = "command line (--config/--configfile)"

_CONSTANTS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True)
_CONSTANTS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,40})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")
_TEXT_TAG = "tag:yaml.org,2002:str"

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Leaves every scalar as text; ``typed`` gives it its type."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


# libyaml's parser where PyYAML was built with it: ten times faster, and Snakemake waits for it.
_FastLoader: Any = None
if hasattr(yaml, "CSafeLoader"):
    _FastLoader = type("_FastLoader", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": {}})
_MANY_BRACKETS = 1000  # it does not survive nesting that is too deep


@dataclass(frozen=True)
class Layer:
    """One source of values: where it is, the key below which they stand there, and the values."""

    where: str
    prefix: KeyPath
    tree: Any


def typed(text: str) -> Any:
    """What a plain YAML scalar means: null, true/false, a whole number, a number, else text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; raises ConfigError naming ``where`` and the line."""
    try:
        node = _compose(text)
        if node is None:
            raise ConfigError(f"{where} is empty; restore it from the repository.")
        return _value(node, where, (), set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        reason = error.problem or error.context
        raise ConfigError(f"{where}{line} is not valid YAML: {reason}.") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} is not valid YAML: {reason}.") from None
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply to be read.") from None


def _compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text; what is wrong with it is told by the slower parser, which knows where."""
    if _FastLoader is not None and text.count("[") + text.count("{") < _MANY_BRACKETS:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=_FastLoader)
    return yaml.compose(text, Loader=_Loader)


def read_yaml(root: Path, name: str) -> Any:
    """The value of the file ``root/name``; raises ConfigError where it cannot be read."""
    try:
        text = (root / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{name} does not exist in {root}; restore it from the repository."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} cannot be read as UTF-8 text: {error}.") from None
    return parse_yaml(text, name)


def dotted(path: KeyPath) -> str:
    """``('runs', 'main', 'layers', 0)`` as ``runs.main.layers[0]``."""
    text = ""
    for part in path:
        # A sentence is one line, whatever a key holds.
        name = str(part) if str(part).isprintable() else json.dumps(str(part))[1:-1]
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else name
    return text


def command_line_values(values: Any) -> dict[str, Any]:
    """The values of ``--config``/``--configfile`` in the types of a config file.

    Snakemake leaves every scalar inside ``--config 'a={b: 1}'`` as text: text is read as plain
    YAML. Keys may be dotted (``compute.threads``) where the caller is Python. Raises ConfigError.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{COMMAND_LINE}: {values!r} is no mapping of keys to values.")
    result: dict[str, Any] = {}
    for key, value in values.items():
        try:
            nested = _plain(value)
        except RecursionError:
            raise ConfigError(f"{COMMAND_LINE}: {key} is nested too deeply.") from None
        for part in reversed(str(key).split(".")):
            nested = {part: nested}
        result = merge(result, nested)
    return result


def merge(base: Any, over: Any) -> Any:
    """``over`` laid on ``base``: mappings are merged key by key, all else is replaced.

    An empty mapping changes nothing. The result shares unchanged inner values with ``base``.
    """
    if over == {} and not isinstance(base, dict):
        return base
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(base[key], value) if key in base else value
    return merged


def has(tree: Any, path: KeyPath) -> bool:
    """Whether ``path`` exists in nested mappings and lists."""
    for part in path:
        in_mapping = isinstance(tree, dict) and part in tree
        in_list = isinstance(tree, list) and isinstance(part, int) and part < len(tree)
        if not (in_mapping or in_list):
            return False
        tree = tree[part]
    return True


def locate(layers: list[Layer], path: KeyPath, first: bool = False) -> tuple[str, str]:
    """Where a merged value comes from: (file or command line, dotted key there).

    The last layer that holds ``path`` decided it; ``first`` asks for the first that does.
    """
    for layer in layers if first else reversed(layers):
        if has(layer.tree, path):
            return layer.where, dotted(layer.prefix + path)
    return layers[0].where, dotted(layers[0].prefix + path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return typed(value)
    return value if isinstance(value, bool | int | float | None) else str(value)


def _value(node: yaml.Node, where: str, path: KeyPath, seen: set[int]) -> Any:
    line = node.start_mark.line + 1
    if id(node) in seen:
        raise ConfigError(
            f"{where}, line {line} is used through an alias (*); write the value out instead."
        )
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        if node.tag != _TEXT_TAG:
            raise ConfigError(
                f"{where}, line {line}: {dotted(path)} has the tag {node.tag!r}; leave tags out."
            )
        return node.value if node.style else typed(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, where, (*path, i), seen) for i, item in enumerate(node.value)]
    return _mapping(node, where, path, seen)


def _mapping(node: yaml.Node, where: str, path: KeyPath, seen: set[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            parent = dotted(path) or "the file"
            raise ConfigError(f"{where}, line {line}: a key of {parent} is no text.")
        key = key_node.value
        if key in result:
            raise ConfigError(
                f"{where}: {dotted((*path, key))} is given twice, in lines {lines[key]} and "
                f"{line}; keep one of them."
            )
        lines[key] = line
        result[key] = _value(value_node, where, (*path, key), seen)
    return result
