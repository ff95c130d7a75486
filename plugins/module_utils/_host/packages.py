# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One package transaction for everything that is declared."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .host import Host, HostError, Result, Runner, Spec, free_space, is_disk_full, run_command
from .providers import PART_OF, engine_in_the_way, unprovided

APT_LISTS = Path("/var/lib/apt/lists")
APT_STAMP = Path("/var/lib/apt/periodic/update-success-stamp")
APT_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
APT_MAX_AGE = 24 * 3600
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_MARK = "# evenkeel: services start after their configuration"

# No package is removed: apt-get ends with an error instead, before it changes anything.
APT_INSTALL = ("install", "--no-install-recommends", "--no-remove", "-o", "APT::Get::AutomaticRemove=false")

RETRY_DELAYS = (2, 5, 10, 20)
LOCK_WAIT = 180
INSTALL_TIMEOUT = 900
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}

INTERRUPTED = "dpkg was interrupted"
LOCKED = r"could not get lock|unable to lock|is another process using it|waiting for process with pid"
UNKNOWN = r"unable to locate package (\S+)|package '?(\S+?)'? has no installation candidate"
DNF_INSTALL = ("install", "--setopt=install_weak_deps=False", "--setopt=retries=3")
ABORTED = r"operation aborted"
CONFLICT = r"conflicts with \S+|obsoletes \S+ provided by"
REMOVED_BY_APT = r"following packages will be REMOVED:\n((?: .*\n?)+)"
UNWILLING = r"packages need to be removed|held broken packages|held packages were changed"
NO_MATCH = r"(?:no match for argument|unable to find a match): (.+)"
UNSIGNED = (
    r"is not signed|gpg check failed|public key for \S+ is not installed|not correct for this package"
    r"|enabled checking of packages via gpg keys"
)
FLAKY = (
    r"failed to (?:fetch|download)|temporary failure|hash sum mismatch|connection (?:failed|timed out|refused|reset)"
    r"|could not (?:connect|resolve)|undetermined error|\b50[0234]\b|\b404\b|clearsigned file isn't valid|curl error"
    r"|all mirrors were tried"
)


def says(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.I) is not None


def ensure_packages(host: Host, declarations: Sequence[Spec]) -> None:
    """Install all declared packages that are missing. Refused if that would remove a package."""
    wanted: dict[str, str] = {}
    for declaration in declarations:
        refuse_without_package(host, declaration)
        for name in wanted_names(host, declaration.get("packages")):
            wanted.setdefault(name, declaration["name"])
    files = {
        item["name"]: (declaration["name"], item)
        for declaration in declarations
        for item in declaration.get("package_files") or []
    }
    if not wanted and not files:
        return
    manager: Apt | Dnf = Apt(host) if "debian" in host.os_families else Dnf(host)
    absent = set(unprovided(host, manager.missing([*wanted, *files])))
    missing = manager.offered([name for name in wanted if name in absent])
    missing_files = [name for name in files if name in absent]
    if not missing and not missing_files:
        return
    refuse_without_address(host, [files[name] for name in missing_files])
    obstacle = engine_in_the_way(host, missing)
    if obstacle:
        raise HostError(obstacle)
    host.packages_pending = True
    host.would_act()
    host.declaration = next(wanted[name] if name in wanted else files[name][0] for name in [*missing, *missing_files])
    with download(host, [files[name] for name in missing_files]) as paths:
        if host.check_mode:
            manager.rehearse(missing)
        else:
            wait_for_cloud_init(host)
            manager.install([*missing, *paths])
    for name in [*missing, *missing_files]:
        host.declaration = wanted[name] if name in wanted else files[name][0]
        with host.change(f"package {name}", "install", after=f"{name}\n"):
            pass


def refuse_without_package(host: Host, declaration: Spec) -> None:
    """Raise HostError if a command's program is neither there nor comes with a package of this distribution."""
    if declaration.get("package_files") or host.for_os(declaration.get("packages")):
        return
    own = {item["path"] for item in declaration.get("files") or []}
    for command in declaration.get("commands") or []:
        program = Path(str(command["argv"][0]))
        if program.is_absolute() and str(program) not in own and not program.exists():
            host.declaration = name = declaration["name"]
            family = host.os_families[0]
            raise HostError(
                f"{program} is missing, and no package with it is declared for {family}. Name one of the distribution "
                f"in {name}_packages.{family}, or the address of a file in {name}_package_url.{family} with "
                f"{name}_package_checksum.{family}, or leave {name} out of bootstrap_roles."
            )


