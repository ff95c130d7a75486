# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a Kubernetes API server, with errors that name the call, the object, the permission and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .._common.progress import NoAnswerError, OperationError

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
FIELD_MANAGER = "evenkeel.fleet"
MERGE = "application/merge-patch+json"
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
# Status codes after which the same request may succeed.
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


class RefusedRequestError(OperationError):
    """The API server answered with an error: its status code and reason."""

    def __init__(self, words: str, status: int, reason: str) -> None:
        super().__init__(words)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class ResourceKind:
    """A resource of the API, as it is asked for."""

    root: str
    plural: str
    name: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        return "/".join(filter(None, (self.root, "namespaces", namespace, self.plural, name, subresource)))


DEPLOYMENT = ResourceKind("/apis/apps/v1", "deployments", "Deployment")
REPLICA_SET = ResourceKind("/apis/apps/v1", "replicasets", "ReplicaSet")
POD = ResourceKind("/api/v1", "pods", "Pod")
EVENT = ResourceKind("/api/v1", "events", "Event")


class ClusterApi:
    """An API server. `pool` is a urllib3 pool, `headers` returns the headers that authenticate a request."""

    def __init__(self, pool: Any, host: str, headers: Callable[[], Mapping[str, str]]) -> None:
        self._pool = pool
        self._host = host
        self._headers = headers

    def get(self, kind: ResourceKind, namespace: str, name: str) -> dict[str, Any]:
        return self._object("GET", "get", kind, namespace, name)

    def find(self, kind: ResourceKind, namespace: str, name: str) -> dict[str, Any] | None:
        """The object, or None if there is none of that name."""
        try:
            return self.get(kind, namespace, name)
        except RefusedRequestError as error:
            if error.status == 404:
                return None
            raise

    def objects(self, kind: ResourceKind, namespace: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a namespace; query: labelSelector, fieldSelector."""
        return list(self._object("GET", "list", kind, namespace, "", query=query)["items"])

    def patch(
        self,
        kind: ResourceKind,
        namespace: str,
        name: str,
        body: Any,
        how: str = STRATEGIC_MERGE,
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """The object afterwards; with dry_run, as the server would have it, with its defaults and its refusals."""
        query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return self._object("PATCH", "patch", kind, namespace, name, query=query, body=body, content_type=how)

    def log(self, namespace: str, pod: str, container: str, lines: int, *, previous: bool = False) -> list[str]:
        """The last lines that a container wrote."""
        query = {"container": container, "tailLines": str(lines), **({"previous": "true"} if previous else {})}
        text = self._request("GET", "get", POD, namespace, pod, "log", query=query)
        return text.decode(errors="replace").splitlines()

    def _object(
        self, method: str, verb: str, kind: ResourceKind, namespace: str, name: str, **request: Any
    ) -> dict[str, Any]:
        text = self._request(method, verb, kind, namespace, name, **request)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "kind" not in answer:
            raise NoAnswerError(
                f"{verb} {kind.plural}: {self._host} did not answer as a Kubernetes API server. Check host and "
                "kubeconfig, and that no proxy answers instead."
            )
        return answer

    def _request(
        self,
        method: str,
        verb: str,
        kind: ResourceKind,
        namespace: str,
        name: str,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        url = self._host + kind.path(namespace, name, subresource) + (f"?{urlencode(query)}" if query else "")
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        call = f"{verb} {resource}"
        headers = {"accept": "application/json, */*", **self._headers()}
        if body is not None:
            headers["content-type"] = content_type
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                timeout=Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
                retries=False,
            )
        except HTTPError as error:
            raise NoAnswerError(
                f"{call}: {self._host} did not answer: {error}. Check that the API server is reachable from the "
                "controller, and host or kubeconfig."
            ) from error
        if response.status < 300:
            return bytes(response.data)
        raise refusal(call, kind, namespace, name, response.status, bytes(response.data))


def refusal(call: str, kind: ResourceKind, namespace: str, name: str, status: int, text: bytes) -> OperationError:
    """The error of an answer that is none of success."""
    try:
        told = json.loads(text)
        said, reason = str(told.get("message", "")), str(told.get("reason", ""))
    except (ValueError, AttributeError):
        said, reason = text.decode(errors="replace").strip()[:300], ""
    said = said.rstrip(".")
    of = f"{kind.name} {name} in the namespace {namespace}" if name else f"the namespace {namespace}"
    if status in _TRY_AGAIN:
        return NoAnswerError(f"{call} on {of}: the API server asked to retry later ({status}): {said}.")
    verb, _space, resource = call.partition(" ")
    remedy = {
        401: "Renew the credentials of the kubeconfig's user, or set api_key.",
        403: f"Grant the verb {verb} on {resource} in the namespace {namespace} to this user.",
        404: f"Check name, namespace and context, and create the {kind.name} first.",
        409: "Another writer changed it meanwhile: run the same again.",
        422: "Correct what the API server names.",
    }.get(status, "")
    return RefusedRequestError(
        f"{call} on {of} was refused ({status} {reason}): {said}. {remedy}".strip(), status, reason
    )
