# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m evenkeel_gateway`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from evenkeel_gateway import __version__, admin, checks, logs
from evenkeel_gateway.app import Gateway
from evenkeel_gateway.haproxy.lifecycle import Haproxy, HaproxyError
from evenkeel_gateway.redaction import Redactor
from evenkeel_gateway.settings import ConfigurationError, load
from evenkeel_gateway.settings.layers import read

if TYPE_CHECKING:
    from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

BAD_CONFIGURATION = 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="evenkeel-gateway",
        description="The control plane of an API gateway on HAProxy, configured by environment variables.",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=admin.COMMANDS,
        help="send a command to the gateway that runs in RUNTIME_DIR: "
        + "; ".join(f"{name}: {text}" for name, text in admin.COMMANDS.items()),
    )
    parser.add_argument("--check", action="store_true", help="check the configuration, print every error, and exit")
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(arguments)
    if options.command:
        return _ask(options.command)
    try:
        settings = load()
    except ConfigurationError as error:
        print("\n".join(f"configuration: {line}" for line in error.problems), file=sys.stderr)  # noqa: T201
        return BAD_CONFIGURATION
    redactor = Redactor()
    redactor.learn(*logs.secrets_of(settings))
    logs.configure(settings.log_level, redactor)
    try:
        if options.check:
            warnings = [*checks.advice(settings), *checks.other_names(settings)]
            wrong = [*checks.start_problems(settings), *checks.mistakes(settings)]
            print("".join(f"configuration: {redactor.text(line)}\n" for line in wrong), end="", file=sys.stderr)  # noqa: T201
            print("".join(f"warning: {line}\n" for line in warnings), end="", file=sys.stderr)  # noqa: T201
            asyncio.run(_check(settings))
            if wrong:
                return BAD_CONFIGURATION
            print("configuration ok")  # noqa: T201
            return 0
        for line in [*checks.mistakes(settings), *checks.other_names(settings)]:
            log.warning("configuration: %s", line)
        log.info("configuration", extra={"fields": snapshot(settings)})
        return asyncio.run(_run(settings, redactor))
    except HaproxyError as error:
        print(f"configuration: {error}", file=sys.stderr)  # noqa: T201
        return BAD_CONFIGURATION


def snapshot(settings: Settings) -> dict[str, object]:
    """Return the settings for the log, whose redactor removes the secrets."""
    files = [str(path) for path in settings.layers.files]
    return settings.model_dump(mode="json") | {"files": files, "tree": settings.layers.tree}


def _ask(command: str) -> int:
    runtime = read().values.get("RUNTIME_DIR")
    if not runtime:
        print("RUNTIME_DIR: not set; set it to the RUNTIME_DIR of the running gateway", file=sys.stderr)  # noqa: T201
        return BAD_CONFIGURATION
    try:
        done, answer = admin.ask(runtime, command)
    except OSError as error:
        print(f"RUNTIME_DIR={runtime}: no gateway answers in this directory: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(answer, indent=2))  # noqa: T201
    return 0 if done else 1


async def _run(settings: Settings, redactor: Redactor) -> int:
    return await Gateway(settings, redactor).run()


async def _check(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="evenkeel-gateway-check-") as path:
        await Haproxy(settings, Path(path)).configure()
