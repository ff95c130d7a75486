# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that apply changed files."""

from __future__ import annotations

import shlex
from pathlib import Path

from .host import Host, HostError, Spec
from .stamps import applied_at, newer, stamp


def ensure_command(host: Host, spec: Spec) -> None:
    """Run a command if a file that it applies has changed since its last success, or if its result is missing."""
    argv = [str(word) for word in spec["argv"]]
    watched = list(spec.get("when_changed") or [])
    creates = spec.get("creates")
    if not watched and not creates:
        raise HostError("A command needs when_changed or creates; otherwise it would run on every call.")
    line = shlex.join(argv)
    reasons = newer(host, watched, applied_at(line))
    if creates and not Path(creates).exists():
        reasons.append(f"{creates} is missing")
    if not reasons:
        return
    with host.change(f"command {line}", "run", after=f"{line}\n") as apply:
        if not apply:
            return
        timeout = float(spec.get("timeout") or 300)
        result = host.run(argv, timeout=timeout)
        if not result.ok:
            raise HostError(f"'{line}' failed with exit code {result.code}.\n{result.tail(12)}")
        if watched:
            stamp(line)
