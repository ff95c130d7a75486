# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that Ansible takes for templates. Before ansible-core 2.19 that is all text that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible import template

TRUST = getattr(template, "trust_as_template", lambda text: text)


def trusted(value: Any) -> Any:
    """The value, with all texts in it trusted."""
    if isinstance(value, dict):
        return {key: trusted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [trusted(entry) for entry in value]
    return TRUST(value) if isinstance(value, str) else value


def read(path: Path) -> Any:
    """The content of a YAML file, as Ansible reads what it trusts."""
    return trusted(yaml.safe_load(path.read_text()))
