"""The image's contents are pinned, tested at that version, and complete.

How a container of it runs (no root, no capabilities, read-only, seccomp) is looked at in molecule/gateway.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Debian 12 has Python 3.11.2.
BEFORE_3_11_3 = {"async-timeout"}
GATEWAY = Path(__file__).parents[2]


def pins(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+-]+", line), f"{file.name}: {line}: not one version"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def needed(texts: list[str], extras: frozenset[str], found: set[str]) -> set[str]:
    """Add everything that these requirements need here, and what that needs."""
    for requirement in map(Requirement, texts):
        wanted = {"", *extras}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found or requirement.extras:
            found.add(name)
            needed(metadata.requires(name) or [], frozenset(requirement.extras), found)
    return found


def test_the_lock_has_all_that_the_gateway_needs_and_nothing_else() -> None:
    project = tomllib.loads((GATEWAY / "pyproject.toml").read_text())["project"]
    assert needed(project["dependencies"], frozenset(), set()) | BEFORE_3_11_3 == set(pins(GATEWAY / "constraints.txt"))


def test_the_versions_of_the_lock_are_those_that_are_tested() -> None:
    locked = pins(GATEWAY / "constraints.txt")
    installed = {name: metadata.version(name) for name in locked if name not in BEFORE_3_11_3}
    assert installed == {name: locked[name] for name in installed}
    developers = pins(GATEWAY.parent / "constraints.txt")
    assert {name: developers[name] for name in installed if name in developers} == {
        name: locked[name] for name in installed if name in developers
    }


def test_the_dockerfile_installs_the_lock_and_ends_without_root() -> None:
    text = (GATEWAY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = text.splitlines()
    installs = [part for line in lines for part in re.split("&&|;", line) if re.search(r"\bpip\b.*\binstall ", part)]
    assert installs
    for command in installs:
        apt = "apt-get" in command
        locked = "--only-binary :all: -r /tmp/locked.txt" in command
        own = "--no-deps /src" in command
        assert apt or locked or own, command
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] == "gateway"
    assert not [line for line in lines if line.startswith("ADD ")]
    # What is copied in the end comes from the build, not from the folder of the machine that builds.
    last = text[text.rindex("\nFROM ") :]
    assert [line for line in last.splitlines() if line.startswith("COPY ")] == [
        "COPY --from=build /opt/gateway /opt/gateway"
    ]
