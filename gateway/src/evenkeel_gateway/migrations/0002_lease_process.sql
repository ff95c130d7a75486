-- Which process took the lease: it knows its lease again where the answer to its commit was lost.
-- Since when it has no holder: an instance that could have taken it since then and has not is not waited for.
ALTER TABLE leader_lease
    ADD COLUMN IF NOT EXISTS incarnation uuid,
    ADD COLUMN IF NOT EXISTS vacant_since timestamptz NOT NULL DEFAULT clock_timestamp();
