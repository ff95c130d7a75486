"""Which module of the gateway may import which: one way only, also for type checkers and inside functions."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import evenkeel_gateway

PACKAGE = "evenkeel_gateway"
SOURCE = Path(evenkeel_gateway.__file__).parent
TESTS = Path(__file__).parent

# From the bottom up. What is on one line imports nothing of that line, and nothing of the lines below it.
LAYERS = (
    {"", "clock", "files", "metrics", "polling", "secrecy", "supervisor"},
    {"database", "redaction", "tokens"},
    {"settings"},
    {"current", "identity", "logs", "migrations", "secrets"},
    {"aws", "haproxy", "lease"},
    {"election", "secret_sources"},
    {"health", "jobs", "pod_mark"},
    {"configuration", "keyring", "limits", "purge", "rotation", "traffic"},
    {"checks", "exposition", "leader_jobs", "openapi"},
    {"admin", "api"},
    {"app"},
    {"main"},
    {"__main__"},
)


def modules() -> dict[str, Path]:
    """Return the file of each module by its name without the package's, which is "" itself."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imported(path: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from package import x` imports the module x where there is one, and else the package itself.
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                names.add(name if name.removeprefix(f"{PACKAGE}.") in known else str(node.module))
    own = {name.removeprefix(PACKAGE).removeprefix(".") for name in names if (name + ".").startswith(f"{PACKAGE}.")}
    return own & known


def graph() -> dict[str, set[str]]:
    found = modules()
    return {name: imported(path, set(found)) - {name} for name, path in found.items()}


def room(module: str) -> str:
    return module.partition(".")[0]


def circle(edges: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = graph()
    assert len(edges) > 40
    assert "settings" in edges["lease"], "imports under TYPE_CHECKING count"
    assert "aws" in edges["secret_sources"], "imports inside functions count"
    assert circle(edges) == []


def test_no_package_imports_itself_by_way_of_others() -> None:
    rooms: dict[str, set[str]] = {}
    for module, names in graph().items():
        rooms.setdefault(room(module), set()).update({room(name) for name in names} - {room(module)})
    assert circle(rooms) == []


def test_imports_point_one_way() -> None:
    layers = {name: number for number, names in enumerate(LAYERS) for name in names}
    edges = graph()
    assert {room(module) for module in edges} == layers.keys()
    upwards = [
        f"{module} imports {name}"
        for module, names in sorted(edges.items())
        for name in sorted(names)
        if room(name) != room(module) and layers[room(name)] >= layers[room(module)]
    ]
    assert upwards == []


def test_tests_do_not_import_tests() -> None:
    tests = {path.stem for path in TESTS.rglob("test_*.py")} | {"conftest"}
    found = []
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            found += [f"{path.relative_to(TESTS)}: {name}" for name in names if name.rpartition(".")[2] in tests]
    assert found == []
