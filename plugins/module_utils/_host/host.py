# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host being converged: runs commands, knows check mode, records what changed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

Spec = Mapping[str, Any]

STATE_DIR = Path("/var/lib/evenkeel")
OS_RELEASE = Path("/etc/os-release")
# As the system, apt and dnf say it.
DISK_FULL = r"no space left on device|enough free space|needs \d+\w* more (?:space|inodes) on"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"


class HostError(Exception):
    """Cause and remedy; the converger adds the resource."""

    def __init__(self, message: str, *, resource: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.resource = resource
        self.declaration = ""


class DifferenceError(Exception):
    """A DifferenceProbe found a change that a call would make."""


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    def tail(self, lines: int = 8) -> str:
        """The last lines of the command's standard error, or of standard output if that is empty."""
        output = self.stderr.strip() or self.stdout.strip()
        return "\n".join(output.splitlines()[-lines:])


Runner = Callable[[Sequence[str], float, Optional[str], Mapping[str, str]], Result]


def run_command(argv: Sequence[str], timeout: float, stdin: str | None, environment: Mapping[str, str]) -> Result:
    """Run a command in its own session, so that a timeout ends its children too."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        return Result(tuple(argv), 127, "", f"{argv[0]}: command not found")
    except OSError as error:
        return Result(tuple(argv), 126, "", f"{argv[0]}: {error.strerror}")
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        return Result(tuple(argv), 124, stdout, f"{stderr}\ntimed out after {timeout:g} s")
    return Result(tuple(argv), process.returncode, stdout, stderr)


@contextmanager
def usual_umask() -> Iterator[None]:
    """Files without a declared mode (parents of declared paths, files of packages) are readable by all, as by default.

    With the umask of a hardened user, services couldn't read their configuration.
    """
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


class Host:
    """One host, one call: declarations are compared with the actual state, applied and recorded."""

    def __init__(self, *, check_mode: bool = False, runner: Runner = run_command) -> None:
        self.check_mode = check_mode
        self.declaration = ""
        self.changes: list[dict[str, str]] = []
        self.diff: list[dict[str, str]] = []
        self.warnings: list[str] = []
        self.restarted: list[str] = []
        self.timings: dict[str, float] = {}
        self.changed_paths: set[str] = set()
        # In check mode nothing was installed, so a missing program or user is expected.
        self.packages_pending = False
        self._runner = runner
        self._os_families: tuple[str, ...] | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command with a known PATH and locale; never raises for its exit code."""
        merged = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
        return self._runner(argv, timeout, stdin, merged)

    def has_command(self, name: str) -> bool:
        return shutil.which(name, path=SEARCH_PATH) is not None

    @property
    def expects_packages(self) -> bool:
        """Check mode, with packages that a real run would have installed by now."""
        return self.check_mode and self.packages_pending

    @contextmanager
    def change(self, resource: str, action: str, before: str = "", after: str = "") -> Iterator[bool]:
        """Report a difference; yields whether to apply it, and records it after success.

        A change that consists of further ones is recorded before them.
        """
        place = len(self.changes)
        yield not self.check_mode
        self.changes.insert(place, {"declaration": self.declaration, "resource": resource, "action": action})
        header = f"{self.declaration}: {resource}"
        self.diff.insert(place, {"before_header": header, "after_header": header, "before": before, "after": after})

    def would_act(self) -> None:
        """In check mode: a real call would do something here that is not a change itself, such as a pull."""

    def warn(self, message: str) -> None:
        text = f"{self.declaration}: {message}"
        if text not in self.warnings:
            self.warnings.append(text)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = round(self.timings.get(name, 0.0) + time.monotonic() - started, 3)

    @property
    def os_families(self) -> tuple[str, ...]:
        """The keys under which this host's packages may be declared, the most specific first."""
        if self._os_families is None:
            self._os_families = os_families(OS_RELEASE.read_text(encoding="utf-8"))
        return self._os_families

    def for_os(self, choices: Spec | None) -> Any:
        """The entry for this host's family, or None."""
        return next((given for family in self.os_families if (given := (choices or {}).get(family)) is not None), None)


class DifferenceProbe(Host):
    """Raises DifferenceError at the first change or warning."""

    def __init__(self, *, runner: Runner = run_command) -> None:
        super().__init__(check_mode=True, runner=runner)

    def change(self, resource: str, *_: str, **__: str) -> NoReturn:
        raise DifferenceError(resource)

    def would_act(self) -> None:
        raise DifferenceError

    def warn(self, message: str) -> None:
        raise DifferenceError(message)


def os_families(os_release: str) -> tuple[str, ...]:
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    ids = " ".join(fields.get(key, "").strip("\"'") for key in ("ID", "ID_LIKE")).split()
    if "amzn" in ids:
        return ("amazon", "redhat")
    if "debian" in ids or "ubuntu" in ids:
        return ("debian",)
    if {"rhel", "fedora", "centos"} & set(ids):
        return ("redhat",)
    name = fields.get("PRETTY_NAME", "this system").strip("\"'")
    raise HostError(f"{name} is not supported: Debian, Ubuntu, Amazon Linux 2023 and RedHat-like systems are.")


def mount_point(path: str | Path) -> Path:
    """The file system that holds a path or will hold it, by the folder where it is mounted."""
    place = Path(path)
    while not place.exists():
        place = place.parent
    place = place.resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return place


def free_space(path: str | Path) -> str:
    """The free space of the file system that holds a path, as in df."""
    place = mount_point(path)
    usage = os.statvfs(place)
    total = usage.f_blocks * usage.f_frsize // 2**20
    free = usage.f_bavail * usage.f_frsize // 2**20
    text = f"{place} has {free} of {total} MiB free"
    if usage.f_files and not usage.f_favail:
        text += " and no free inode"
    return text


def is_disk_full(text: str) -> bool:
    return re.search(DISK_FULL, text, re.I) is not None
