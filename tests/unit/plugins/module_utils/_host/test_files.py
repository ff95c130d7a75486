# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.files import ensure_directory, ensure_file, merged
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import Runner


def test_a_file_is_created_changed_and_left_alone(target: Host, root: Path) -> None:
    path = root / "etc/app.conf"
    assert ensure_file(target, {"path": str(path), "content": "one\n"})
    assert path.read_text() == "one\n"
    assert path.stat().st_mode & 0o777 == 0o644
    before = path.stat()
    assert not ensure_file(target, {"path": str(path), "content": "one\n"})
    assert path.stat().st_ino == before.st_ino
    assert ensure_file(target, {"path": str(path), "content": "two\n"})
    assert [change["action"] for change in target.changes] == ["create", "update"]
    assert (target.diff[1]["before"], target.diff[1]["after"]) == ("one\n", "two\n")
    assert str(path) in target.changed_paths
    assert [entry.name for entry in path.parent.iterdir()] == ["app.conf"]


def test_check_mode_says_the_same_and_writes_nothing(checked: Host, root: Path) -> None:
    path = root / "etc/app.conf"
    assert ensure_file(checked, {"path": str(path), "content": "one\n"})
    assert not path.exists()
    assert not path.parent.exists()
    assert str(path) in checked.changed_paths
    assert checked.diff[0]["after"] == "one\n"


def test_only_the_mode_differs(target: Host, root: Path) -> None:
    path = root / "app.conf"
    path.write_text("one\n")
    path.chmod(0o600)
    assert not ensure_file(target, {"path": str(path), "content": "one\n", "mode": "0640"})
    assert path.stat().st_mode & 0o777 == 0o640
    assert target.changes[0]["action"] == "attributes"
    assert target.changed_paths == set()


@pytest.mark.parametrize("mode", ["644", "420", "rw-r--r--", "0888"])
def test_a_mode_that_yaml_may_have_mangled_is_refused(target: Host, root: Path, mode: str) -> None:
    with pytest.raises(HostError, match="quote it"):
        ensure_file(target, {"path": str(root / "x"), "content": "", "mode": mode})


def test_a_secret_is_not_in_the_diff_and_private(target: Host, root: Path) -> None:
    path = root / "key"
    ensure_file(target, {"path": str(path), "secret_content": "hunter2"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in json.dumps([target.diff, target.changes])
    assert target.diff[0]["after"] == "(secret, 7 bytes)\n"


def test_a_binary_file_has_a_readable_diff(target: Host, root: Path) -> None:
    path = root / "blob"
    path.write_bytes(b"\x00\xff\xfe")
    ensure_file(target, {"path": str(path), "content": "text\n"})
    assert target.diff[0]["before"].startswith("(binary, 3 bytes, sha256 ")


def test_exactly_one_content(target: Host, root: Path) -> None:
    for spec in ({}, {"content": "x", "json": {}}):
        with pytest.raises(HostError, match="exactly one of"):
            ensure_file(target, {"path": str(root / "x"), **spec})


def test_a_link_is_refused_and_its_target_kept(target: Host, root: Path) -> None:
    (root / "real").write_text("precious")
    (root / "link").symlink_to(root / "real")
    with pytest.raises(HostError, match=r"symbolic link to .*real"):
        ensure_file(target, {"path": str(root / "link"), "content": "x"})
    assert (root / "real").read_text() == "precious"


def test_what_validation_refuses_does_not_replace(target: Host, runner: Runner, root: Path) -> None:
    path = root / "rules"
    path.write_text("old")
    runner.answer("nft -c", code=1, stderr="syntax error")
    with pytest.raises(HostError, match=r"nft refuses the new .*rules; the old one was kept.\nsyntax error"):
        ensure_file(target, {"path": str(path), "content": "new", "validate": ["nft", "-c", "-f", "%s"]})
    assert path.read_text() == "old"
    assert [entry.name for entry in root.iterdir() if "rules" in entry.name] == ["rules"]
    assert target.changes == []
    assert runner.lines[0] != f"nft -c -f {path}"


def test_a_full_disk_leaves_the_old_file(target: Host, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "app.conf"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"No space left on device\. .* MiB free\. Free some space"):
        ensure_file(target, {"path": str(path), "content": "new"})
    assert path.read_text() == "old"
    assert [entry.name for entry in root.iterdir() if "app.conf" in entry.name] == ["app.conf"]


def test_foreign_keys_stay_and_ours_are_merged(target: Host, root: Path) -> None:
    path = root / "daemon.json"
    path.write_text('{"dns": ["10.0.0.2"], "log-opts": {"tag": "x", "max-size": "1m"}, "old": 1}')
    spec = {"path": str(path), "json": {"log-opts": {"max-size": "10m"}, "old": None}, "merge": True}
    assert ensure_file(target, spec)
    assert json.loads(path.read_text()) == {"dns": ["10.0.0.2"], "log-opts": {"tag": "x", "max-size": "10m"}}
    assert not ensure_file(target, spec)


def test_the_same_meaning_is_not_rewritten(target: Host, root: Path) -> None:
    path = root / "a.json"
    path.write_text('{"b":2,   "a":1}')
    assert not ensure_file(target, {"path": str(path), "json": {"a": 1, "b": 2}})
    assert path.read_text() == '{"b":2,   "a":1}'


def test_without_merge_foreign_keys_go(target: Host, root: Path) -> None:
    path = root / "a.json"
    path.write_text('{"a": 1, "b": 2}')
    assert ensure_file(target, {"path": str(path), "json": {"a": 1}})
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{\n "a": 1,\n "b" 2\n}', r"line 3 column 6: Expecting ':' delimiter"),
        (b'{"a": "\xff"}', r"isn't UTF-8"),
        (b"[1]", r"holds a JSON list where an object is needed"),
    ],
)
def test_malformed_json_is_located_and_kept(target: Host, root: Path, text: bytes, words: str) -> None:
    path = root / "daemon.json"
    path.write_bytes(text)
    with pytest.raises(HostError, match=words) as caught:
        ensure_file(target, {"path": str(path), "json": {"a": 2}, "merge": True})
    assert str(path) in caught.value.message
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("current", "wanted", "result"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ({"a": 1}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ],
)
def test_merge_patch(current: Any, wanted: Any, result: Any) -> None:
    assert merged(current, wanted) == result


def test_a_directory(target: Host, root: Path) -> None:
    spec = {"path": str(root / "a/b"), "mode": "0700"}
    ensure_directory(target, spec)
    assert (root / "a/b").stat().st_mode & 0o777 == 0o700
    ensure_directory(target, spec)
    assert [change["action"] for change in target.changes] == ["create"]
    ensure_directory(target, {**spec, "mode": "0755"})
    assert (root / "a/b").stat().st_mode & 0o777 == 0o755


def test_a_file_where_a_directory_is_declared(target: Host, root: Path) -> None:
    (root / "a").write_text("")
    with pytest.raises(HostError, match="isn't a directory"):
        ensure_directory(target, {"path": str(root / "a")})


def test_an_unknown_owner(target: Host, root: Path) -> None:
    spec = {"path": str(root / "x"), "content": "", "owner": "nobody-like-this"}
    with pytest.raises(HostError, match="There is no user nobody-like-this"):
        ensure_file(target, spec)
    target.check_mode = target.packages_pending = True
    ensure_file(target, spec)
    assert "doesn't exist yet" in target.warnings[0]
