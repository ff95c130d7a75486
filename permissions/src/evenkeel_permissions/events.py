# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit events: what the API publishes and the worker stores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003  pydantic reads it

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

if TYPE_CHECKING:
    from datetime import datetime

_Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class PoisonError(Exception):
    """A message that no attempt can store, with the reason. The text holds no value of the message."""


class AuditEvent(BaseModel):
    """What an event must have. Other fields are kept as they are."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    event_id: UUID
    type: _Text
    occurred_at: AwareDatetime
    actor: _Text | None = None
    resource: _Text | None = None


@dataclass(frozen=True)
class ReceivedEvent:
    """An event, and the text that it was read from."""

    event_id: UUID
    type: str
    occurred_at: datetime
    actor: str | None
    resource: str | None
    body: str


def read(body: str) -> ReceivedEvent:
    """Read a message of the queue, delivered raw or in an envelope of SNS; raises PoisonError."""
    if '"Notification"' in body:
        body = _unwrapped(body)
    try:
        event = AuditEvent.model_validate_json(body)
        # Half of a surrogate pair would fail the whole batch in the client.
        body.encode()
    except ValidationError as error:
        raise PoisonError("; ".join(_problem(dict(problem)) for problem in error.errors(include_url=False))) from None
    except (ValueError, RecursionError) as error:
        raise PoisonError(f"not UTF-8 or nested too deeply ({type(error).__name__})") from None
    return ReceivedEvent(event.event_id, event.type, event.occurred_at, event.actor, event.resource, body)


def _unwrapped(body: str) -> str:
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return body  # the next parser says what is wrong
    # A raw event may also hold the word.
    if isinstance(envelope, dict) and envelope.get("Type") == "Notification" and "event_id" not in envelope:
        message = envelope.get("Message")
        if not isinstance(message, str):
            raise PoisonError("an SNS notification without a text in Message")
        return message
    return body


def _problem(problem: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])
