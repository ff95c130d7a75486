# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several sections of the CloudWatch agent's configuration have in common."""

from __future__ import annotations

from collections.abc import Mapping

from .schema import Either, Flag, Kind, ListOf, Section, Text, Whole

INTERVAL = Whole(1, 172800)
INTERVAL_OR_NONE = Whole(0, 172800)
SHORT = Text(1, 255)
ADDRESS = Text(4, 2048)
OPTIONAL_TEXT = Text(0)
CREDENTIALS = Section({"role_arn": Text(1, 2048)})
DIMENSIONS = Section(others=Text(1, 1024), most=30)
ABOUT_SERVICE: Mapping[str, Kind] = {"service.name": SHORT, "deployment.environment": Text(1, 259)}


def texts(keys: str) -> dict[str, Kind]:
    return dict.fromkeys(keys.split(), OPTIONAL_TEXT)


TLS = Section({"ca_file": SHORT, "cert_file": SHORT, "key_file": SHORT, "insecure": Flag()})
_OTLP_ONE = Section({"grpc_endpoint": ADDRESS, "http_endpoint": ADDRESS, "tls": TLS, **ABOUT_SERVICE})
OTLP = Either(_OTLP_ONE, ListOf(_OTLP_ONE, 1, 255, unique=False))
