"""Write each sentence that the package raises, by the class of its error, into the docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from adbazureml import errors

ROOT = Path(__file__).parent.parent
WHEEL = ROOT / "lib" / "src" / "adbazureml"
PAGE = ROOT / "docs" / "messages.md"
CLASSES = {
    name: one
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.AdbAzureMLError) and one is not errors.AdbAzureMLError
}
# What turns a service's refusals into an error, by a table of sentences.
EXPLAINED = {"explaining_errors": "WorkspaceError"}
# Words, and not a name, a separator or what is filled in alone.
SENTENCE = re.compile(r"[A-Za-z']{2,} [\w…'=-]+", flags=re.S)


@lru_cache
def sentences() -> dict[str, set[str]]:
    """Each sentence by the class of its error, with … for what is filled in."""
    found: dict[str, set[str]] = {name: set() for name in CLASSES}
    for path in sorted(WHEEL.rglob("*.py")):
        module = _Module(ast.parse(path.read_text(encoding="utf-8")))
        for call, scope in module.calls:
            found[_raised(call)] |= {_in_a_line(text) for text in module.texts(call.args[0], scope)}
    return {name: {text for text in texts if SENTENCE.search(text)} for name, texts in found.items()}


class _Module:
    """A file's code: what its expressions say, through its own functions and tables."""

    def __init__(self, tree: ast.Module) -> None:
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        self._functions = {node.name: node for node in functions}
        self._constants = _assigned(tree.body)
        self.calls = [
            (node, _assigned(ast.walk(function)))
            for function in functions
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and node.args and _raised(node) in CLASSES
        ]
        self._reading: set[str] = set()

    def texts(self, node: ast.expr, scope: dict[str, list[ast.expr]]) -> list[str]:
        """The texts that an expression can have, with what the names of its function stand for."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            return ["".join(self._part(part) for part in node.values)]
        if isinstance(node, ast.BinOp):
            left, right = (self.texts(side, scope) or ["…"] for side in (node.left, node.right))
            return [one + other for one in left for other in right]
        if isinstance(node, ast.Call):
            return self._said_by(node, scope)
        if isinstance(node, ast.Name):
            return self._once(node.id, scope.get(node.id) or self._constants.get(node.id, []), scope)
        either = [node.body, node.orelse] if isinstance(node, ast.IfExp) else getattr(node, "values", [])
        return [text for value in either for text in self.texts(value, scope)]

    def _said_by(self, call: ast.Call, scope: dict[str, list[ast.expr]]) -> list[str]:
        """What a function of the file returns, a text that is filled in, or a table that another one looks into."""
        name = _called(call)
        if name in ("format", "get") and isinstance(call.func, ast.Attribute):
            return self.texts(call.func.value, scope)
        if name in self._functions:
            inside = list(ast.walk(self._functions[name]))
            returned = [node.value for node in inside if isinstance(node, ast.Return) and node.value is not None]
            return self._once(name, returned, _assigned(inside))
        tables = [argument for argument in call.args if isinstance(argument, (ast.Name, ast.Dict))]
        return [text for table in tables for text in self.texts(table, scope)]

    def _once(self, name: str, nodes: list[ast.expr], scope: dict[str, list[ast.expr]]) -> list[str]:
        if name in self._reading:
            return []
        self._reading.add(name)
        said = [text for node in nodes for text in self.texts(node, scope)]
        self._reading.discard(name)
        return said

    def _part(self, part: ast.expr) -> str:
        return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "…"


def _assigned(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    """What is assigned to each name."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def _called(call: ast.Call) -> str:
    return getattr(call.func, "id", None) or getattr(call.func, "attr", "")


def _raised(call: ast.Call) -> str:
    return EXPLAINED.get(_called(call), _called(call))


def _in_a_line(text: str) -> str:
    # Of a text for `format`, the names that it fills in.
    text = re.sub(r"\{\w+(![rs])?\}", "…", text)
    return re.sub(r"…[…\s]*…", "…", " ".join(text.split()))


def page() -> str:
    """The page of all sentences."""
    parts = [
        "# Every message",
        "Each sentence that an error of this package says, by its class, with … for what it names. A sentence ends "
        "with what to do. [Troubleshooting](troubleshooting.md) says more of those that people meet most.",
    ]
    for name, texts in sentences().items():
        doc = (CLASSES[name].__doc__ or "").split("\n")[0]
        rows = [f"- ``{text}``" for text in sorted(texts, key=lambda text: text.lstrip("…: ").lower())]
        parts.append("\n".join([f"## {name}", "", doc, "", *rows]).rstrip())
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
