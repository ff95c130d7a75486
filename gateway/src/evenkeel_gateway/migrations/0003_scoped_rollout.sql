-- The lock on changing a service that an orchestrator runs, and the history of those who held it: one open row
-- for each scope, such as ecs/production/permissions. The fleet's lock is fleet_rollout. Both number their rows from
-- one sequence, so that an id is never taken for one of another scope.
CREATE TABLE IF NOT EXISTS scoped_rollout (
    id          bigint PRIMARY KEY DEFAULT nextval(pg_get_serial_sequence('fleet_rollout', 'id')),
    scope       text NOT NULL,
    holder      text NOT NULL,
    reason      text NOT NULL,
    digest      text,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    finished_at timestamptz,
    result      text CHECK (result IN ('succeeded', 'failed', 'abandoned')),
    CHECK ((finished_at IS NULL) = (result IS NULL))
);

CREATE UNIQUE INDEX IF NOT EXISTS scoped_rollout_one_open ON scoped_rollout (scope) WHERE finished_at IS NULL;

CREATE INDEX IF NOT EXISTS scoped_rollout_scope ON scoped_rollout (scope, id);

CREATE TABLE IF NOT EXISTS scoped_rollout_step (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id  bigint NOT NULL REFERENCES scoped_rollout ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text NOT NULL,
    host        text NOT NULL,
    instance_id text,
    digest      text,
    step        text NOT NULL,
    result      text NOT NULL CHECK (result IN ('started', 'succeeded', 'failed', 'skipped')),
    seconds     double precision,
    detail      text
);

CREATE INDEX IF NOT EXISTS scoped_rollout_step_rollout ON scoped_rollout_step (rollout_id, id);