def refuse_without_address(host: Host, items: Sequence[tuple[str, Spec]]) -> None:
    """Raise HostError if a package file has none for this distribution."""
    for declaration, item in items:
        if not host.for_os(item.get("url")):
            host.declaration = declaration
            family = host.os_families[0]
            raise HostError(
                f"The package file {item['name']} has no address for {family}. Set its url and its checksum for "
                f"{family}; in a role these are {declaration}_package_url and {declaration}_package_checksum."
            )


def refusals(declarations: Sequence[Spec], runner: Runner = run_command) -> list[str]:
    """Why the packages of these declarations would not be installed, as far as is known beforehand."""
    try:
        ensure_packages(Host(check_mode=True, runner=runner), declarations)
    except HostError as error:
        return [error.message]
    return []


def wanted_names(host: Host, packages: Spec | None) -> list[str]:
    if not packages:
        return []
    command = packages.get("unless_command")
    if command and host.has_command(command):
        return []
    return list(host.for_os(packages) or [])


@contextmanager
def download(host: Host, items: Sequence[tuple[str, Spec]]) -> Iterator[list[str]]:
    """Fetch package files into a private, temporary folder."""
    if not items or host.check_mode:
        yield []
        return
    import tempfile

    from .fetch import fetch_package

    with tempfile.TemporaryDirectory(prefix="evenkeel-") as folder:
        # apt drops its rights to read a local file, and says so; the folder holds nothing private.
        Path(folder).chmod(0o755)
        paths = []
        for declaration, item in items:
            host.declaration = declaration
            paths.append(str(fetch_package(host, item, Path(folder))))
        yield paths


def wait_for_cloud_init(host: Host) -> None:
    """A booting EC2 instance installs its own packages first."""
    if not host.has_command("cloud-init"):
        return
    result = host.run(["cloud-init", "status", "--wait"], timeout=300)
    if result.code == 124:
        host.warn("cloud-init was still running after 300 s; going on without it (see cloud-init status --long)")


