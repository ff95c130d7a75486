-- One row for each instance alive. launched_at is the launch time of the machine:
-- it stays when a container is replaced. incarnation tells the processes of one instance apart
-- (two overlap while a container is swapped).
CREATE TABLE IF NOT EXISTS ec2_launch (
    instance_id    text PRIMARY KEY,
    private_ip     text,
    public_ip      text,
    launched_at    timestamptz NOT NULL,
    version        text NOT NULL,
    draining_since timestamptz,
    incarnation    uuid NOT NULL
);

CREATE TABLE IF NOT EXISTS ec2_heartbeat (
    instance_id    text PRIMARY KEY REFERENCES ec2_launch ON DELETE CASCADE,
    last_heartbeat timestamptz NOT NULL,
    is_leader      boolean NOT NULL DEFAULT false
);

CREATE UNIQUE INDEX IF NOT EXISTS ec2_heartbeat_one_leader ON ec2_heartbeat (is_leader) WHERE is_leader;

-- The authority on who leads: a single row. is_leader above is its picture for people and older clients.
CREATE TABLE IF NOT EXISTS leader_lease (
    only_row           boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    holder             text,
    term               bigint NOT NULL DEFAULT 0,
    elected_at         timestamptz,
    expires_at         timestamptz,
    requested_holder   text,
    requested_by       text,
    reason             text,
    request_expires_at timestamptz,
    CHECK ((holder IS NULL) = (expires_at IS NULL)),
    CHECK ((requested_holder IS NULL) = (request_expires_at IS NULL))
);

INSERT INTO leader_lease DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Called first in a transaction of the leader's: refuses a write of a term that is over, and holds off
-- the next election until the write is committed.
CREATE OR REPLACE FUNCTION leader_fence(claimed_term bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM leader_lease FOR SHARE;
    -- A statement of its own, so that the clock is read after the lock.
    IF NOT EXISTS (SELECT FROM leader_lease WHERE term = claimed_term AND expires_at > clock_timestamp()) THEN
        RAISE EXCEPTION 'leadership term % is over, the write is refused', claimed_term USING ERRCODE = 'EK001';
    END IF;
END
$$;

-- The lock on changing the fleet (its open row) and the history of those who held it.
CREATE TABLE IF NOT EXISTS fleet_rollout (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder      text NOT NULL,
    reason      text NOT NULL,
    digest      text,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    finished_at timestamptz,
    result      text CHECK (result IN ('succeeded', 'failed', 'abandoned')),
    CHECK ((finished_at IS NULL) = (result IS NULL))
);

CREATE UNIQUE INDEX IF NOT EXISTS fleet_rollout_one_open ON fleet_rollout ((true)) WHERE finished_at IS NULL;

-- The journal: who did what to which host, with what result.
CREATE TABLE IF NOT EXISTS fleet_rollout_step (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout_id  bigint NOT NULL REFERENCES fleet_rollout ON DELETE CASCADE,
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

CREATE INDEX IF NOT EXISTS fleet_rollout_step_rollout ON fleet_rollout_step (rollout_id, id);
