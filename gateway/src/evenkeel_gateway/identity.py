# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of this instance: from the metadata service (IMDSv2), the environment, or made up on a laptop."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evenkeel_gateway.supervisor import STARTED

if TYPE_CHECKING:
    from evenkeel_gateway.settings import Settings

TIMEOUT = 2.0
_STARTED = datetime.fromtimestamp(float(os.environ.get(STARTED) or time.time()), UTC)


class IdentityError(Exception):
    """The identity could not be read from the metadata service."""


@dataclass(frozen=True)
class Identity:
    instance_id: str
    private_ip: str | None
    public_ip: str | None
    launched_at: datetime


def discover(settings: Settings) -> Identity:
    """Blocks for a few seconds at most; raises IdentityError."""
    if settings.instance_id or settings.aws_ec2_metadata_disabled:
        return _from_environment(settings)
    try:
        return _from_metadata(settings.aws_ec2_metadata_service_endpoint)
    except IdentityError:
        if settings.laptop:
            return _from_environment(settings)
        raise


def _from_environment(settings: Settings) -> Identity:
    launched_at = settings.launched_at or _STARTED
    return Identity(
        settings.instance_id or f"local-{socket.gethostname()}",
        settings.private_ip or _own_address(),
        settings.public_ip,
        launched_at if launched_at.tzinfo else launched_at.replace(tzinfo=UTC),
    )


def _own_address() -> str | None:
    """Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _from_metadata(endpoint: str) -> Identity:
    token = _ask(endpoint, "/latest/api/token", method="PUT", header=("X-aws-ec2-metadata-token-ttl-seconds", "60"))
    header = ("X-aws-ec2-metadata-token", token)
    document = _ask(endpoint, "/latest/dynamic/instance-identity/document", header=header)
    try:
        values = json.loads(document)
        launched_at = datetime.fromisoformat(values["pendingTime"])
        return Identity(
            values["instanceId"], values["privateIp"], _public_ip(endpoint, header), launched_at.astimezone(UTC)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityError(f"{endpoint}: the instance identity document is not as expected: {error!r}") from None


def _public_ip(endpoint: str, header: tuple[str, str]) -> str | None:
    try:
        return _ask(endpoint, "/latest/meta-data/public-ipv4", header=header)
    except _NotThereError:
        return None


class _NotThereError(IdentityError):
    pass


def _ask(endpoint: str, path: str, *, method: str = "GET", header: tuple[str, str]) -> str:
    url = endpoint.rstrip("/") + path
    request = urllib.request.Request(url, method=method, headers=dict([header]))  # noqa: S310
    # Never through a proxy: the metadata service is link-local.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            text: str = answer.read(65536).decode().strip()
            return text
    except urllib.error.HTTPError as error:
        if error.code == 404:  # noqa: PLR2004
            raise _NotThereError(f"{method} {url}: 404") from None
        raise IdentityError(f"{method} {url}: HTTP {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise IdentityError(
            f"{method} {url}: {reason}; check that this container can reach the metadata service "
            "(firewall rules, hop limit of at least 2)"
        ) from None
