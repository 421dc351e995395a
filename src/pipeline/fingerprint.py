"""Fingerprints of code: what a rule computes, whatever its comments, docstrings and layout.

Snakemake watches a rule's script, not the modules it imports. Each rule therefore has a parameter
``code``, the fingerprint of its script and of all modules of ours below it: the SHA-256 of their
syntax trees without docstrings. Nothing that is scanned is imported.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import scan_cache
from pipeline.errors import ConfigError
from pipeline.registry import split_reference
from pipeline.user_cache import user_cache

PACKAGE = "pipeline"
PACKAGE_ROOT = Path(__file__).resolve().parent.parent
Stamp = tuple[int, int]  # time of the last change (ns) and size (bytes)


class Import(NamedTuple):
    """One import statement: ``from <level dots><module> import <names>``; no names: ``import``."""

    module: str
    names: tuple[str, ...]
    level: int
    line: int


def code_fingerprint(
    script: Path | str,
    references: Iterable[str] = (),
    package_root: Path = PACKAGE_ROOT,
    root: Path | None = None,
) -> str:
    """16 hexadecimal digits that change with what the script computes.

    They change with the syntax tree of the script and of every module of the package that it
    imports, directly or not, at the top or within functions. Comments, docstrings, layout, times of
    change and the place of the files do not count.

    Arguments
    ---------
    script: the rule's Python script.
    references: ``module:function`` or ``file.py:function`` of registry entries that the rule uses;
        their files count as if the script imported them.
    package_root: folder that holds the package.
    root: where relative paths of ``file.py:function`` start; the working directory by default.

    Raises ConfigError naming file and line of a syntax error or of a missing import of ours.
    """
    files = _files(Path(script), tuple(references), package_root, root)
    lines = sorted(f"{name} {digest}\n" for name, digest in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def modules_of(
    script: Path | str,
    references: Iterable[str] = (),
    package_root: Path = PACKAGE_ROOT,
    root: Path | None = None,
) -> list[str]:
    """Names of all modules and files that ``code_fingerprint`` covers, sorted.

    Modules of the package by their dotted name, other files by their file name.
    """
    files = _files(Path(script), tuple(references), package_root, root)
    return sorted(name for name, _ in files)


_closures: dict[
    tuple[Path, tuple[str, ...], Path, Path], tuple[dict[str, Stamp], list[tuple[str, str]]]
] = {}


def _files(
    script: Path, references: tuple[str, ...], package_root: Path, root: Path | None
) -> list[tuple[str, str]]:
    """(name, digest) of every file covered.

    A workflow asks hundreds of times: the answer is kept with the stamps of all files it came from
    and of their folders, in which a new file may turn an imported name into a module.
    """
    key = (script, references, package_root, Path.cwd() if root is None else Path(root))
    if key in _closures:
        stamps, answer = _closures[key]
        if all(_stamp(path) == stamp for path, stamp in stamps.items()):
            return answer
    package_root = package_root.resolve()
    version = _folders_version(package_root)
    waiting = [script.resolve()]
    for reference in references:
        waiting += reference_files(reference, package_root, key[3])
    found: dict[Path, tuple[str, str]] = {}
    stamps = {}
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        stamp, beside = _stamp(str(path)), _stamp(str(path.parent))
        stamps |= {str(path): stamp, str(path.parent): beside}
        digest, imported = _read(path, stamp, beside, package_root, version)
        found[path] = (_name(path, package_root), digest)
        waiting += imported
    answer = list(found.values())
    _closures[key] = (stamps, answer)
    return answer


_folders: dict[Path, tuple[int, dict[str, Stamp]]] = {}


def _folders_version(package_root: Path) -> int:
    """A number that changes when a file or folder of the package appears or goes."""
    version, stamps = _folders.get(package_root, (0, {}))
    if not stamps or any(_stamp(folder) != stamp for folder, stamp in stamps.items()):
        package = package_root / PACKAGE
        found = [path for path in (package, *package.rglob("*/")) if path.name != "__pycache__"]
        stamps = {str(path): _stamp(str(path)) for path in found if path.is_dir()}
        version += 1
        _folders[package_root] = version, stamps
    return version


@lru_cache(maxsize=8192)
def _read(
    path: Path, stamp: Stamp, beside: Stamp, package_root: Path, version: int
) -> tuple[str, tuple[Path, ...]]:
    """Digest of a file, and the files of ours that it imports.

    stamp, beside, version: of the file, of its folder and of the package's folders, key the cache.
    """
    digest, imports = _scan(path, stamp)
    found = [_imported_files(path, statement, package_root, version) for statement in imports]
    return digest, tuple(file for files in found for file in files)


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return (status.st_mtime_ns, status.st_size)


def _name(path: Path, package_root: Path) -> str:
    """Dotted name of a module of the package, file name of any other: the same on every machine."""
    if not path.is_relative_to(package_root / PACKAGE):
        return path.name
    parts = path.relative_to(package_root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- from a file to its digest and imports -------------------------------------------------------


@lru_cache(maxsize=4096)
def _scan(path: Path, stamp: Stamp) -> tuple[str, tuple[Import, ...]]:
    """Digest of the normalised syntax tree of a file, and its imports; ``stamp`` keys the cache."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as a Python file ({error.strerror}).") from error
    content = hashlib.sha256(source).hexdigest()
    if content not in _kept_scans():
        _kept_scans()[content] = _new_scans[content] = _parse(path, source)
    digest, imports = _kept_scans()[content]
    return digest, tuple(Import(module, tuple(names), *at) for module, names, *at in imports)


_new_scans: dict[str, Any] = {}


