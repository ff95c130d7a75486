# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RPM packages made of Debian's, for the testbed's RPM hosts. It runs in their image.

rpms.py record: enter the packages that dpkg has installed into rpm's database.
rpms.py convert DEBS OUTPUT: make a signed repository of the *.deb in a folder.

Files, names of dependencies and the versions are Debian's; names of packages are Amazon's where they differ. One
rpmbuild makes all packages, as parts of one specification.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NAMES = {
    "awscli": "awscli-2",
    "docker.io": "docker",
    "iptables": "iptables-nft",
    "postgresql-client": "postgresql16",
}
# By its version dnf knows the release of the distribution.
RELEASE = {"Package": "system-release", "Version": "2023-0"}
PROVIDED = {"dash": "/bin/sh"}
BEFORE = {"docker": "getent group docker >/dev/null || groupadd --system docker"}
# What Debian's own scripts do with update-alternatives.
LINKS = {
    "iptables-nft": {
        f"/usr/sbin/{name}": "xtables-nft-multi"
        for family in ("iptables", "ip6tables")
        for name in (family, f"{family}-save", f"{family}-restore")
    }
}
LEFT_OUT = re.compile(r"/usr/share/(?:bug|doc|lintian|locale|man)/")
MERGED = re.compile(r"^/(bin|lib|lib64|sbin)(?=/)")
MODULES = "usr/lib/python3"
KEY = "RPM-GPG-KEY"
HEAD = """\
%global debug_package %{nil}
%global __os_install_post %{nil}
%global _build_id_links none
%global _binary_payload w.ufdio
Name: testbed
Version: 1
Release: 1
Summary: Packages of a testbed
License: see each package
AutoReqProv: no
%description
Made of Debian's packages.
%install
"""


@dataclass
class Package:
    """Of a control file what a specification takes, and the files, each with what precedes it in %files."""

    control: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return renamed(self.control["Package"])

    def specification(self, file_list: Path) -> str:
        epoch, version, release = split_version(self.control["Version"])
        lines = [
            f"%package -n {self.name}",
            f"Epoch: {epoch}",
            f"Version: {version}",
            f"Release: {release}",
            f"Summary: {self.control.get('Description', self.name).splitlines()[0].replace('%', '%%')}",
            "AutoReqProv: no",
            *(f"Requires: {name}" for name in self.requires()),
            *(f"Provides: {name}" for name in self.provides()),
            f"%description -n {self.name}",
            f"Debian's package {self.control['Package']}.",
        ]
        if self.name in BEFORE:
            lines += [f"%pre -n {self.name}", BEFORE[self.name]]
        after = self.after()
        if after:
            lines += [f"%post -n {self.name}", *after]
        lines += [f"%files -n {self.name} -f {file_list}"]
        return "\n".join(lines) + "\n"

    def requires(self) -> Iterator[str]:
        for key in ("Pre-Depends", "Depends"):
            for alternatives in filter(None, re.split(r",\s*", self.control.get(key, ""))):
                names = [name for part in alternatives.split("|") for name in names_in(part)]
                yield names[0] if len(names) == 1 else f"({' or '.join(names)})"

    def provides(self) -> list[str]:
        return names_in(f"{self.control.get('Provides', '')},{PROVIDED.get(self.name, '')}")

    def after(self) -> list[str]:
        """Commands for after the installation. Services are neither enabled nor started, as with Amazon's packages."""
        commands = []
        if any(re.search(r"\.so[.\d]*$", path) for path in self.files):
            commands.append("ldconfig")
        if any("/systemd/system/" in path for path in self.files):
            commands.append("systemctl daemon-reload || :")
        return commands


def renamed(name: str) -> str:
    return NAMES.get(name, name)


def names_in(relations: str) -> list[str]:
    """The names in a field like Depends, without versions and architectures."""
    return [renamed(part.split()[0].split(":")[0]) for part in relations.split(",") if part.strip()]


