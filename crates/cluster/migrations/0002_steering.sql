-- Submissions that may come twice, jobs that are deleted while they run, and lists of a client's own.

ALTER TABLE jobs
    ADD COLUMN idempotency_key text,
    ADD COLUMN idempotency_digest text,
    -- Nobody sees it any more; it goes when its worker lets go of it.
    ADD COLUMN discarded boolean NOT NULL DEFAULT false;

CREATE INDEX jobs_by_idempotency_key ON jobs (client, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_client ON jobs (client, submitted_at, id) WHERE NOT deposit AND NOT faded;
CREATE INDEX jobs_completed ON jobs (finished_at) WHERE state = 'COMPLETED' AND NOT deposit AND NOT faded;
