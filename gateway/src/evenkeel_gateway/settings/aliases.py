# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other names of variables, which deployments of other gateways set; the gateway's own names win over them."""

from __future__ import annotations

from pydantic import AliasChoices

GUNICORN = {
    "WSGI_GRACEFUL_TIMEOUT": "SHUTDOWN_GRACE_SECONDS",
    "WSGI_LIMIT_REQUEST_FIELDS": "PROXY_MAX_HEADERS",
    "WSGI_LIMIT_REQUEST_LINE": "PROXY_MAX_URL_BYTES",
    "WSGI_WORKER_CONNECTIONS": "MAX_CONNECTIONS",
}
"""Gunicorn's settings, each with the variable that it is read as."""

WITHOUT_EFFECT = {
    "WSGI_KEEPALIVE": "idle connections of clients are kept for 75 s",
    "WSGI_MAX_REQUESTS": "no process grows with its requests, so none is replaced",
    "WSGI_MAX_REQUESTS_JITTER": "no process grows with its requests, so none is replaced",
    "WSGI_PRELOAD": "HAProxy has one process",
    "WSGI_THREADS": "no thread waits for a request; PROXY_POOL_MAXSIZE limits those of a backend",
    "WSGI_TIMEOUT": "PROXY_TIMEOUT_READ_SECONDS limits how long a backend may take",
    "WSGI_WORKERS": "HAProxy serves all requests with PROXY_THREADS threads",
}
"""Gunicorn's settings that have no equal here, each with the reason."""

_UNITLESS = ("PROXY_TIMEOUT_CONNECT", "PROXY_TIMEOUT_READ", "PROXY_TIMEOUT_QUEUE", "PROXY_TIMEOUT_TUNNEL")

ALIASES: dict[str, tuple[str, ...]] = {
    "INSTANCE_ID": ("POD_NAME",),
    "PRIVATE_IP": ("POD_IP",),
    # The misspelling is what running fleets set.
    "STALE_INSTANCE_THRESHOLD_SECONDS": ("STALE_INSTANCE_THRESHOL_SECONDS",),
    **{f"{name}_SECONDS": (name,) for name in _UNITLESS},
    **{name: (alias,) for alias, name in GUNICORN.items()},
}
"""The other names of each variable."""


def names_of(variable: str) -> AliasChoices:
    """Return all names under which a variable is read, its own first."""
    return AliasChoices(variable.lower(), *(alias.lower() for alias in ALIASES[variable]))
