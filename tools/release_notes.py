# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that galaxy.yml, the changelog and the tag agree, and write the notes of this release for GitHub."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parent.parent
NOTES = CHECKOUT / ".cache" / "package" / "release-notes.md"


def problems(version: str, released: Sequence[str], fragments: Sequence[str], tag: str | None) -> Iterator[str]:
    """What stands against a release of this version. `tag` is None where none was pushed."""
    if tag is not None and tag != version:
        yield f"The tag is {tag}, but galaxy.yml has version {version}. Delete the tag, and tag the commit that has it."
    if version not in released:
        yield f"CHANGELOG.rst has no release {version}. Run `antsibull-changelog release`, and commit what it changes."
    if fragments:
        yield (
            f"These fragments are in no release: {', '.join(fragments)}. Set a new version in galaxy.yml, and run "
            "`antsibull-changelog release`."
        )


def main() -> int:
    version = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
    released = list(yaml.safe_load((CHECKOUT / "changelogs" / "changelog.yaml").read_text())["releases"])
    fragments = sorted(path.name for path in (CHECKOUT / "changelogs" / "fragments").glob("*.yml"))
    tag = os.environ.get("GITHUB_REF_NAME") if os.environ.get("GITHUB_REF_TYPE") == "tag" else None
    found = list(problems(version, released, fragments, tag))
    if found:
        print(*found, sep="\n", file=sys.stderr)
        return 1
    NOTES.parent.mkdir(parents=True, exist_ok=True)
    command = ("antsibull-changelog", "generate", "--output", NOTES, "--output-format", "md", "--only-latest", version)
    subprocess.run(command, cwd=CHECKOUT, check=True)
    print(f"release-notes: {NOTES.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
