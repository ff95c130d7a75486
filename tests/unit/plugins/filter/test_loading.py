# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""To find one filter of a collection Ansible loads the files of all, in each of its workers: they load little."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import sys
from ansible.plugins.loader import filter_loader, init_plugin_loader
init_plugin_loader()
assert filter_loader.get("evenkeel.fleet.as_list")
print(*(name for name in sys.modules if name.startswith("ansible_collections.evenkeel.fleet.")))
"""


def test_no_filter_imports_before_it_is_called_what_it_is_made_of() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
    loaded = [name.removeprefix("ansible_collections.evenkeel.fleet.plugins.") for name in asked.stdout.split()]
    assert len([name for name in loaded if name.startswith("filter.")]) > 30
    assert [name for name in loaded if name.startswith("module_utils.")] == []
