# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared options of the database modules, and the common part of their `main`."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from .database import Database, settings
from .errors import DatabaseError, FleetError
from .rollout_lock import LockRenewal
from .scope import FLEET, scope_of

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

DATABASE = {
    "type": "dict",
    "default": {},
    "options": {
        "host": {"type": "str"},
        "port": {"type": "int"},
        "name": {"type": "str"},
        "user": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "password_file": {"type": "path", "no_log": False},
        "sslmode": {
            "type": "str",
            "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
        },
        "sslrootcert": {"type": "path"},
        "service": {"type": "str"},
        "conninfo": {"type": "str", "no_log": True},
        "connect_timeout": {"type": "int", "default": 5},
        "statement_timeout": {"type": "float", "default": 4},
        "lock_timeout": {"type": "float", "default": 2},
    },
}
STALE_AFTER = {"type": "float", "default": 15}
HOLDER = {"type": "str"}
STEPS = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "host": {"type": "str", "required": True},
        "step": {"type": "str", "required": True},
        "result": {"type": "str", "required": True, "choices": ["started", "succeeded", "failed", "skipped"]},
        "instance_id": {"type": "str"},
        "digest": {"type": "str"},
        "seconds": {"type": "float"},
        "ago": {"type": "float", "default": 0},
        "detail": {"type": "str"},
    },
}
ROLLOUT = {
    "rollout_id": {"type": "int"},
    "ttl": {"type": "float", "default": 120},
    "steps": STEPS,
}


SCOPE = {"type": "str", "default": FLEET.name}


def holder_of(options: Mapping[str, Any]) -> str:
    """The holder of a lock or request, as `user@host`."""
    if options.get("holder"):
        return str(options["holder"])
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def renewal_of(options: Mapping[str, Any]) -> LockRenewal:
    if options["ttl"] <= 0:
        raise FleetError("ttl has to be more than 0 seconds.")
    # Only the modules of the lock have the option scope; the others are about the fleet.
    scope = scope_of(options.get("scope", FLEET.name))
    return LockRenewal(options["rollout_id"], options["ttl"], options["steps"], scope)


# Each names the database, as an option or as libpq's environment variable.
_PLACES = ("host", "name", "user", "service", "conninfo")
_PLACES_OF_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGUSER", "PGSERVICE")


def refuse_no_database(options: Mapping[str, Any]) -> None:
    """libpq would try a local socket, and its error would not name the cause."""
    if any(options.get(name) for name in _PLACES) or any(os.environ.get(name) for name in _PLACES_OF_LIBPQ):
        return
    raise DatabaseError(
        "No database is given: rollout_database is not set (the option database of the module is empty). Nothing was "
        "changed. Set rollout_database to the gateways' PostgreSQL, such as {host: db.internal, name: gateway, user: "
        "gateway, password_file: ~/.gateway-db}, in the inventory, where the play can see it.",
        out_of_reach=True,
    )


def database_of(module: AnsibleModule) -> Database:
    wanted = settings(module.params["database"], module._name.rpartition(".")[2])
    if wanted.password:
        module.no_log_values.add(wanted.password)
    return Database(wanted)


def run(module: AnsibleModule, work: Callable[[Database], Mapping[str, Any]], *, needs_database: bool = True) -> None:
    """Exit with what `work` returns, or fail with what it raises."""
    try:
        if needs_database:
            refuse_no_database(module.params["database"])
        with database_of(module) as database:
            result = work(database)
    except FleetError as error:
        module.fail_json(msg=error.message, **{"refusal": None, **error.facts})
    else:
        module.exit_json(**result)
