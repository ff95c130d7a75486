-- Whatever permissions are granted on. A grant on an entity holds for all entities below it.
CREATE TABLE IF NOT EXISTS entity (
    id         text PRIMARY KEY,
    type       text NOT NULL,
    name       text NOT NULL,
    parent_id  text REFERENCES entity ON DELETE RESTRICT,
    attributes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (parent_id <> id)
);

CREATE INDEX IF NOT EXISTS entity_parent ON entity (parent_id, id);
CREATE INDEX IF NOT EXISTS entity_type ON entity (type, id);

CREATE TABLE IF NOT EXISTS permission_grant (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject    text NOT NULL,
    permission text NOT NULL,
    entity_id  text NOT NULL REFERENCES entity ON DELETE CASCADE,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (subject, permission, entity_id)
);

CREATE INDEX IF NOT EXISTS permission_grant_entity ON permission_grant (entity_id);

-- What cached answers depend on: the tree of entities (scope '') and the grants of each subject. A change replaces the
-- version in its own transaction. Random, so that a restored backup never meets the answers of a later state.
CREATE TABLE IF NOT EXISTS answer_version (
    scope   text PRIMARY KEY,
    version uuid NOT NULL
);

-- Events that are committed with their change, and are deleted when SNS has them.
CREATE TABLE IF NOT EXISTS outbox_event (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   uuid NOT NULL UNIQUE,
    topic      text NOT NULL CHECK (topic IN ('audit', 'document-vault')),
    body       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts   integer NOT NULL DEFAULT 0,
    due_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS outbox_event_due ON outbox_event (topic, id);
