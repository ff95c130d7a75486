# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories and files: compared by content and attributes, replaced atomically."""

from __future__ import annotations

import errno
import grp
import hashlib
import json
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .host import Host, HostError, Spec, free_space, is_disk_full


@dataclass(frozen=True)
class Attributes:
    """Mode and owner of a path."""

    mode: int
    uid: int
    gid: int

    def __str__(self) -> str:
        return (
            f"mode: {self.mode:04o}\nowner: {_name(pwd.getpwuid, self.uid)}\ngroup: {_name(grp.getgrgid, self.gid)}\n"
        )


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def wanted_attributes(host: Host, spec: Spec, default_mode: str) -> Attributes:
    mode = spec.get("mode") or default_mode
    if not re.fullmatch(r"0[0-7]{3,4}", mode):
        raise HostError(f"The mode {mode!r} isn't an octal number with a leading zero, such as '0644': quote it.")
    return Attributes(int(mode, 8), _uid(host, spec.get("owner") or "root"), _gid(host, spec.get("group") or "root"))


def _uid(host: Host, owner: str) -> int:
    if owner.isdigit():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        return _unknown(host, "user", owner)


def _gid(host: Host, group: str) -> int:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return _unknown(host, "group", group)


def _unknown(host: Host, kind: str, name: str) -> int:
    if host.expects_packages:
        host.warn(f"the {kind} {name} doesn't exist yet; a package that is not installed yet may create it")
        return -1
    raise HostError(f"There is no {kind} {name} on this host.")


def _current_attributes(status: os.stat_result) -> Attributes:
    return Attributes(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError into a HostError with cause and remedy. The error may name another path."""
    try:
        yield
    except OSError as error:
        own = error.filename if isinstance(error.filename, str) else ""
        raise HostError(explain(Path(own) if own.startswith("/") else path, error)) from error


def explain(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path} can't be written: {reason}. {free_space(path)}. Free some space and run this again."
    if error.errno == errno.EROFS:
        return f"{path} can't be written: its file system is mounted read-only."
    return f"{path}: {reason}."


def ensure_directory(host: Host, spec: Spec) -> None:
    path = Path(spec["path"])
    wanted = wanted_attributes(host, spec, "0755")
    status = _lstat(path)
    if status is None:
        with host.change(str(path), "create", after=str(wanted)) as apply, explained(path):
            if apply:
                path.mkdir(parents=True)
                _set_attributes(path, wanted)
        return
    if not path.is_dir():
        raise HostError(f"{path} exists and isn't a directory.")
    _ensure_attributes(host, path, _current_attributes(path.stat()), wanted)


def ensure_file(host: Host, spec: Spec) -> bool:
    """Bring one file to its declared content and attributes; returns whether its content changed."""
    path = Path(spec["path"])
    given = [key for key in ("content", "secret_content", "json") if spec.get(key) is not None]
    if len(given) != 1:
        raise HostError(f"{path} needs exactly one of content, secret_content and json, not {given or 'none'}.")
    before = read(path)
    if given[0] == "json":
        after = json_content(path, before, spec["json"], merge=bool(spec.get("merge")))
    else:
        after = str(spec[given[0]]).encode()
    return write(
        host,
        path,
        before,
        after,
        wanted_attributes(host, spec, "0600" if given[0] == "secret_content" else "0644"),
        validate=spec.get("validate"),
        secret=given[0] == "secret_content",
    )


def write(
    host: Host,
    path: Path,
    before: bytes | None,
    after: bytes,
    wanted: Attributes,
    *,
    validate: Sequence[str] | None = None,
    secret: bool = False,
    shown: tuple[str, str] | None = None,
) -> bool:
    """Replace a file whose content differs, else correct its attributes. The diff shows `shown` as the content."""
    if before == after:
        _ensure_attributes(host, path, _current_attributes(path.lstat()), wanted)
        return False
    show = _summary if secret else _text
    old, new = shown or (show(before), show(after))
    with host.change(str(path), "create" if before is None else "update", old, new) as apply:
        if apply:
            replace(path, after, wanted, check=lambda temporary: _validate(host, path, temporary, validate))
    host.changed_paths.add(str(path))
    return True


def read(path: Path) -> bytes | None:
    """The content of a regular file, or None. A link is refused: replacing it would orphan its target."""
    status = _lstat(path)
    if status is None:
        return None
    if stat.S_ISLNK(status.st_mode):
        target = path.readlink()
        raise HostError(f"{path} is a symbolic link to {target}: declare the target's own path, or remove the link.")
    if not stat.S_ISREG(status.st_mode):
        raise HostError(f"{path} exists and isn't a regular file.")
    with explained(path):
        return path.read_bytes()


def replace(path: Path, content: bytes, attributes: Attributes, *, check: Any = None) -> None:
    """Write beside the old file, sync, then rename: after a crash there is the old or the new file."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".evenkeel", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchown(descriptor, attributes.uid, attributes.gid)
                os.fchmod(descriptor, attributes.mode)
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
            if check:
                check(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
        _sync_directory(path.parent)


def remove(host: Host, path: Path) -> bool:
    before = read(path)
    if before is None:
        return False
    with host.change(str(path), "remove", _text(before)) as apply, explained(path):
        if apply:
            path.unlink()
    host.changed_paths.add(str(path))
    return True


def json_content(path: Path, before: bytes | None, wanted: Any, *, merge: bool) -> bytes:
    """The wanted text of a JSON file; the present text if it is equivalent."""
    current = parse_json(path, before) if before is not None and (merge or _parses(before)) else None
    value = merged(current or {}, wanted) if merge else wanted
    if before is not None and current is not None and value == current:
        return before
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _parses(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def parse_json(path: Path, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise HostError(
            f"{path} is not valid JSON, line {error.lineno} column {error.colno}: {error.msg}. "
            "Nothing in it was changed: correct it, or move it away, and run this again."
        ) from error
    except UnicodeDecodeError as error:
        raise HostError(
            f"{path} is not valid JSON: byte {error.start} isn't UTF-8. Nothing in it was changed."
        ) from error
    if not isinstance(value, dict):
        raise HostError(f"{path} holds a JSON {type(value).__name__} where an object is needed. Nothing was changed.")
    return value


def merged(current: Any, wanted: Any) -> Any:
    """JSON merge patch (RFC 7396): objects are merged, null removes a key, anything else replaces."""
    if not isinstance(wanted, dict):
        return wanted
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in wanted.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _ensure_attributes(host: Host, path: Path, current: Attributes, wanted: Attributes) -> None:
    if current == wanted:
        return
    with host.change(str(path), "attributes", str(current), str(wanted)) as apply, explained(path):
        if apply:
            _set_attributes(path, wanted)


def _set_attributes(path: Path, wanted: Attributes) -> None:
    os.chown(path, wanted.uid, wanted.gid)
    path.chmod(wanted.mode)


def _validate(host: Host, path: Path, temporary: Path, argv: Sequence[str] | None) -> None:
    if not argv:
        return
    result = host.run([word.replace("%s", str(temporary)) for word in argv], timeout=60)
    if not result.ok:
        output = result.tail().replace(str(temporary), str(path))
        hint = f" {free_space(path)}." if is_disk_full(output) else ""
        raise HostError(f"{argv[0]} refuses the new {path}; the old one was kept.{hint}\n{output}")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(content: bytes | None) -> str:
    if content is None:
        return ""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"(binary, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()})\n"
    return text


def _summary(content: bytes | None) -> str:
    return "" if content is None else f"(secret, {len(content)} bytes)\n"
