# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.evenkeel.fleet.plugins.modules import aws_identity_info
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._on_aws import OnAws

PLUGINS = ("amazon.aws.aws_ec2", "aws_ec2")
ENDINGS = ("aws_ec2.yml", "aws_ec2.yaml")
OF_VARIABLES = {"group_vars", "host_vars"}


class ActionModule(OnAws):
    """Adds the regions of the inventory, which is read before its variables and so states them once more."""

    module = aws_identity_info

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        sources = (task_vars or {}).get("ansible_inventory_sources") or []
        if "inventories" not in self._task.args:
            self._task.args["inventories"] = {
                str(path): found for path in files(sources) if (found := regions(self._read(path)))
            }
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result

    def _read(self, path: Path) -> Any:
        try:
            return self._loader.load_from_file(str(path))
        except AnsibleError:
            return None  # as an inventory it was told to be wrong


def files(sources: Iterable[str]) -> Iterator[Path]:
    """The files among the inventory's sources that the plugin aws_ec2 reads."""
    for source in map(Path, sources):
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.name.endswith(ENDINGS) and path.is_file() and not OF_VARIABLES & set(path.parts):
                yield path


def regions(said: Any) -> list[str]:
    """The regions of an inventory of that plugin; none where it leaves them to the environment or to a template."""
    if not isinstance(said, Mapping) or said.get("plugin") not in PLUGINS:
        return []
    found = said.get("regions") or said.get("region") or []
    listed = [found] if isinstance(found, str) else list(found)
    return [] if any("{{" in str(each) for each in listed) else [str(each) for each in listed]
