# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the README, made of the settings: `python -m evenkeel_permissions.settings.table README.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evenkeel_permissions.settings.api import ApiSettings
from evenkeel_permissions.settings.common import CommonSettings
from evenkeel_permissions.settings.worker import WorkerSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

START, END = "<!-- settings: start -->", "<!-- settings: end -->"


def tables() -> str:
    return "\n".join(
        [
            *_table("Both commands", CommonSettings, set()),
            *_table("API", ApiSettings, set(CommonSettings.model_fields)),
            *_table("Worker", WorkerSettings, set(CommonSettings.model_fields)),
        ]
    )


def _table(title: str, kind: type[CommonSettings], known: set[str]) -> list[str]:
    rows = [
        f"| `{variable}` | {_default(kind.model_fields[name])} | {kind.model_fields[name].description} |"
        for variable, name in kind.variables().items()
        if name not in known
    ]
    return ["", f"### {title}", "", "| variable | default | |", "|---|---|---|", *rows]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value in (None, "", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(path: Path) -> None:
    text = path.read_text()
    before, after = text[: text.index(START)], text[text.index(END) :]
    path.write_text(f"{before}{START}\n{tables()}\n{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
