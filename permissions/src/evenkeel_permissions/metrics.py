# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of both commands."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

EVENTS = Counter(
    "audit_worker_events_total",
    "Messages by outcome: stored, duplicate, poison (left for the dead-letter queue), returned (visible again at once)",
    ["outcome"],
    registry=REGISTRY,
)
FAILURES = Counter(
    "audit_worker_failures_total",
    "Failures by operation: receive, insert, delete, heartbeat, return (batch operations count each message)",
    ["operation"],
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    "audit_worker_batch_size", "Messages of a receive that was not empty", buckets=range(1, 11), registry=REGISTRY
)
LAG = Gauge(
    "audit_worker_lag_seconds",
    "Age of the oldest message of the last batch when it was committed; 0 after an empty receive",
    registry=REGISTRY,
)
AGES = Histogram(
    "audit_worker_event_age_seconds",
    "From the send of a message to the commit of its event",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
    registry=REGISTRY,
)
REQUESTS = Counter("permissions_requests_total", "Requests by route and status", ["route", "status"], registry=REGISTRY)
DURATIONS = Histogram(
    "permissions_request_duration_seconds",
    "Duration of requests by route",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
ANSWERS = Counter(
    "permissions_cache_answers_total",
    "Questions to the cache by outcome: hit, miss, failed, skipped (after a failure)",
    ["outcome"],
    registry=REGISTRY,
)
PUBLISHED = Counter(
    "permissions_outbox_events_total", "Events by topic and outcome", ["topic", "outcome"], registry=REGISTRY
)
OUTBOX = Gauge("permissions_outbox_pending", "Events that SNS does not have yet", ["topic"], registry=REGISTRY)
OUTBOX_AGE = Gauge("permissions_outbox_age_seconds", "Age of the oldest one", ["topic"], registry=REGISTRY)
DATABASE_UP = Gauge("permissions_database_up", "1 while the database answers", registry=REGISTRY)

for _outcome in ("stored", "duplicate", "poison", "returned"):
    EVENTS.labels(_outcome)  # exported from the start, so that the first increase is visible
for _operation in ("receive", "insert", "delete", "heartbeat", "return"):
    FAILURES.labels(_operation)
for _outcome in ("hit", "miss", "failed", "skipped"):
    ANSWERS.labels(_outcome)


def text() -> bytes:
    return generate_latest(REGISTRY)
