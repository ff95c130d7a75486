# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: `evenkeel-permissions api`, `worker`, `migrate`, `health`."""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evenkeel_permissions.settings import CommonSettings

log = logging.getLogger(__name__)

BAD_CONFIGURATION = 2
_PORTS = {"api": ("EPR_PORT", "8080"), "worker": ("EPR_AUDIT_HEALTH_PORT", "8081")}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="evenkeel-permissions",
        description="Entities and permissions, configured by environment variables.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in (
        ("api", "serve the HTTP API"),
        ("worker", "store the audit events of an SQS queue in PostgreSQL"),
        ("migrate", "apply the migrations to the database and exit"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--check", action="store_true", help="check the configuration, print every error, and exit"
        )
    health = commands.add_parser("health", help="exit with 0 if a command that runs beside it is healthy")
    health.add_argument("of", choices=_PORTS)
    options = parser.parse_args(arguments)
    if options.version:
        from evenkeel_permissions import __version__  # noqa: PLC0415  the health check needs to start quickly

        print(__version__)  # noqa: T201
        return 0
    if options.command == "health":
        return _health(options.of)
    if not options.command:
        parser.error("a command is required: api, worker, migrate or health")
    return _run(options.command, check=options.check)


def _health(command: str) -> int:
    variable, default = _PORTS[command]
    port = os.environ.get(variable) or default
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", int(port), timeout=3)) as connection:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            text = answer.read(4096).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"{command} does not answer on port {port}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    if answer.status != http.client.OK:
        print(f"{command} is not healthy: {text}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _run(command: str, *, check: bool) -> int:
    from evenkeel_permissions import logs  # noqa: PLC0415
    from evenkeel_permissions import settings as all_settings  # noqa: PLC0415
    from evenkeel_permissions.redaction import Redactor  # noqa: PLC0415

    kinds: dict[str, type[CommonSettings]] = {
        "api": all_settings.ApiSettings,
        "worker": all_settings.WorkerSettings,
        "migrate": all_settings.CommonSettings,
    }
    try:
        settings = all_settings.load(kinds[command])
        problems = all_settings.unknown() if check else []
    except all_settings.ConfigurationError as error:
        problems = error.problems + (all_settings.unknown() if check else [])
        settings = None
    if problems or settings is None:
        print("\n".join(f"configuration: {line}" for line in problems), file=sys.stderr)  # noqa: T201
        return BAD_CONFIGURATION
    if check:
        print("configuration ok")  # noqa: T201
        return 0
    logs.configure(settings.log_level, Redactor(*settings.secrets()), as_json=settings.log_json)
    for line in all_settings.unknown():
        log.warning("configuration: %s", line)
    log.info("configuration", extra={"fields": _shown(settings)})
    return _start(settings)


def _shown(settings: CommonSettings) -> dict[str, object]:
    fields = type(settings).model_fields
    return settings.model_dump(mode="json", exclude={name for name, field in fields.items() if not field.repr})


def _start(settings: CommonSettings) -> int:
    from evenkeel_permissions.settings import ApiSettings, WorkerSettings  # noqa: PLC0415

    if isinstance(settings, WorkerSettings):
        from evenkeel_permissions.worker.process import run as run_worker  # noqa: PLC0415

        return run_worker(settings)
    if isinstance(settings, ApiSettings):
        from evenkeel_permissions.api.process import run as run_api  # noqa: PLC0415

        return run_api(settings)
    return _migrate(settings)


def _migrate(settings: CommonSettings) -> int:
    from evenkeel_permissions import database, migrations  # noqa: PLC0415

    try:
        with database.connect(settings.database_url, "permissions-migrate", echo=settings.sql_echo) as connection:
            applied = migrations.migrate(connection)
    except database.ERRORS as error:
        log.error("migration failed", extra={"fields": {"cause": database.describe(error)}})  # noqa: TRY400  one line
        return 1
    log.info("migrated", extra={"fields": {"applied": applied}})
    return 0
