# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from testbed.packages import repack

CONTROL = b"Package: example\nVersion: 1.0\nArchitecture: all\nMaintainer: me\nDescription: an example\n"


def tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def package() -> bytes:
    return repack.join(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", lzma.compress(tar("./control", CONTROL))),
            ("data.tar.xz", lzma.compress(tar("./usr/share/example", b"odd"))),
        ]
    )


def test_members_are_decompressed_and_stay_in_order(package: bytes) -> None:
    content = list(repack.members(repack.uncompressed(package)))
    assert [name for name, _ in content] == ["debian-binary", "control.tar", "data.tar"]
    assert dict(content)["data.tar"] == tar("./usr/share/example", b"odd")


def test_the_index_describes_the_rewritten_file(tmp_path: Path, package: bytes) -> None:
    path = tmp_path / "example_1.0_all.deb"
    path.write_bytes(package)
    entry = repack.repack(path)
    assert entry.startswith(CONTROL.decode())
    assert f"Filename: ./{path.name}\n" in entry
    assert f"Size: {path.stat().st_size}\n" in entry
    assert hashlib.sha256(path.read_bytes()).hexdigest() in entry


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.deb"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="not an ar archive"):
        repack.repack(path)
