"""The house rules as a test: sizes, names, purity of the core, wiring, dead files, addresses and paths, packaging."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNITS = ("proto", "libs", "services")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager"}
IMPURE_MODULES = {"asyncio", "datetime", "logging", "os", "random", "secrets", "socket", "subprocess", "time", "uuid"}
IMPURE_CALLS = {"open", "print", "input"}
ADAPTERS = {"pto_bus", "pto_memory", "pto_blobs", "pto_engines"}
COMMAND_LINE_WIRING = {f"services/cli/pto_cli/{name}.py" for name in ("embedded", "host", "access", "engines")}
"""Where it starts services, where it gets at brokers and blobs, and where it puts their errors into words."""
README_HEADINGS = ["Consumes", "Produces", "Owns", "Fails how"]
FORBIDDEN_TEXT = {
    "a package registry's host": re.compile(
        r"pypi\.org|pythonhosted\.org|registry\.(?:npmjs\.org|yarnpkg\.com)|\.docker\.io|docker\.io/|ghcr\.io|quay\.io"
        r"|static\.crates\.io|proxy\.golang\.org",
        re.IGNORECASE,
    ),
    "an index address": re.compile(r"--(?:extra-)?index-url[ =]\S*:/{2}|--find-links[ =]\S*/"),
    "a path of one machine": re.compile(r"(?<![\w.~$}*-])/(?:work|root|home/\w[\w.-]*|Users/\w[\w.-]*)/[\w.]"),
}
"""None of these patterns matches its own source, so this file is searched like any other. Debian's package of the Docker
engine has the name of a registry; as a host it has something before it or a path behind it."""
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


@cache
def tracked() -> tuple[Path, ...]:
    """Files git knows of and that are still there; without a repository (a source archive), all files."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = [name for name in listing.stdout.decode().split("\0") if name]
    files = [ROOT / name for name in names] if listing.returncode == 0 else list(ROOT.rglob("*"))
    return tuple(sorted(path for path in files if path.is_file() and ".venv" not in path.parts))


@cache
def product_modules() -> tuple[Path, ...]:
    return tuple(
        path for unit in UNITS for path in sorted((ROOT / unit).rglob("*.py")) if "__pycache__" not in path.parts
    )


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """``pto_core.fold`` for ``libs/core/pto_core/fold.py``; ``core.builders`` for ``tests/core/builders.py``."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    start = next((i for i, part in enumerate(parts) if part.startswith("pto_")), 0)
    parts = parts[start:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Every absolute module name that a module imports anywhere; ``from a import b`` gives both ``a`` and ``a.b``."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def python_files() -> list[Path]:
    own = [path for folder in ("tests", "docs") for path in (ROOT / folder).rglob("*.py")]
    return [*product_modules(), *(path for path in own if "__pycache__" not in path.parts)]


def test_modules_are_small() -> None:
    long = {shown(path): n for path in python_files() if (n := path.read_text().count("\n")) > MAX_MODULE_LINES}
    assert not long, f"more than {MAX_MODULE_LINES} lines: {long}"


def test_functions_are_short() -> None:
    long = [
        f"{shown(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in python_files()
        for node in functions(parsed(path))
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long, f"more than {MAX_FUNCTION_LINES} lines:\n" + "\n".join(long)


def test_modules_say_what_they_are_for() -> None:
    silent = [shown(path) for path in product_modules() if not ast.get_docstring(parsed(path))]
    assert not silent, f"no docstring: {silent}"


def test_modules_are_named_for_one_thing() -> None:
    vague = [shown(path) for path in python_files() if {path.stem, path.parent.name} & VAGUE_NAMES]
    assert not vague, f"a module is one noun, not a drawer: {vague}"


def test_core_is_pure() -> None:
    found = []
    for path in sorted((ROOT / "libs/core").rglob("*.py")):
        impure = {name.split(".")[0] for name in imports_of(path)} & IMPURE_MODULES
        found += [f"{shown(path)}: imports {name}" for name in sorted(impure)]
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                found.append(f"{shown(path)}:{node.lineno}: async")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                found.append(f"{shown(path)}:{node.lineno}: {node.func.id}()")
    assert not found, "\n".join(found)


def test_only_mains_name_adapters() -> None:
    """One place to see the wiring of a service; the command line's are its host and its access to brokers."""
    found = [
        f"{shown(path)}: {name}"
        for path in sorted((ROOT / "services").rglob("*.py"))
        if path.name != "main.py" and shown(path) not in COMMAND_LINE_WIRING
        for name in sorted({name.split(".")[0] for name in imports_of(path)} & ADAPTERS)
    ]
    assert not found, "only main.py names concrete adapters:\n" + "\n".join(found)


