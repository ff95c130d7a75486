# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events that are written in the transaction of their change, for the publisher."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from evenkeel_permissions.database import Connection

AUDIT, DOCUMENT_VAULT = "audit", "document-vault"


class Outbox:
    def __init__(self, *, document_vault: bool) -> None:
        self._document_vault = document_vault

    def add(self, connection: Connection, kind: str, actor: str, resource: str, data: dict[str, Any]) -> None:
        """Write a change's audit event and, if its topic is configured, the document vault's, without the actor."""
        now = datetime.now(UTC).isoformat()
        common = {"type": kind, "occurred_at": now, "resource": resource, "data": data}
        events: list[tuple[str, dict[str, Any]]] = [(AUDIT, common | {"actor": actor})]
        if self._document_vault:
            events.append((DOCUMENT_VAULT, common))
        for topic, event in events:
            event_id = uuid4()
            connection.execute(
                "INSERT INTO outbox_event (event_id, topic, body) VALUES (%s, %s, %s)",
                (event_id, topic, json.dumps({"event_id": str(event_id)} | event)),
            )
