# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates a flat apt repository of uncompressed packages: repack.py FOLDER

Every *.deb in FOLDER is rewritten without compression, and the index `Packages` is written beside them.
Six hosts on two cores spend most of an installation on decompressing; done once here, they are spared it.
Only the members of the archive are decompressed: nothing is unpacked and built again.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHIVE_MAGIC = b"!<arch>\n"
HEADER_SIZE = 60


def zstd_decompress(data: bytes) -> bytes:
    return subprocess.run(["zstd", "--decompress", "--stdout"], input=data, stdout=subprocess.PIPE, check=True).stdout


DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".zst": zstd_decompress,
}


def members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an ar archive, in order."""
    if not archive.startswith(ARCHIVE_MAGIC):
        raise ValueError("not an ar archive")
    position = len(ARCHIVE_MAGIC)
    while position < len(archive):
        header = archive[position : position + HEADER_SIZE]
        size = int(header[48:58])
        start = position + HEADER_SIZE
        yield header[:16].decode().strip().rstrip("/"), archive[start : start + size]
        position = start + size + size % 2


def join(content: list[tuple[str, bytes]]) -> bytes:
    parts = [ARCHIVE_MAGIC]
    for name, data in content:
        parts += [
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode(),
            data,
            b"\n" * (len(data) % 2),
        ]
    return b"".join(parts)


def uncompressed(package: bytes) -> bytes:
    content = []
    for name, data in members(package):
        suffix = Path(name).suffix
        content.append(
            (name.removesuffix(suffix), DECOMPRESSORS[suffix](data)) if suffix in DECOMPRESSORS else (name, data)
        )
    return join(content)


def control_fields(package: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(dict(members(package))["control.tar"])) as control:
        for name in ("./control", "control"):
            if name in control.getnames():
                file = control.extractfile(name)
                assert file is not None
                return file.read().decode().strip()
    raise ValueError("no control file")


def repack(path: Path) -> str:
    """Rewrites one package in place; returns its entry for the index."""
    package = uncompressed(path.read_bytes())
    path.write_bytes(package)
    return (
        f"{control_fields(package)}\nFilename: ./{path.name}\nSize: {len(package)}\n"
        f"SHA256: {hashlib.sha256(package).hexdigest()}\n"
    )


def main() -> None:
    folder = Path(sys.argv[1])
    with ThreadPoolExecutor() as pool:  # lzma and hashing let go of the interpreter's lock
        entries = list(pool.map(repack, sorted(folder.glob("*.deb"))))
    (folder / "Packages").write_text("\n".join(entries))


if __name__ == "__main__":
    main()
