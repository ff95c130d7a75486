# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit worker."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from evenkeel_permissions.settings.common import CommonSettings


class WorkerSettings(CommonSettings):
    audit_sqs_url: str = Field(
        default="", description="the queue with the audit events; empty: the worker is off, says so and stays healthy"
    )
    audit_sqs_max_messages: int = Field(default=5, ge=1, le=10, description="messages of one receive")
    audit_sqs_wait_time: int = Field(default=20, ge=0, le=20, description="seconds of a long poll")
    audit_sqs_visibility_timeout: int = Field(
        default=60, ge=2, le=43200, description="seconds until an unfinished message is received again"
    )
    audit_pollers: int = Field(default=2, ge=1, le=32, description="threads that receive, store and delete")
    audit_health_host: str = Field(default="0.0.0.0", description="the address of the worker's health endpoints")  # noqa: S104
    audit_health_port: int = Field(
        default=8081, ge=1, le=65535, description="the port of the worker's `/healthz`, `/readyz` and `/metrics`"
    )
    audit_stop_seconds: float = Field(
        default=3.0,
        gt=0,
        le=110,
        description="how long a stop waits for batches and long polls; less than the container's stop timeout",
    )

    @field_validator("audit_sqs_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (url.scheme not in ("http", "https") or not url.hostname or not url.path.strip("/")):
            raise ValueError(f"{value!r} is not a queue URL like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
        return value

    @property
    def queue_region(self) -> str | None:
        """The region that is configured, or that of the URL."""
        labels = (urlsplit(self.audit_sqs_url).hostname or "").split(".")
        return self.aws_region or (labels[1] if labels[0] == "sqs" and len(labels) > 1 else None)
