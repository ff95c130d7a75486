# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the collection with each release of ansible-core that it supports, or with those named on the command line.

Each gets a virtual environment in .cache/ansibles with the collections of a release of the package ansible. What they
are tested with: all unit tests, the syntax of all playbooks, the documentation of all plugins, and suites that run
playbooks and modules against a local AWS endpoint and a real PostgreSQL.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
sys.path.insert(0, str(CHECKOUT))

from tools.environments import environment, found, variables, verdict  # noqa: E402

ENVIRONMENTS = CHECKOUT / ".cache" / "ansibles"


@dataclass(frozen=True)
class Release:
    """A release of ansible-core, the minor version of Python that it runs with, and where its collections are from."""

    core: str
    python: int
    # The package ansible of this major version. That of 2.17 brings amazon.aws 8, which lacks modules that the roles
    # call, and that of 2.18 has 9. So these get the oldest collections that requirements.yml permits.
    collections: int


RELEASES = (
    Release("2.17", 11, 12),
    Release("2.18", 13, 12),
    Release("2.19", 12, 12),
    Release("2.20", 12, 13),
    Release("2.21", 13, 14),
)
# In the versions of constraints.txt.
PACKAGES = (
    *("boto3", "docker", "hypothesis", "jsonpatch", "kubernetes", "moto[server]", "parliament", "policy-sentry"),
    *("psycopg[binary]", "pytest", "jsonschema", "joserfc", "-e", "./gateway", "-e", "./permissions"),
)
# Their versions are what differs.
UNCONSTRAINED = ("ansible==", "ansible-core==", "resolvelib==")
INVENTORIES = ("inventories/ecs", "inventories/kubernetes")
SUITES = (
    "tests/integration/aws/test_ecs_playbooks.py",
    "tests/integration/aws/test_gateway_urls.py",
    "tests/integration/fleetdb/test_leader_info.py",
    "tests/integration/fleetdb/test_on_controller.py",
    "tests/integration/fleetdb/test_shipped_inventory.py",
    "tests/integration/fleetdb/test_without_database.py",
    "tests/integration/report/test_callback.py",
)


def prepared(release: Release, python: Path) -> Path:
    """The interpreter of the release's environment."""
    constraints = ENVIRONMENTS / "constraints.txt"
    tested = (CHECKOUT / "constraints.txt").read_text().splitlines(keepends=True)
    constraints.parent.mkdir(parents=True, exist_ok=True)
    constraints.write_text("".join(line for line in tested if not line.startswith(UNCONSTRAINED)))
    return environment(
        python,
        ENVIRONMENTS / release.core,
        [f"ansible-core=={release.core}.*", *PACKAGES, "-c", str(constraints)],
        ["--no-deps", f"ansible=={release.collections}.*"],
    )


def checks(own: Path) -> Iterator[tuple[str, Sequence[str | Path]]]:
    """What is run, by its name; the cheap ones first."""
    playbooks = sorted((CHECKOUT / "playbooks").glob("*.yml"))
    for inventory in INVENTORIES:
        command = (own.with_name("ansible-playbook"), "--syntax-check", "-i", inventory)
        yield f"syntax with {inventory}", (*command, *playbooks)
    for kind in ("module", "lookup", "filter", "callback"):
        folder = CHECKOUT / "plugins" / ("modules" if kind == "module" else kind)
        names = sorted(f"evenkeel.fleet.{path.stem}" for path in folder.glob("*.py"))
        yield f"documentation of each {kind}", (own.with_name("ansible-doc"), "--json", "-t", kind, *names)
    yield "unit", (own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit")
    yield "integration", (own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES)


def failures(own: Path) -> Iterator[str]:
    """The checks that failed; their output is shown, and that of pytest in any case."""
    for name, command in checks(own):
        shown = "pytest" in command
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=variables(own),
            stdin=subprocess.DEVNULL,
            stdout=None if shown else subprocess.PIPE,
            stderr=None if shown else subprocess.STDOUT,
            text=True,
            timeout=3600,
            check=False,
        )
        if done.returncode:
            print(done.stdout or "", flush=True)
            yield name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="such as 2.17; all by default")
    named = parser.parse_args().releases
    failed, missing = [], []
    chosen = [release for release in RELEASES if release.core in (named or [release.core])]
    for release in chosen:
        python = found(release.python)
        if python is None:
            missing.append(f"Python 3.{release.python} for ansible-core {release.core}")
            continue
        own = prepared(release, python)
        print(f"ansibles: ansible-core {release.core}, Python 3.{release.python}", flush=True)
        failed += [f"ansible-core {release.core}: {name}" for name in failures(own)]
    return verdict("ansibles", failed, missing, len(chosen))


if __name__ == "__main__":
    sys.exit(main())
