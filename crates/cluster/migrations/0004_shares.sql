-- Clients share the work by what their jobs cost. (The column turn and its sequence are those of programs before this step.)

ALTER TABLE jobs
    ADD COLUMN cost bigint NOT NULL DEFAULT 0,
    -- Of its last claim: where its client stands after it, and where the virtual time does.
    ADD COLUMN finish bigint,
    ADD COLUMN virtual_time bigint;

CREATE INDEX jobs_finish ON jobs (client, finish) WHERE finish IS NOT NULL;
CREATE INDEX jobs_virtual_time ON jobs (virtual_time) WHERE virtual_time IS NOT NULL;
