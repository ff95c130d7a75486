# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers to compare: each takes events off the same queue and stores them in the same table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.bench.gateway.machine import install, program

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
CACHE = CHECKOUT / ".cache" / "bench-ecs"
POLLERS = 2
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-central-1"}


class Worker(NamedTuple):
    name: str
    argv: list[str]
    folder: Path = HERE
    as_tasks: bool = False
    """It reads messages of celery."""

    def environment(self, endpoint: str, queue: str, database: str) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        if self.as_tasks:
            kept.pop("PYTHONPATH", None)
        return {
            **kept,
            **CREDENTIALS,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": endpoint,
            "ENDPOINT_URL": endpoint,
            "QUEUE_URL": queue,
            "DATABASE_URL": database,
            "POLLERS": str(POLLERS),
            "EPR_DATABASE_URL": database,
            "EPR_AUDIT_SQS_URL": queue,
            "EPR_AUDIT_SQS_MAX_MESSAGES": "10",
            "EPR_AUDIT_POLLERS": str(POLLERS),
            "EPR_AUDIT_HEALTH_HOST": "127.0.0.1",
            "EPR_MIGRATE": "false",
        }


def bare() -> Worker:
    return Worker("bare loop", [sys.executable, str(HERE / "bare.py")])


def permissions() -> Worker:
    return Worker("permissions worker", [sys.executable, "-m", "evenkeel_permissions", "worker"])


def sqs_consumer() -> Worker:
    folder = CACHE / "node"
    sources = [HERE / "node" / name for name in ("package.json", "package-lock.json", "consumer.js")]
    npm = [program("npm"), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    install(folder, sources, npm)
    return Worker("sqs-consumer", [program("node"), str(folder / "consumer.js")], folder)


def celery() -> Worker:
    folder = CACHE / "celery"
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
    install(folder, [HERE / "by_celery" / name for name in ("requirements.txt", "tasks.py")], pip)
    argv = [
        str(python),
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "--concurrency",
        str(POLLERS),
        "--loglevel",
        "WARNING",
    ]
    return Worker(
        "celery", [*argv, "--without-gossip", "--without-mingle", "--without-heartbeat"], folder, as_tasks=True
    )


ALL: tuple[Callable[[], Worker], ...] = (bare, permissions, sqs_consumer, celery)
