# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the benchmark; ssh_config says how to reach them."""

import os
from pathlib import Path

_folder = Path(os.environ["BENCH_FOLDER"])

gateways = (
    (_folder / "hosts").read_text().split(),
    {
        "ssh_config_file": str(_folder / "ssh_config"),
        "ssh_known_hosts_file": str(_folder / "known_hosts"),
        "ssh_strict_host_key_checking": "yes",
    },
)
