# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark of the leader's pod in Kubernetes: a rollout removes the pod with the highest deletion cost last."""

from __future__ import annotations

import asyncio
import http
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import urllib3

from evenkeel_gateway import clock

if TYPE_CHECKING:
    from pathlib import Path

    from evenkeel_gateway.election import Election
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
TIMEOUT = 3.0
LOOK_SECONDS = 5.0
RETRY_SECONDS = 60.0
_MAX_MESSAGE = 200


class PodMarkError(Exception):
    """The pod could not be marked."""


@dataclass(frozen=True)
class Pod:
    """This instance's pod in the API, reached with the credentials of its service account."""

    url: str
    name: str
    account: Path

    def annotate(self, cost: str | None) -> None:
        """Set the deletion cost, or remove it; blocks for TIMEOUT seconds at most, raises PodMarkError."""
        try:
            # Both are read each time: the kubelet replaces the token every hour.
            token = (self.account / "token").read_text().strip()
            namespace = (self.account / "namespace").read_text().strip()
            answer = urllib3.PoolManager(retries=False, ca_certs=str(self.account / "ca.crt")).request(
                "PATCH",
                f"{self.url}/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(self.name, safe='')}",
                body=json.dumps({"metadata": {"annotations": {ANNOTATION: cost}}}),
                headers={
                    "Authorization": f"Bearer {token}",
                    "Content-Type": "application/merge-patch+json",
                    "Connection": "close",
                },
                timeout=urllib3.Timeout(total=TIMEOUT),
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise PodMarkError(f"PATCH of the pod {self.name} at {self.url}: {error}") from None
        if answer.status != http.HTTPStatus.OK:
            raise PodMarkError(
                f"PATCH of the pod {namespace}/{self.name} at {self.url}: {answer.status} {_message(answer.data)}"
            )


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])[:_MAX_MESSAGE]
    except (ValueError, KeyError, TypeError):
        return ""


class PodMark:
    def __init__(self, election: Election, pod: Pod, cost: int) -> None:
        self._election = election
        self._pod = pod
        self._cost = cost
        # Unknown: the container may have been started again in a pod that has the mark.
        self._marked: bool | None = None
        self._retry_at = 0.0
        self._told: str | None = None

    async def run(self) -> None:
        """Keep the mark in accordance with the leadership until cancelled."""
        while True:
            if self._election.leads != self._marked and clock.now() >= self._retry_at:
                await self._mark(leads=self._election.leads)
                continue
            await self._election.changed.wait(LOOK_SECONDS)

    async def _mark(self, *, leads: bool) -> None:
        try:
            await asyncio.to_thread(self._pod.annotate, str(self._cost) if leads else None)
        except Exception as error:  # noqa: BLE001  # a mark is a convenience: no failure of it may end the election
            self._retry_at = clock.now() + RETRY_SECONDS
            if self._told is None:
                hint = "allow its service account to patch pods of its namespace, or set POD_DELETION_COST=0"
                log.warning(
                    "the leader's pod gets no mark, a rollout may remove it early: %s",
                    hint,
                    extra={"fields": {"error": str(error) or type(error).__name__}},
                )
            self._told = str(error)
            return
        if leads or self._marked:
            log.info("pod marked as the leader's" if leads else "pod's mark removed")
        self._marked, self._retry_at, self._told = leads, 0.0, None


def pod_of(settings: Settings) -> Pod | None:
    """Return the pod to mark, if this is one whose service account has a token."""
    url, name, account = settings.kubernetes_url, settings.pod_name, settings.pod_service_account_dir
    if not (url and name and settings.pod_deletion_cost and (account / "token").is_file()):
        return None
    return Pod(url, name, account)
