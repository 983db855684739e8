"""Documents a finished project from its own modules.

Imports the standard library only. Invariant: modules are parsed, never run.
"""

import ast
from pathlib import Path

Documented = ast.FunctionDef | ast.ClassDef


def module_table(workspace: Path) -> str:
    """A Markdown table of the modules and what each says about itself."""
    rows = [
        f"| `{path}` | {_summary(tree)} |" for path, tree in _modules(workspace) if not path.endswith("__init__.py")
    ]
    pages = sorted((workspace / "src").rglob("*.html"))
    rows += [f"| `{page.relative_to(workspace).as_posix()}` | The page in the browser. |" for page in pages]
    return "\n".join(["| File | What it does |", "|---|---|", *rows])


def reference(workspace: Path) -> str:
    """One section per module with its public functions and classes."""
    return "\n\n".join(
        f"## `{path}`\n\n{_summary(tree)}\n\n{listing}"
        for path, tree in _modules(workspace)
        if (listing := _listing(tree))
    )


def _modules(workspace: Path) -> list[tuple[str, ast.Module]]:
    found = sorted(path for path in (workspace / "src").rglob("*.py") if path.is_file())
    modules = []
    for path in found:
        try:
            modules.append((path.relative_to(workspace).as_posix(), ast.parse(path.read_text(encoding="utf-8"))))
        except (SyntaxError, ValueError):
            continue  # somebody else's task wrote it; its own checks judge it
    return modules


def _listing(tree: ast.Module) -> str:
    lines = []
    for node in tree.body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            lines.append(f"- `{_signature(node)}`: {_summary(node)}")
            lines += [
                f"  - `{_signature(inner)}`: {_summary(inner)}"
                for inner in (node.body if isinstance(node, ast.ClassDef) else ())
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_")
            ]
    return "\n".join(lines)


def _signature(node: Documented) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def _summary(node: ast.Module | Documented) -> str:
    text = ast.get_docstring(node) or "no description"
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|").replace("``", "`")