class Apt:
    """Debian and Ubuntu."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def missing(self, names: Sequence[str]) -> list[str]:
        result = self.host.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *names])
        rows = [line.split() for line in result.stdout.splitlines()]
        # The first letter is the desired state: a package on hold (h) is installed, too.
        installed = {row[0] for row in rows if len(row) > 1 and row[1][1:2] == "i"}
        return [name for name in names if name not in installed]

    def offered(self, names: Sequence[str]) -> list[str]:
        """Without those that come with another one of them in this release."""
        doubtful = [name for name in names if PART_OF.get(name) in names]
        if not doubtful:
            return list(names)
        if self.lists_are_old() and not self.host.check_mode:
            self.update()
        known = self.host.run(["apt-cache", "--quiet", "--no-all-versions", "show", *doubtful]).stdout
        return [name for name in names if name not in doubtful or f"Package: {name}\n" in known]

    def install(self, names: Sequence[str]) -> None:
        updated = self.lists_are_old()
        if updated:
            self.update()
        result = self._install(names)
        if not result.ok and not updated and (says(UNKNOWN, result.stderr) or says(FLAKY, result.stderr)):
            self.update()
            result = self._install(names)
        if not result.ok:
            raise HostError(explain_failure("apt-get install", names, result, "apt-get update && apt-get install"))

    def rehearse(self, names: Sequence[str]) -> None:
        """Refuse what the installation would refuse. What depends on newer package lists is left to it."""
        if not names:
            return
        result = self._apt(["--simulate", *APT_INSTALL, *names], 120)
        if result.ok:
            return
        if not says(UNWILLING, result.stderr) or (self.lists_are_old() and not removed_by_apt(result.stdout)):
            self.host.warn(
                f"what else {', '.join(names)} would change can't be told before apt-get update ran:\n{result.tail(3)}"
            )
            return
        raise HostError(explain_failure("apt-get install", names, result, "apt-get install --simulate"))

    def _install(self, names: Sequence[str]) -> Result:
        arguments = [*APT_INSTALL, *names]
        with services_held_back():
            result = self._apt(arguments, INSTALL_TIMEOUT)
            if not result.ok and INTERRUPTED in result.stderr:
                # The host or an earlier call died during a transaction: dpkg completes it first.
                self.host.run(
                    ["dpkg", "--force-confold", "--force-confdef", "--configure", "-a"],
                    timeout=INSTALL_TIMEOUT,
                    environment=QUIET,
                )
                result = self._apt(arguments, INSTALL_TIMEOUT)
            return result

    def update(self) -> None:
        result = self._apt(["update", "-o", "APT::Update::Error-Mode=any"], 300)
        if not result.ok:
            # A broken third-party source must not block the other sources; a missing package is reported later.
            self.host.warn(f"apt-get update had trouble:\n{result.tail(4)}")

    def _apt(self, arguments: Sequence[str], timeout: float) -> Result:
        argv = [
            "apt-get",
            "-y",
            "-q",
            "-o",
            f"DPkg::Lock::Timeout={LOCK_WAIT}",
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "Dpkg::Options::=--force-confold",
            "-o",
            "Dpkg::Options::=--force-confdef",
            *arguments,
        ]
        return retried(self.host, argv, timeout, QUIET)

    def lists_are_old(self) -> bool:
        if not any(APT_LISTS.glob("*_Packages*")):
            return True
        updated = max(path.stat().st_mtime for path in (APT_LISTS, APT_STAMP) if path.exists())
        sources = [*APT_SOURCES, *APT_SOURCES[1].glob("*")]
        newest_source = max((path.stat().st_mtime for path in sources if path.exists()), default=0.0)
        return time.time() - updated > APT_MAX_AGE or newest_source > updated


class Dnf:
    """Amazon Linux 2023, Fedora and RedHat-like systems."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def missing(self, names: Sequence[str]) -> list[str]:
        result = self.host.run(["rpm", "-q", "--whatprovides", *names])
        absent = set(re.findall(r"no package provides (\S+)", result.stdout + result.stderr))
        return [name for name in names if name in absent]

    def offered(self, names: Sequence[str]) -> list[str]:
        return list(names)

    def install(self, names: Sequence[str]) -> None:
        self.rehearse(names)
        result = retried(self.host, ["dnf", "-y", "-q", *DNF_INSTALL, *names], INSTALL_TIMEOUT, {})
        if not result.ok:
            raise HostError(explain_failure("dnf install", names, result, "dnf makecache && dnf install"))

    def rehearse(self, names: Sequence[str]) -> None:
        """Refuse what would remove or replace a package: a package may declare that it obsoletes others."""
        if not names:
            return
        # With --assumeno dnf ends with an error, too; its table shows the transaction.
        argv = ["dnf", "--assumeno", *DNF_INSTALL, *names]
        result = self.host.run(argv, timeout=120) if self.host.check_mode else retried(self.host, argv, LOCK_WAIT, {})
        if removed_by_dnf(result.stdout) or says(CONFLICT, result.stderr + result.stdout):
            raise HostError(explain_failure("dnf install", names, result, "dnf --assumeno install"))
        if not result.ok and not says(ABORTED, result.stderr + result.stdout):
            if self.host.check_mode and not says(NO_MATCH, result.stderr):
                self.host.warn(f"what else {', '.join(names)} would change can't be told:\n{result.tail(3)}")
            else:
                raise HostError(explain_failure("dnf install", names, result, "dnf makecache && dnf install"))


def removed_by_apt(output: str) -> list[str]:
    return sorted({name.rstrip("*") for block in re.findall(REMOVED_BY_APT, output) for name in block.split()})


def removed_by_dnf(output: str) -> list[str]:
    """The packages that dnf's transaction table lists as removed or replaced; an upgrade replaces only itself."""
    removed = set()
    removing, current = False, ""
    for line in output.splitlines():
        heading = re.match(r"([A-Z][A-Za-z ]*):\s*$", line)
        row = re.match(r" +(\S+)(?: +(\S+))?", line)
        if heading or not row:
            removing = bool(heading and heading[1].startswith("Removing"))
        elif row[1] == "replacing" and row[2]:
            replaced = row[2].rpartition(".")[0] or row[2]
            removed |= {replaced} - {current}
        else:
            current = row[1]
            removed |= {current} if removing else set()
    return sorted(removed)


