# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the query protocol by the API's own model, for requests and responses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from werkzeug.wrappers import Response


class RefusedError(Exception):
    """An error of the API: its code and its message."""


def model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"))


def answer(api: ServiceModel, action: str, value: Any) -> Response:
    content = xml(api.operation_model(action).output_shape, value)
    namespace = api.metadata["xmlNamespace"]
    body = f'<{action}Response xmlns="{namespace}"><{action}Result>{content}</{action}Result></{action}Response>'
    return Response(body, content_type="text/xml")


def parsed(shape: Shape, given: Mapping[str, str], prefix: str = "") -> Any:
    """The arguments of the query protocol as values; ValidationError for what the API's model does not allow."""
    if shape.type_name == "structure":
        found = {}
        for name, member in shape.members.items():
            path = f"{prefix}{name}"
            if any(key == path or key.startswith(f"{path}.") for key in given):
                found[name] = parsed(
                    member, given, path if member.type_name not in ("structure", "list") else f"{path}."
                )
            elif name in shape.required_members:
                raise RefusedError("ValidationError", f"{path} is required")
        return found
    if shape.type_name == "list":
        items: list[Any] = []
        for number in itertools.count(1):
            path = f"{prefix}member.{number}"
            if not any(key == path or key.startswith(f"{path}.") for key in given):
                return items
            items.append(parsed(shape.member, given, path if shape.member.type_name != "structure" else f"{path}."))
    text = given[prefix]
    if shape.type_name == "boolean":
        return text == "true"
    value: Any = int(text) if shape.type_name == "integer" else text
    measured = value if shape.type_name == "integer" else len(value)
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    allowed = shape.metadata.get("enum")
    if (allowed and value not in allowed) or (least or 0) > measured or (most is not None and measured > most):
        raise RefusedError("ValidationError", f"{prefix} must not be {value}")
    return value


def xml(shape: Shape, value: Any) -> str:
    """A value as the query protocol answers it."""
    if shape.type_name == "structure":
        return "".join(
            f"<{name}>{xml(member, value[name])}</{name}>" for name, member in shape.members.items() if name in value
        )
    if shape.type_name == "list":
        return "".join(f"<member>{xml(shape.member, item)}</member>" for item in value)
    if shape.type_name == "timestamp":
        return str(value.isoformat())
    return escape(str(value).lower() if shape.type_name == "boolean" else str(value))
