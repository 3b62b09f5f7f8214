"""Check docstrings: a public function names each error that it raises itself.

    python tools/check_docstrings.py [ROOT]

Checked are functions of `src`, and methods of its classes, whose names have no leading underscore. What they
call is not followed, nor what functions inside them raise. The docstring may name a base of the error
instead, and the docstring of the class or module may say it for all that is in it. Exempt are
NotImplementedError; AssertionError, which marks what cannot happen; and what ends a command, because a
command's docstring is its help text and users read it.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Ends a command: with a line on stderr, or with a status.
_OF_COMMANDS = {"CommandError", "SystemExit"}
_HELP_TEXT = "For example:\n\n    lapel "

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.ClassDef | ast.Lambda


@dataclass(frozen=True, slots=True)
class Silent:
    """A function that raises errors which its docstring does not name."""

    path: str
    line: int
    name: str
    errors: tuple[str, ...]


def public_functions(tree: ast.Module) -> Iterator[tuple[str, str, Function]]:
    """Each public function and method of a module: its name, the docstrings around it, its node."""
    yield from _of_body("", ast.get_docstring(tree) or "", tree.body)


def _of_body(prefix: str, told: str, body: list[ast.stmt]) -> Iterator[tuple[str, str, Function]]:
    for node in body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", told, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            around = f"{told}\n{ast.get_docstring(node) or ''}"
            yield from _of_body(f"{prefix}{node.name}.", around, node.body)
        elif isinstance(node, ast.If):  # one definition a platform
            yield from _of_body(prefix, told, [*node.body, *node.orelse])


def raised(function: Function) -> set[str]:
    """Names of the classes that the function's own body raises; `raise` and `raise error` name none."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Scope):
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = error.attr if isinstance(error, ast.Attribute) else getattr(error, "id", "")
            if name[:1].isupper():  # a class and no variable, nor a function that makes the error
                names.add(name)
    names -= {"NotImplementedError", "AssertionError"}
    is_command = _HELP_TEXT in (ast.get_docstring(function) or "")
    return names - _OF_COMMANDS if is_command else names


def bases_of(trees: list[ast.Module]) -> dict[str, set[str]]:
    """Each class of the project and each built-in error, with the names of all its bases."""
    direct: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                named = {each.id for each in node.bases if isinstance(each, ast.Name)}
                direct.setdefault(node.name, set()).update(named)
    for name, each in vars(builtins).items():
        if isinstance(each, type) and issubclass(each, BaseException):
            direct.setdefault(name, set()).update(base.__name__ for base in each.__mro__[1:])
    return direct


def _names(error: str, bases: dict[str, set[str]]) -> set[str]:
    """The error and its bases; `Exception` and above would say nothing."""
    found: set[str] = set()
    waiting = [error]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(bases.get(name, ()))
    return found - {"Exception", "BaseException", "object"}


def silent(root: Path) -> list[Silent]:
    """Every public function below `root`/src that does not name an error which it raises."""
    paths = sorted((root / "src").rglob("*.py"))
    trees = [ast.parse(path.read_text()) for path in paths]
    bases = bases_of(trees)
    found: list[Silent] = []
    for path, tree in zip(paths, trees, strict=True):
        for name, told, function in public_functions(tree):
            words = set(re.findall(r"\w+", f"{told} {ast.get_docstring(function) or ''}"))
            missing = tuple(sorted(each for each in raised(function) if not _names(each, bases) & words))
            if missing:
                found.append(Silent(path.relative_to(root).as_posix(), function.lineno, name, missing))
    return found


def main() -> int:
    """1 with a line for each such function on standard error, else 0."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    found = silent(root)
    for each in found:
        errors = ", ".join(each.errors)
        print(
            f"{each.path}:{each.line}: {each.name} raises {errors}: say in its docstring when",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