def retried(host: Host, argv: Sequence[str], timeout: float, environment: dict[str, str]) -> Result:
    """Run a package command again while another one holds the lock or a mirror fails."""
    deadline = time.monotonic() + LOCK_WAIT
    delays = iter(RETRY_DELAYS)
    while True:
        result = host.run(argv, timeout=timeout, environment=environment)
        if result.ok or is_disk_full(result.stderr) or says(UNKNOWN, result.stderr):
            return result
        if says(LOCKED, result.stderr):
            pause = 3 if time.monotonic() < deadline else 0
        else:
            pause = next(delays, 0) if says(FLAKY, result.stderr) else 0
        if not pause:
            return result
        time.sleep(pause)


@contextmanager
def services_held_back() -> Iterator[None]:
    """Keep new packages from starting services before their configuration exists; units start them.

    Upgrades may still restart services. The policy depends on this process being alive, so after a crash it no longer
    blocks services.
    """
    foreign = POLICY.exists() and POLICY_MARK not in POLICY.read_text(encoding="utf-8", errors="replace")
    if foreign:
        yield
        return
    script = f'#!/bin/sh\n{POLICY_MARK}\n[ "$2" = start ] && kill -0 {os.getpid()} 2>/dev/null && exit 101\nexit 0\n'
    try:
        POLICY.write_text(script, encoding="utf-8")
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def explain_failure(what: str, names: Sequence[str], result: Result, by_hand: str) -> str:
    output = result.stderr + result.stdout
    shown = [name.rsplit("/", 1)[-1] for name in names]
    text = f"{what} {' '.join(shown)} failed with exit code {result.code}. "
    unknown = [next(filter(None, match)) for match in re.findall(UNKNOWN, output, re.I)]
    # dnf names each in a line of its own and then all again.
    unknown += dict.fromkeys(name for names in re.findall(NO_MATCH, output, re.I) for name in names.split())
    removed = removed_by_apt(result.stdout) or removed_by_dnf(result.stdout)
    if removed:
        text = (
            f"{what} {' '.join(shown)} would remove {', '.join(removed)} from this host: nothing was changed. "
            "If that is no longer needed, remove it by hand and run this again. Otherwise take the package out of the "
            "role's packages, or declare the installed one."
        )
    elif is_disk_full(output):
        places = {free_space(place) for place in ("/", "/var", "/usr", "/boot", "/tmp")}  # noqa: S108
        text += f"The disk is full: {'; '.join(sorted(places))}. Free some space and run this again."
    elif says(LOCKED, output):
        text += (
            f"Another package manager held the lock for more than {LOCK_WAIT} s: wait until it ends, then run this "
            "again."
        )
    elif says(UNSIGNED, output):
        text += (
            "The signature of a package is missing or can't be verified: nothing was installed. Check gpgkey of its "
            "repository below /etc/yum.repos.d."
        )
    elif unknown:
        text += f"No configured repository offers {', '.join(unknown)}: check the name and the enabled repositories."
    elif says(UNWILLING, output) or says(CONFLICT, output):
        text += (
            "It conflicts with installed packages: nothing was changed. Declare the installed package, or remove the "
            "conflicting one by hand and run this again."
        )
    elif says(FLAKY, output):
        text += "The package mirror can't be reached or is inconsistent: check the network, the proxy and the mirror."
    elif INTERRUPTED in output:
        text += "An earlier installation was interrupted and can't be completed: run dpkg --configure -a on the host."
    elif result.code == 124 and what.startswith("dnf"):
        # dnf -q waits for rpm's lock without a limit and without a word.
        text += (
            "It did not end in time. Another package manager may hold the lock: see ps -C dnf,rpm,yum "
            "-o pid,etime,args on the host, wait until that ends, then run this again."
        )
    else:
        text += f"Try '{by_hand}' on the host."
    return f"{text}\n{result.tail(12)}"
