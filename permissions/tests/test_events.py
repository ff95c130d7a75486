"""Messages of the queue: whatever they hold, they are an event or poison, and fail nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from evenkeel_permissions.events import PoisonError, read
from helpers.events import event, wrapped

DEEP = "[" * 50_000


@pytest.mark.parametrize("wrap", [False, True])
def test_an_event(wrap: bool) -> None:  # noqa: FBT001
    body = json.dumps(event(1, occurred_at="2026-11-29T12:00:00+02:00", text='a "Notification"'))
    found = read(wrapped(body) if wrap else body)
    assert found.body == body
    assert str(found.event_id) == event(1)["event_id"]
    assert found.occurred_at == datetime(2026, 11, 29, 10, tzinfo=UTC)
    assert (found.type, found.actor, found.resource) == ("document.opened", "user-1", "document/1")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        "\ud800",
        DEEP,
        f'{DEEP}"Notification"',
        wrapped(DEEP),
        wrapped(""),
        '{"Type": "Notification"}',
        json.dumps(event(1, type="")),
        json.dumps(event(1, type="x" * 2000)),
        json.dumps(event(1, actor="")),
        json.dumps(event(1, occurred_at=None)),
        json.dumps(event(1, occurred_at="2026-11-29T10:00:00")),
        json.dumps(event(1, data=1))[:-1] + ', "more": ' + DEEP,
        json.dumps(event(1, type="\ud800")),
        json.dumps(event(1), ensure_ascii=False)[:-1] + ', "more": "\ud800"}',
    ],
)
def test_poison(body: str) -> None:
    with pytest.raises(PoisonError) as error:
        read(body)
    assert str(error.value)
