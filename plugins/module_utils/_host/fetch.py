# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Package files from outside the distribution: fetched, then verified before anything opens them."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from .files import explain
from .host import Host, HostError, Spec

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def fetch_package(host: Host, spec: Spec, folder: Path) -> Path:
    name = spec["name"]
    url = expand(host.for_os(spec.get("url")), name, host)
    target = folder / f"{name}.{'deb' if 'debian' in host.os_families else 'rpm'}"
    fetch(url, target)
    checksum = host.for_os(spec.get("checksum"))
    signature = host.for_os(spec.get("signature"))
    if checksum:
        verify_checksum(target, checksum, url)
    elif signature and spec.get("signature_key") and url.startswith("https://"):
        detached = folder / f"{name}.sig"
        fetch(expand(signature, name, host), detached)
        verify_signature(host, target, detached, spec["signature_key"], url)
    else:
        raise HostError(
            f"The package file {url} has neither a checksum nor, over https, a signature with its key: "
            "set one, or any file that this address returns would be installed as root."
        )
    return target


def expand(url: str | None, name: str, host: Host) -> str:
    if not url:
        raise HostError(f"No address of the package file {name} is declared for {' or '.join(host.os_families)}.")
    machine = platform.machine()
    return url.replace("{arch}", ARCHITECTURES.get(machine, machine))


def fetch(url: str, target: Path) -> None:
    if not re.match(r"(https?|file)://", url):
        raise HostError(f"{url} can't be fetched: use https://, http:// with a checksum, or file://.")
    try:
        with urllib.request.build_opener().open(url, timeout=60) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except urllib.error.HTTPError as error:
        raise HostError(f"{url} answered {error.code} {error.reason}: check the address.") from error
    except urllib.error.URLError as error:
        raise HostError(f"{url} can't be fetched: {error.reason}.") from error
    except OSError as error:
        raise HostError(f"{url} can't be fetched: {explain(target, error)}") from error


def verify_checksum(path: Path, wanted: str, url: str) -> None:
    algorithm, _separator, digest = wanted.partition(":")
    if algorithm not in ("sha256", "sha384", "sha512") or not digest:
        raise HostError(f"The checksum {wanted!r} of {url} isn't of the form sha256:<hex>.")
    actual = hashlib.new(algorithm, path.read_bytes()).hexdigest()
    if actual != digest.lower():
        raise HostError(f"{url} has the checksum {algorithm}:{actual}, not {wanted}. Nothing of it was installed.")


def verify_signature(host: Host, path: Path, signature: Path, key: str, url: str) -> None:
    keyring = path.with_suffix(".gpg")
    keyring.write_bytes(dearmored(key))
    result = host.run(["gpgv", "--keyring", str(keyring), str(signature), str(path)])
    if not result.ok:
        raise HostError(f"The signature of {url} doesn't verify. Nothing of it was installed.\n{result.tail(4)}")


def dearmored(key: str) -> bytes:
    """The bytes of an ASCII-armored public key: gpgv takes only those."""
    match = re.search(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:.+: .*\n)*\n(.*?)\n(?:=.{4}\n)?-----END", key, re.S)
    if not match:
        raise HostError("The signature_key isn't an ASCII-armored PGP public key.")
    return base64.b64decode(match.group(1))
