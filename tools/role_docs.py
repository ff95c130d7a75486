"""Write the README of each role from its argument specification, or check that it is up to date."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parent.parent / "roles"
ON_CONTROLLER = (
    "alarms",
    "ecs",
    "fleet_replacement",
    "iam",
    "kubernetes",
    "launch_template",
    "load_balancer",
    "private_network",
    "queue",
)
MARK = "<!-- from meta/argument_specs.yml by `make docs` -->"


def plain(text: str) -> str:
    """Ansible's markup (`C(x)`, `O(x)`, …) as Markdown."""
    text = re.sub(r"[CVIBE]\(([^)]*)\)", r"`\1`", text)
    return re.sub(r"[OMP]\((?:[^)#]*#[a-z]+:)?(?:main:)?([^)]*)\)", r"`\1`", text)


def paragraphs(description: str | list[str]) -> list[str]:
    return [plain(part) for part in ([description] if isinstance(description, str) else description)]


def default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "*required*"
    if "default" not in option:
        return ""
    value = option["default"]
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return "`" + text.removesuffix("...\n").strip() + "`"


def rows(options: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name, option in options.items():
        kind = option.get("type", "str")
        if "elements" in option:
            kind = f"{kind} of {option['elements']}"
        text = " ".join(paragraphs(option["description"]))
        if "choices" in option:
            text += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        lines.append(f"| `{prefix}{name}` | {kind} | {default(option)} | {text} |")
        lines += rows(option.get("options", {}), f"{prefix}{name}.")
    return lines


def variables(options: dict[str, Any]) -> str:
    return "\n".join(["| variable | type | default | |", "|---|---|---|---|", *rows(options)])


def table(role: Path) -> str:
    entries = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    spec = entries.pop("main")
    parts = [f"# {role.name}", f"{spec['short_description']}.", *paragraphs(spec["description"])]
    parts += ["## Use", example(role.name), "## Variables"]
    parts.append(variables(spec["options"]))
    shown: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        parts += [f"## With `tasks_from: {name}`", f"{entry['short_description']}.", *paragraphs(entry["description"])]
        own = {key: option for key, option in entry["options"].items() if option != spec["options"].get(key)}
        same = next((earlier for earlier, options in shown.items() if options == own), "")
        if own:
            parts.append(f"Its variables are those of `tasks_from: {same}`." if same else variables(own))
            shown[name] = own
    parts.append(MARK)
    return "\n\n".join(parts)


def example(name: str) -> str:
    where = (
        ["- hosts: localhost", "  gather_facts: false"]
        if name in ON_CONTROLLER
        else ["- hosts: gateways", "  become: true"]
    )
    return "\n".join(["```yaml", *where, "  roles:", f"    - evenkeel.fleet.{name}", "```"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a README is out of date")
    arguments = parser.parse_args()
    stale = []
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        readme = role / "README.md"
        # Text below the mark is not generated, and stays.
        written = readme.read_text().partition(MARK)[2] if readme.exists() else "\n"
        text = table(role) + written
        if not readme.exists() or readme.read_text() != text:
            stale.append(str(readme.relative_to(ROLES.parent)))
            if not arguments.check:
                readme.write_text(text)
    if stale and arguments.check:
        print("out of date, run `make docs`:", *stale, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
