"""The ways in which known servers, frameworks and libraries read a path."""

from __future__ import annotations

import itertools
import re
from urllib.parse import unquote_to_bytes

PREFIXES = ("/api/secret", "/api/users", "/api")


def route(path: str) -> str | None:
    """Return the longest prefix of whole segments."""
    return next((prefix for prefix in PREFIXES if f"{path}/".startswith(f"{prefix}/")), None)


def readings(path: str) -> set[str]:
    flags = itertools.product((False, True), repeat=5)
    return {
        _read(path, parameters=parameters, decoded=decoded, overlong=overlong, merged=merged, cut=cut, folded=folded)
        for parameters, overlong, merged, cut, folded in flags
        for decoded in (0, 1, 2)
    }


def _read(path: str, *, parameters: bool, decoded: int, overlong: bool, merged: bool, cut: bool, folded: bool) -> str:
    if parameters:
        path = re.sub(";[^/]*", "", path)
    raw = path.encode("latin-1")
    for _ in range(decoded):
        raw = unquote_to_bytes(re.sub(rb"%u00([0-9A-Fa-f]{2})", rb"%\1", raw))
    if overlong:
        raw = _shortest(raw)
    path = raw.decode("latin-1").replace("\\", "/")
    if cut:
        path = re.split("[\x00#?]" if not decoded else "\x00", path)[0]
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != "." and (segment or not merged):
            segments.append(segment)
    path = "/" + "/".join(segments)
    return path.lower() if folded else path


def _shortest(raw: bytes) -> bytes:
    """Decode UTF-8 that is longer than it must be, as careless decoders do."""
    raw = re.sub(rb"\xe0([\x80-\x81])([\x80-\xbf])", lambda m: bytes([(m[1][0] & 1) << 6 | m[2][0] & 63]), raw)
    return re.sub(rb"([\xc0\xc1])([\x80-\xbf])", lambda m: bytes([(m[1][0] & 1) << 6 | m[2][0] & 63]), raw)