@lru_cache(maxsize=1)
def _kept_scans() -> dict[str, Any]:
    """SHA-256 of a file -> what ``_parse`` finds in it, from earlier processes and this one."""
    file = _scans_file()
    if file is None:
        return {}
    atexit.register(lambda: scan_cache.add(file, _new_scans))
    return scan_cache.read(file)


def _scans_file() -> Path | None:
    """Where this version of this module keeps what it finds, of this version of Python; None: nowhere."""
    own_code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = user_cache("scans")
    return folder and folder / f"{sys.implementation.cache_tag}-{own_code}.json"


def _parse(path: Path, source: bytes) -> tuple[str, list[Import]]:
    """Digest of the normalised syntax tree, and the imports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the file's own business, told when it runs
            tree = ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}, has a syntax error: {error.msg}."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not a Python file: {error}.") from error
    return hashlib.sha256(_dump(tree).encode()).hexdigest(), list(_imports(tree))


def _dump(value: object) -> str:
    """Text of a syntax tree without docstrings, positions and empty fields.

    Empty fields are left out because newer versions of Python add some.
    """
    if isinstance(value, ast.AST):
        parts = []
        for field, entry in ast.iter_fields(value):
            if field in ("body", "orelse", "finalbody") and isinstance(entry, list):
                entry = _without_strings(entry) or ([ast.Pass()] if field == "body" else [])
            if entry is not None and entry != []:
                parts.append(f"{field}={_dump(entry)}")
        return f"{type(value).__name__}({','.join(parts)})"
    if isinstance(value, list):
        return f"[{','.join(map(_dump, value))}]"
    return repr(value)


def _without_strings(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Statements without docstrings and other strings that stand alone, which do nothing."""
    return [
        statement
        for statement in statements
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ]


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, (), 0, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        names = tuple(alias.name for alias in node.names)
        yield Import(node.module or "", names, node.level, node.lineno)
    elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield Import(first.value, (), 0, node.lineno)
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
        children = node.orelse  # the rest never runs
    for child in children:
        yield from _imports(child)


def _called(node: ast.Call) -> str:
    return _last_name(node.func)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


# --- from a name to its files --------------------------------------------------------------------


def _imported_files(
    importer: Path, statement: Import, package_root: Path, version: int
) -> list[Path]:
    """Files of ours that an import statement runs; none for the libraries of others."""
    parts = tuple(statement.module.split(".")) if statement.module else ()
    base = _base(importer, statement, package_root)
    if base is None:
        return []

    def located(names: tuple[str, ...]) -> tuple[Path, ...] | None:
        if base == package_root and names[:1] == (PACKAGE,):
            return _located_in_package(base, names, version)
        return _located(base, names)

    files = located(parts)
    if files is None:
        if base == package_root or statement.level:
            dots = "." * statement.level
            raise ConfigError(
                f"{importer}, line {statement.line}, imports {dots}{statement.module}, "
                f"which does not exist below {base}."
            )
        return []
    for name in statement.names:
        if name == "*":
            package = base.joinpath(*parts)
            files += tuple(map(Path.resolve, sorted(package.glob("*.py"))))
        else:
            files += located((*parts, name)) or ()
    return list(files)


def _base(importer: Path, statement: Import, package_root: Path) -> Path | None:
    """Folder in which the first part of the imported name is looked for; None if it is not ours."""
    if statement.level:
        return importer.parents[statement.level - 1]
    top = statement.module.partition(".")[0]
    if top == PACKAGE:
        return package_root
    if importer.is_relative_to(package_root / PACKAGE):
        return None
    folder = importer.parent
    while (folder / "__init__.py").is_file():
        if folder.name == top:
            return folder.parent
        folder = folder.parent
    # a script sees its neighbours; a module installed among others must not count them as ours
    if folder.name in ("site-packages", "dist-packages"):
        return None
    return importer.parent


@lru_cache(maxsize=8192)
def _located_in_package(
    package_root: Path, parts: tuple[str, ...], version: int
) -> tuple[Path, ...] | None:
    """``_located``; version: of the package's folders, keys the cache."""
    return _located(package_root, parts)


def _located(base: Path, parts: Sequence[str]) -> tuple[Path, ...] | None:
    """Files that run when ``parts`` is imported from ``base``; None if it does not exist."""
    files = []
    folder = base
    for position, part in enumerate(parts, start=1):
        package, module = folder / part / "__init__.py", folder / f"{part}.py"
        if package.is_file():
            files.append(package)
        elif position == len(parts) and module.is_file():
            files.append(module)
        elif not (folder / part).is_dir():
            return None
        folder /= part
    return tuple(file.resolve() for file in files)


def reference_files(reference: str, package_root: Path, root: Path) -> list[Path]:
    """Files that run when the module of a registry entry is imported."""
    module, _ = split_reference(reference)
    if module.endswith(".py"):
        path = root / module
        try:
            there = path.is_file()
        except OSError as error:  # a folder that may not be entered, a name that is too long
            reason = f"which cannot be read ({error.strerror})"
            raise ConfigError(f"{reference!r} names the file {path}, {reason}.") from error
        if not there:
            raise ConfigError(f"{reference!r} names the file {path}, which does not exist.")
        return [path.resolve()]
    parts = module.split(".")
    base = package_root if parts[0] == PACKAGE else _foreign_base(parts[0])
    files = _located(base, parts) if base is not None else None
    if not files:
        raise ConfigError(f"{reference!r} names the module {module}, which cannot be found.")
    return list(files)


def _foreign_base(top: str) -> Path | None:
    """Folder that holds a top-level module of others (finding that one imports nothing)."""
    if top == "__main__":  # whatever program this is
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    path = Path(spec.origin)
    return path.parent.parent if path.name == "__init__.py" else path.parent