def split_version(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    upstream, dash, revision = (rest if colon else version).rpartition("-")
    return epoch if colon else "0", (upstream if dash else revision).replace("-", "."), revision if dash else "1"


def read_control(text: str) -> dict[str, str]:
    """Fields of one stanza; lines that continue a field stay in it."""
    return dict(re.findall(r"^([A-Za-z-]+): ?(.*(?:\n[ \t].*)*)$", text, re.M))


def in_file_list(path: str, before: str) -> str:
    return before + '"' + re.sub(r"([\[\]*?{}])", r"\\\1", path).replace("%", "%%") + '"'


def build(packages: list[Package], root: Path, work: Path) -> Path:
    """The folder with the packages, whose files are in `root`."""
    specification = work / "testbed.spec"
    parts = []
    for package in packages:
        file_list = work / f"{package.name}.files"
        # A list without an entry is an error, a macro that is nothing is none.
        lines = [in_file_list(path, before) for path, before in package.files.items()] or ["%{nil}"]
        file_list.write_text("\n".join(lines) + "\n")
        parts.append(package.specification(file_list))
    specification.write_text(f"{HEAD}mv -T {root} %{{buildroot}}\n" + "\n".join(parts))
    run("rpmbuild", "--quiet", "-bb", "--define", f"_topdir {work}", str(specification))
    return work / "RPMS"


def record() -> None:
    text = Path("/var/lib/dpkg/status").read_text()
    packages = [Package(read_control(stanza)) for stanza in text.split("\n\n") if "ok installed" in stanza]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        built = build([Package(RELEASE), *packages], root, Path(folder))
        run("rpm", "--install", "--justdb", "--nodeps", "--noscripts", *sorted(map(str, built.rglob("*.rpm"))))


def unpack(deb: Path, root: Path, work: Path) -> Package:
    """Move the files of a package to `root`, by their places on a system with one /usr."""
    content = work / deb.stem
    run("/usr/lib/testbed/dpkg-deb", "--raw-extract", str(deb), str(content))
    control = content / "DEBIAN"
    package = Package(read_control((control / "control").read_text()))
    conffiles = (control / "conffiles").read_text().split("\n") if (control / "conffiles").exists() else []
    shutil.rmtree(control)
    if (content / MODULES).is_dir():
        # Debian's packages compile when they are installed, RPMs bring what is compiled.
        run(sys.executable, "-m", "compileall", "-q", "-j0", "-s", str(content), "-p", "/", str(content / MODULES))
    for folder, folders, files in os.walk(content):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for source in [*(here / name for name in files + links), *([here] if not folders + files else [])]:
            path = f"/{source.relative_to(content)}"
            target = MERGED.sub(r"/usr/\1", path)
            if LEFT_OUT.match(f"{target}/"):
                continue
            place = root / target[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            is_folder = source.is_dir() and not source.is_symlink()
            if is_folder:
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                source.rename(place)
            package.files[target] = "%dir " if is_folder else "%config(noreplace) " if path in conffiles else ""
    for path, goal in LINKS.get(package.name, {}).items():
        (root / path[1:]).symlink_to(goal)
        package.files[path] = ""
    return package


def convert(debs: Path, output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = work / "root"
        root.mkdir()
        packages = [unpack(deb, root, work) for deb in sorted(debs.glob("*.deb"))]
        for path in build(packages, root, work).rglob("*.rpm"):
            shutil.move(str(path), output / path.name)
        sign(output, work / "gnupg")
    run("createrepo_c", "--quiet", str(output))


def sign(output: Path, home: Path) -> None:
    """With a key that nothing keeps; its public half goes beside the packages."""
    home.mkdir(mode=0o700)
    os.environ["GNUPGHOME"] = str(home)
    who = "testbed@example.com"
    run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", who, "rsa3072", "sign", "never")
    run("gpg", "--armor", "--output", str(output / KEY), "--export", who)
    run(
        "rpm",
        "--define",
        "__gpg /usr/bin/gpg",
        "--define",
        f"_gpg_name {who}",
        "--addsign",
        *sorted(map(str, output.glob("*.rpm"))),
    )
    run("gpgconf", "--kill", "all")


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:2])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def main() -> None:
    if sys.argv[1:] == ["record"]:
        record()
    elif sys.argv[1:2] == ["convert"] and len(sys.argv) == 4:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
