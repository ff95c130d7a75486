# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishes the outbox to SNS, at least once. Processes share the work: each locks the events that it publishes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from evenkeel_permissions import aws, database, metrics
from evenkeel_permissions.pool import ERRORS

if TYPE_CHECKING:
    from evenkeel_permissions.pool import Pool

log = logging.getLogger(__name__)

_SELECT = """
    SELECT id, event_id::text, body FROM outbox_event
     WHERE topic = %s AND due_at <= clock_timestamp()
     ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""
# An event that SNS refuses must not hold up the others.
_POSTPONE = """
    UPDATE outbox_event SET attempts = attempts + 1,
           due_at = clock_timestamp() + least(power(2, least(attempts, 10)), 300) * interval '1 second'
     WHERE id = ANY(%s)
"""
_BACKLOG = """
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
      FROM outbox_event WHERE topic = %s
"""
_BACKLOG_EVERY = 15
Row = tuple[int, str, str]


class Publisher:
    def __init__(self, pool: Pool, sns: Any, topics: dict[str, str], poll_seconds: float) -> None:
        """`topics`: the ARN of each topic that is configured."""
        self._pool = pool
        self._sns = sns
        self._topics = topics
        self._poll_seconds = poll_seconds
        self._news = threading.Event()
        self._stop = threading.Event()
        self._cause = ""
        self.thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def wake(self) -> None:
        """Called after the commit of a change."""
        self._news.set()

    def stop(self, seconds: float) -> None:
        self._stop.set()
        self._news.set()
        if self.thread.is_alive():
            self.thread.join(seconds)

    def _run(self) -> None:
        turns = 0
        while not self._stop.is_set():
            self._news.wait(self._poll_seconds)
            self._news.clear()
            try:
                for topic in self._topics:
                    while not self._stop.is_set() and self.publish(topic):
                        pass
                if turns % _BACKLOG_EVERY == 0:
                    self._measure()
                self._failed("")
            except ERRORS as error:
                self._failed(f"database: {database.describe(error)}")
                self._stop.wait(self._poll_seconds)
            except Exception:
                log.exception("publishing failed")
                self._stop.wait(self._poll_seconds)
            turns += 1

    def publish(self, topic: str) -> bool:
        """Publish one batch; return whether there may be more that can be published now."""
        with self._pool.connection() as connection, connection.transaction():
            rows: list[Row] = connection.execute(_SELECT, (topic, aws.MAX_BATCH)).fetchall()
            batch = _fitting(rows)
            if not batch:
                return False
            done = self._send(topic, batch)
            failed = [row[0] for row in batch if row[0] not in done]
            # The commit may fail after the publication: then the events are published again, with the same ids.
            connection.execute("DELETE FROM outbox_event WHERE id = ANY(%s)", (sorted(done),))
            if failed:
                connection.execute(_POSTPONE, (failed,))
        metrics.PUBLISHED.labels(topic, "published").inc(len(done))
        metrics.PUBLISHED.labels(topic, "failed").inc(len(failed))
        return len(failed) < len(batch)

    def _send(self, topic: str, batch: list[Row]) -> set[int]:
        """Return the ids that SNS has accepted."""
        arn = self._topics[topic]
        entries = [{"Id": str(id_), "Message": body} for id_, _, body in batch]
        try:
            answer = self._sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
        except aws.ERRORS as error:
            self._failed(aws.describe(error, "sns:Publish", arn))
            return set()
        failed = answer.get("Failed", ())
        if failed:
            events = {str(id_): event_id for id_, event_id, _ in batch}
            causes = {events[entry["Id"]]: f"{entry.get('Code')}: {entry.get('Message', '')}" for entry in failed}
            log.warning("events were refused", extra={"fields": {"topic": arn, "causes": causes}})
        return {int(entry["Id"]) for entry in answer.get("Successful", ())}

    def _measure(self) -> None:
        with self._pool.connection() as connection:
            for topic in self._topics:
                row = connection.execute(_BACKLOG, (topic,)).fetchone() or (0, 0)
                metrics.OUTBOX.labels(topic).set(row[0])
                metrics.OUTBOX_AGE.labels(topic).set(row[1])

    def _failed(self, cause: str) -> None:
        if cause and cause != self._cause:
            log.error("events can't be published now", extra={"fields": {"cause": cause}})
        self._cause = cause


def _fitting(rows: list[Row]) -> list[Row]:
    """Return as many as fit into one call."""
    size = 0
    found: list[Row] = []
    for row in rows:
        size += len(row[2].encode())
        if found and size > aws.MAX_BATCH_BYTES:
            break
        found.append(row)
    return found
