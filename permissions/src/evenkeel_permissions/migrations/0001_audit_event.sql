-- Each audit event once, as the worker received it. The queue delivers an event more than once: its id decides.
CREATE TABLE IF NOT EXISTS audit_event (
    event_id    uuid PRIMARY KEY,
    type        text NOT NULL,
    occurred_at timestamptz NOT NULL,
    actor       text,
    resource    text,
    body        jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS audit_event_occurred_at ON audit_event (occurred_at);
CREATE INDEX IF NOT EXISTS audit_event_resource ON audit_event (resource, occurred_at);
