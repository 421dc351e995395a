"""Validation against the JSON Schemas, every violation as one sentence a user can act on."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import referencing
from referencing.jsonschema import DRAFT202012

from pipeline.config_files import KeyPath, Layer, dotted, locate, read_yaml
from pipeline.errors import ConfigError
from pipeline.fingerprint import PACKAGE_ROOT, reference_files
from pipeline.registry import split_reference

SCHEMA_FOLDER = "workflow/schemas"
COMMON = "common.schema.yaml"

Schemas = dict[str, dict[str, Any]]


def load_schemas(root: Path, names: Iterable[str]) -> Schemas:
    """The schemas ``<name>.schema.yaml`` and the one they share, by name; raises ConfigError."""
    files = {name: f"{name}.schema.yaml" for name in names} | {COMMON: COMMON}
    read = {name: read_yaml(root, f"{SCHEMA_FOLDER}/{file}") for name, file in files.items()}
    return {name: _inlined(schema, schema, read) for name, schema in read.items()}


def _inlined(node: Any, document: dict[str, Any], schemas: Schemas) -> Any:
    """A schema in which nothing refers elsewhere: looking references up takes half of a validation."""
    if isinstance(node, list):
        return [_inlined(one, document, schemas) for one in node]
    if not isinstance(node, dict):
        return node
    file = str(node.get("$ref", "")).partition("#/")[0]
    if isinstance(node.get("$ref"), str):
        node = follow(node, document, schemas)
    home = schemas[file] if file else document
    return {key: _inlined(value, home, schemas) for key, value in node.items()}


def follow(schema: dict[str, Any], document: dict[str, Any], schemas: Schemas) -> dict[str, Any]:
    """A schema with what its ``$ref`` refers to merged below its own keywords."""
    if "$ref" not in schema:
        return schema
    file, _, pointer = schema["$ref"].partition("#/")
    target: Any = schemas[file] if file else document
    for part in pointer.split("/"):
        target = target[part]
    return {**follow(target, document, schemas), **{k: v for k, v in schema.items() if k != "$ref"}}


def run_schema(document: dict[str, Any], schemas: Schemas) -> dict[str, Any]:
    """The schema of a run of a paper; empty for a paper without runs."""
    if "run" not in document.get("$defs", {}):
        return {}
    return follow({"$ref": "#/$defs/run"}, document, schemas)


def describe(schema: dict[str, Any], document: dict[str, Any], schemas: Schemas) -> str:
    """The valid values of a schema in words, such as ``a whole number of at least 1``."""
    schema = follow(schema, document, schemas)
    if "enum" in schema:
        return _listing([_word(value) for value in schema["enum"]])
    if "title" in schema:
        return str(schema["title"])
    types = schema.get("type", "any")
    words = []
    for kind in types if isinstance(types, list) else [types]:
        if kind == "array":
            items = describe(schema["items"], document, schemas)
            words.append(f"a list{_size(schema)} of items that are each {items}")
        else:
            bounds = _bounds(schema) if kind in ("integer", "number") else ""
            words.append(_KINDS[kind] + bounds)
    return " or ".join(words)


def violations(
    name: str, schemas: Schemas, values: Any, layers: list[Layer], extra_keys: Iterable[str] = ()
) -> Iterator[str]:
    """One sentence for each violation of schema ``name`` by the merged ``values``.

    ``layers`` say where a value comes from; ``extra_keys`` are top-level keys that are valid too
    and offered where an unknown key is named.
    """
    document = schemas[name]
    # Values and schemas as text: most of a configuration is asked about more than once.
    asked = hashlib.sha256(repr((document, schemas[COMMON], values)).encode()).digest()
    if asked in _without_violations:
        return
    validator = _Validator(document, registry=_registry(schemas[COMMON]), format_checker=_formats)
    found = list(validator.iter_errors(values))
    if not found:
        _without_violations.add(asked)
    for error in found:
        yield from _sentences(error, document, schemas, layers, tuple(extra_keys))


_without_violations: set[bytes] = set()


def sentence(where: str, key: str, value: Any, reason: str, valid: str) -> str:
    """The one form of all refusals: file, key, value, reason, valid values."""
    return f"{where}: {key} = {show(value)} {reason}; {valid}."


def show(value: Any, limit: int = 80) -> str:
    """A value as it would be written in a config file, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def suggestion(name: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where a valid name is close, else nothing."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def names(valid: Iterable[str]) -> str:
    """Names in alphabetical order, separated by commas."""
    return ", ".join(sorted(valid)) or "none"


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    # A whole number beyond the range of a float is no number that anything can compute with.
    return _is_integer(_, value) and abs(value) < 2**1000


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)

