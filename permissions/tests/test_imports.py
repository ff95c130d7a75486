"""Which module may import which: one way only, also for type checkers and inside functions."""

from __future__ import annotations

import ast
from pathlib import Path

import evenkeel_permissions

PACKAGE = "evenkeel_permissions"
SOURCE = Path(evenkeel_permissions.__file__).parent

# From the bottom up. What is on one line imports nothing of that line, and nothing of the lines below it.
LAYERS = (
    {"", "metrics", "redaction"},
    {"settings"},
    {"logs", "database", "aws", "events"},
    {"migrations", "permissions", "outbox", "pool", "health"},
    {"cache", "publisher"},
    {"api", "worker"},
    {"main"},
    {"__main__"},
)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            assert node.level == 0, f"{path}: imports are absolute"
            rest = (node.module or "").split(".")[1:]
            # `from package import x` imports the module x where there is one, and else the package itself.
            for alias in node.names:
                is_module = (SOURCE / alias.name).is_dir() or (SOURCE / f"{alias.name}.py").exists()
                names.add(rest[0] if rest else alias.name if is_module else "")
    return names


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def test_imports_point_one_way() -> None:
    layers = {name: number for number, names in enumerate(LAYERS) for name in names}
    files = list(SOURCE.rglob("*.py"))
    assert {room(path) for path in files} == layers.keys()
    upwards = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in files
        for name in imported(path)
        if name != room(path) and layers[name] >= layers[room(path)]
    ]
    assert upwards == []


def test_the_worker_needs_no_http_framework_and_the_api_no_worker() -> None:
    for path in (SOURCE / "worker").glob("*.py"):
        assert "starlette" not in path.read_text()
        assert "api" not in imported(path)
    for path in (SOURCE / "api").glob("*.py"):
        assert "worker" not in imported(path)
