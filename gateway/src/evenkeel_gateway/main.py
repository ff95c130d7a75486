# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m evenkeel_gateway`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from pydantic import ValidationError

from evenkeel_gateway import __version__, logs
from evenkeel_gateway.app import Gateway
from evenkeel_gateway.haproxy.process import Haproxy, HaproxyError
from evenkeel_gateway.settings import Settings

log = logging.getLogger(__name__)

BAD_CONFIGURATION = 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="evenkeel-gateway",
        description="An API gateway that is a member of a fleet. Configured by environment variables.",
    )
    parser.add_argument("--check", action="store_true", help="check the configuration, print what is wrong, and end")
    parser.add_argument("--version", action="version", version=__version__)
    options = parser.parse_args(arguments)
    try:
        settings = Settings()
    except ValidationError as error:
        print(problems(error), file=sys.stderr)  # noqa: T201
        return BAD_CONFIGURATION
    redactor = logs.Redactor()
    redactor.learn(*(value for value in (settings.db_password,) if value))
    logs.configure(settings.log_level, redactor)
    try:
        if options.check:
            asyncio.run(_check(settings))
            print("configuration ok")  # noqa: T201
            return 0
        log.info("configuration", extra={"fields": settings.model_dump(mode="json")})
        return asyncio.run(_run(settings, redactor))
    except HaproxyError as error:
        print(f"configuration: {error}", file=sys.stderr)  # noqa: T201
        return BAD_CONFIGURATION


async def _run(settings: Settings, redactor: logs.Redactor) -> int:
    return await Gateway(settings, redactor).run()


async def _check(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="evenkeel-gateway-check-") as path:
        await Haproxy(settings, Path(path)).configure()


def problems(error: ValidationError) -> str:
    """Return every problem on a line of its own, by the name of the variable, without its value."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        variable = ".".join(str(part) for part in problem["loc"]).upper()
        texts = problem["msg"].removeprefix("Value error, ").splitlines()
        lines += [f"configuration: {variable}: {text}" if variable else f"configuration: {text}" for text in texts]
    return "\n".join(lines)
