-- Submissions that may come twice, jobs that are deleted while they run, and lists of a client's own.

ALTER TABLE jobs
    ADD COLUMN idempotency_key text,
    ADD COLUMN idempotency_digest text,
    -- Nobody sees it any more; it goes when its worker lets go of it.
    ADD COLUMN discarded boolean NOT NULL DEFAULT false;

CREATE INDEX jobs_by_idempotency_key ON jobs (client, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_client ON jobs (client, submitted_at, id) WHERE NOT deposit AND NOT faded;
CREATE INDEX jobs_completed ON jobs (finished_at) WHERE state = 'COMPLETED' AND NOT deposit AND NOT faded;

-- Where the end of a job is to be told: JSON.
ALTER TABLE jobs ADD COLUMN webhook text;

-- The ends of jobs that are to be told; they outlive their jobs if need be.
CREATE TABLE notices (
    job uuid PRIMARY KEY,
    client text NOT NULL,
    -- Host and port of the receiver.
    lane text NOT NULL,
    -- JSON: the job as it ended, and what was tried.
    document text NOT NULL,
    tries text NOT NULL DEFAULT '[]',
    -- When the next try is due, or another node may take it; none is due any more where there is nothing.
    next_at bigint
);

CREATE INDEX notices_due ON notices (lane, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notices_pending ON notices (client) WHERE next_at IS NOT NULL;