def test_shells_name_no_adapters() -> None:
    shells = [path for lib in ("runtime", "dispatch", "client") for path in sorted((ROOT / "libs" / lib).rglob("*.py"))]
    found = [shown(path) for path in shells if {name.split(".")[0] for name in imports_of(path)} & ADAPTERS]
    assert not found, f"they get their adapters from a service's main.py: {found}"


def test_product_never_imports_tests() -> None:
    test_names = {"tests", "conftest", "pytest", "hypothesis"}
    found = [
        shown(path) for path in product_modules() if {name.split(".")[0] for name in imports_of(path)} & test_names
    ]
    assert not found, f"imports of tests: {found}"


def test_packaging_lists_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        shown(path) for unit in UNITS for path in (ROOT / unit).rglob("pto_*") if (path / "__init__.py").exists()
    }
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == packages
    assert set(project["tool"]["mypy"]["mypy_path"]) == {str(Path(package).parent) for package in packages}
    assert set(project["tool"]["importlinter"]["root_packages"]) == {Path(package).name for package in packages}


def test_no_file_is_dead() -> None:
    """Every module is reached from a console script, from ``python -m`` or from a test, through imports."""
    modules = {module_name(path): path for path in product_modules()}
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    queue = [entry.partition(":")[0] for entry in scripts.values()]
    queue += [name for name, path in modules.items() if path.name == "__main__.py" or has_main_block(path)]
    queue += [name for path in python_files() if path not in set(product_modules()) for name in imports_of(path)]
    reached: set[str] = set()
    while queue:
        name = queue.pop()
        if name in reached or name not in modules:
            continue
        reached.add(name)
        queue += imports_of(modules[name])
        queue += [other for prefix in late_imports_of(modules[name]) for other in modules if other.startswith(prefix)]
        queue += [name.rpartition(".")[0]] if "." in name else []
    dead = sorted(shown(path) for name, path in modules.items() if name not in reached and is_started(path))
    assert not dead, f"nothing leads to: {dead}"


def late_imports_of(path: Path) -> Iterator[str]:
    """``pto_cli.commands.`` for ``import_module(f"pto_cli.commands.{name}")``: all modules of that folder may be meant."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            for part in ast.walk(node.args[0]):
                if isinstance(part, ast.Constant) and str(part.value).startswith("pto_"):
                    yield str(part.value)


def has_main_block(path: Path) -> bool:
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in parsed(path).body)


def is_started(path: Path) -> bool:
    """A package that holds only its docstring yet is a place kept free, not a dead file."""
    return not (path.name == "__init__.py" and len(parsed(path).body) == 1)


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_no_host_or_machine_in_tracked_files(what: str) -> None:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8000]:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            if match := FORBIDDEN_TEXT[what].search(line):
                found.append(f"{shown(path)}:{number}: {match.group()}")
    assert not found, f"{what}:\n" + "\n".join(found)


def test_no_lock_of_another_tool_is_tracked() -> None:
    assert not [shown(path) for path in tracked() if path.name in {"uv.lock", "poetry.lock", "Pipfile.lock"}]


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{shown(path)}:{number}"
        for path in product_modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found, f"notes to oneself belong in an issue: {found}"


def test_every_service_says_how_it_behaves() -> None:
    for folder in sorted(path for path in (ROOT / "services").iterdir() if any(path.glob("pto_*/__init__.py"))):
        readme = folder / "README.md"
        assert readme.exists(), f"{shown(folder)} has no README.md"
        headings = re.findall(r"^## (.+)$", readme.read_text(), re.MULTILINE)
        assert headings == README_HEADINGS, f"{shown(readme)}: headings {headings}"
