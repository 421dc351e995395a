"""References to functions by name: how a config entry names a data set, a network, a figure or a claim.

A reference is ``package.module:function`` or ``path/to/file.py:function``. Adding an entry of any kind
is one function and one line of configuration.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError


def split_reference(reference: str) -> tuple[str, str]:
    """Split ``module:function``; raises ConfigError where the form is another."""
    module, separator, function = reference.rpartition(":")
    if not separator or not module or not function.isidentifier():
        raise ConfigError(
            f"{reference!r} does not name a function: write package.module:function "
            "or path/to/file.py:function."
        )
    return module, function


def source_file(reference: str, root: Path | None = None) -> Path:
    """The file that defines the referenced function (relative file references start at ``root``)."""
    module, _ = split_reference(reference)
    if module.endswith(".py"):
        path = Path(module) if root is None else Path(root) / module
        if not path.is_file():
            raise ConfigError(f"{reference!r} names the file {path}, which does not exist.")
        return path
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise ConfigError(f"{reference!r} names the module {module}, which cannot be imported.")
    return Path(spec.origin)


def resolve(reference: str, root: Path | None = None) -> Callable[..., Any]:
    """The function that ``reference`` names; raises ConfigError listing the module's functions."""
    module_name, function = split_reference(reference)
    path = source_file(reference, root)
    module = (
        _import_file(path) if module_name.endswith(".py") else importlib.import_module(module_name)
    )
    found = getattr(module, function, None)
    if not callable(found):
        names = sorted(
            name
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("_")
        )
        raise ConfigError(f"{path} has no function {function!r}; it has: {', '.join(names)}.")
    return found


def builder(entry: Mapping[str, Any], root: Path | None = None) -> Callable[..., Any]:
    """The function of an entry ``{builder: reference, options: {...}}`` with its options bound.

    Raises ConfigError for an option that the function does not have.
    """
    function = resolve(entry["builder"], root)
    options = dict(entry.get("options") or {})
    if not options:
        return function
    parameters = list(inspect.signature(function).parameters.values())
    names = [parameter.name for parameter in parameters]
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        for option in options:
            if option not in names[1:]:
                valid = ", ".join(names[1:])
                raise ConfigError(
                    f"{entry['builder']} has no option {option!r}; its arguments: {valid}."
                )
    return partial(function, **options)


def lookup(kind: str, name: str, entries: dict[str, Any]) -> Any:
    """The entry ``name`` of a registry of some ``kind``; raises ConfigError listing the valid names."""
    if name not in entries:
        raise ConfigError(f"{name!r} is no known {kind}; known are: {', '.join(sorted(entries))}.")
    return entries[name]


def _import_file(path: Path) -> Any:
    name = f"pipeline_plugin_{path.stem}_{abs(hash(path.resolve())):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # a second attempt must fail for the same reason
        raise
    return module