_formats = jsonschema.FormatChecker(formats=())


_found: set[tuple[str, Path]] = set()  # references, and where relative paths started


@_formats.checks("function", raises=ConfigError)
def _is_function(value: Any) -> bool:
    if isinstance(value, str) and re.search(r"\w:\w+$", value):  # else its pattern is told
        check_reference(value)
    return True


def check_reference(reference: str) -> None:
    """Raise ConfigError where a reference's file is not there, or does not have the function's name.

    Nothing is imported: whether the name is that of a function is seen when the function is needed.
    """
    root = Path.cwd()
    if (reference, root) in _found:
        return
    path = reference_files(reference, PACKAGE_ROOT, root)[-1]
    _, function = split_reference(reference)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        reason = f"which cannot be read ({error.strerror})"
        raise ConfigError(f"{reference!r} names {path}, {reason}.") from error
    if not re.search(rf"\b{function}\b", text):
        raise ConfigError(f"{reference!r} names {function} in {path}, which has no such function.")
    _found.add((reference, root))


_KINDS = {
    "integer": "a whole number",
    "number": "a finite number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
    "object": "a mapping of keys to values",
    "any": "anything",
}


def _registry(common: dict[str, Any]) -> Any:
    empty: referencing.Registry[Any] = referencing.Registry()
    return empty.with_resources([(COMMON, DRAFT202012.create_resource(common))])


def _sentences(
    error: Any,
    document: dict[str, Any],
    schemas: Schemas,
    layers: list[Layer],
    extra: tuple[str, ...],
) -> Iterator[str]:
    path: KeyPath = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        for key in error.instance:
            if not _allowed(key, error.schema):
                yield _unknown_key(path, key, error, document, layers, extra)
    elif error.validator == "required":
        where, parent = locate(layers, path, first=True)
        for key in error.validator_value:
            if key not in error.instance:
                full = f"{parent}.{key}" if parent else key
                properties = follow(error.schema, document, schemas).get("properties", {})
                valid = describe(properties.get(key, {}), document, schemas)
                yield f"{where}: {full} is missing; set it to {valid}."
    else:
        where, key = locate(layers, path)
        valid = f"valid is {describe(error.schema, document, schemas)}"
        choices = [value for value in error.schema.get("enum", ()) if isinstance(value, str)]
        hint = suggestion(error.instance, choices) if isinstance(error.instance, str) else ""
        reason = f"is not valid{hint}"
        if error.validator == "format":  # what check_reference says of it
            reason = str(error.cause).removeprefix(f"{error.instance!r} ").rstrip(".")
        yield sentence(where, key or "the file", error.instance, reason, valid)


def _allowed(key: str, schema: dict[str, Any]) -> bool:
    patterns = schema.get("patternProperties", {})
    return key in schema.get("properties", {}) or any(re.search(p, key) for p in patterns)


def _unknown_key(
    path: KeyPath,
    key: str,
    error: Any,
    document: dict[str, Any],
    layers: list[Layer],
    extra: tuple[str, ...],
) -> str:
    where, full = locate(layers, (*path, key))
    value = error.instance[key]
    if "patternProperties" in error.schema:
        valid = "valid are names of letters, digits and underscores that match "
        valid += " or ".join(error.schema["patternProperties"])
        return sentence(where, full, value, "has no valid name", valid)
    valid_keys = [*error.schema.get("properties", {}), *(() if path else extra)]
    hint = suggestion(key, valid_keys)
    if not hint and not path:
        deeper = [known for known in _key_paths(document) if known.split(".")[-1] == key]
        hint = f" (did you mean {deeper[0]!r}?)" if deeper else ""
    valid = f"valid keys are {names(valid_keys)}"
    return sentence(where, full, value, f"is an unknown key{hint}", valid)


def _key_paths(schema: dict[str, Any], prefix: KeyPath = ()) -> Iterator[str]:
    for key, value in schema.get("properties", {}).items():
        yield dotted((*prefix, key))
        yield from _key_paths(value, (*prefix, key))


def _bounds(schema: dict[str, Any]) -> str:
    words = [
        f"{word} {schema[keyword]}"
        for keyword, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if keyword in schema
    ]
    return f" ({' and '.join(words)})" if words else ""


def _size(schema: dict[str, Any]) -> str:
    low, high = schema.get("minItems"), schema.get("maxItems")
    words = [f"at least {low}" if low else "", f"at most {high}" if high else ""]
    words.append("no repeats" if schema.get("uniqueItems") else "")
    words = [word for word in words if word]
    return f" ({', '.join(words)})" if words else ""


def _listing(words: list[str]) -> str:
    return words[0] if len(words) == 1 else "one of " + ", ".join(words)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
