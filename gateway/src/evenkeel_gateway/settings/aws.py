# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS: secrets, and the identity of this instance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from evenkeel_gateway.settings.aliases import names_of
from evenkeel_gateway.settings.part import Part, words


class AwsSettings(Part):
    aws_region: str | None = None
    aws_secret_arn: str | None = None
    aws_db_secret_arn: str | None = None
    aws_ssm_prefix: str | None = Field(default=None, pattern=r"^/[A-Za-z0-9_./-]+$")
    secrets_refresh_seconds: float = Field(default=300.0, ge=0)
    required_secrets: Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)] = ()

    aws_ec2_metadata_disabled: bool = False
    aws_ec2_metadata_service_endpoint: str = "http://169.254.169.254"
    instance_id: str | None = Field(default=None, validation_alias=names_of("INSTANCE_ID"))
    private_ip: str | None = Field(default=None, validation_alias=names_of("PRIVATE_IP"))
    public_ip: str | None = None
    launched_at: datetime | None = None

    def problems(self) -> list[str]:
        if (self.aws_secret_arn or self.aws_db_secret_arn or self.aws_ssm_prefix) and not self.aws_region:
            return ["AWS_REGION: required with AWS_SECRET_ARN, AWS_DB_SECRET_ARN or AWS_SSM_PREFIX"]
        return []
