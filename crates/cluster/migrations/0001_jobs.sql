-- Jobs, the files they name, credits and nodes. All moments are unix milliseconds by the database's own clock.

CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
    AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE SEQUENCE turns;

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    -- The order of submission; kept when an interrupted job goes back to the queue.
    seq bigint GENERATED ALWAYS AS IDENTITY,
    owner text NOT NULL,
    client text NOT NULL,
    -- Only workers of this profile may claim it.
    profile text NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED')),
    -- JSON, opaque here; so are result and error.
    payload text NOT NULL,
    wanting boolean NOT NULL,
    charged boolean NOT NULL,
    deposit boolean NOT NULL DEFAULT false,
    -- Expired, but for its files.
    faded boolean NOT NULL DEFAULT false,
    inputs text[] NOT NULL,
    outputs text[] NOT NULL DEFAULT '{}',
    submitted_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint,
    expires_at bigint,
    files_expire_at bigint,
    retry_count integer NOT NULL DEFAULT 0,
    result text,
    error text,
    cancel_requested boolean NOT NULL DEFAULT false,
    -- The claim that holds it, or ended it.
    claim uuid,
    node uuid,
    worker text,
    -- The number of its last claim among all claims: whose turn it is follows from that.
    turn bigint,
    -- Who fetches its inputs, and until when nobody else does.
    fetch_node uuid,
    fetch_until bigint NOT NULL DEFAULT 0,
    document_bytes bigint NOT NULL DEFAULT 0,
    output_bytes bigint NOT NULL DEFAULT 0
);

CREATE INDEX jobs_waiting ON jobs (client, seq) WHERE state = 'QUEUED';
CREATE INDEX jobs_running ON jobs (node) WHERE state = 'PROCESSING';
CREATE INDEX jobs_turns ON jobs (client, turn) WHERE turn IS NOT NULL;
CREATE INDEX jobs_kept ON jobs (client, state, finished_at) INCLUDE (deposit, document_bytes, output_bytes, files_expire_at)
    WHERE state IN ('COMPLETED', 'FAILED');
CREATE INDEX jobs_due ON jobs (expires_at) WHERE expires_at IS NOT NULL AND NOT faded;
CREATE INDEX jobs_files_due ON jobs (files_expire_at) WHERE files_expire_at IS NOT NULL;

-- Leases change twice a second, so they are kept apart from the documents. Their loss costs a retry, never a job.
CREATE TABLE leases (
    job uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    claim uuid NOT NULL,
    locked_until bigint NOT NULL,
    -- When a sweep first found it lapsed.
    missed_at bigint,
    progress real NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Every object in the store is written down here before it is uploaded, and crossed out after it is deleted.
CREATE TABLE files (
    key text PRIMARY KEY,
    length bigint NOT NULL,
    stored_at bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('PENDING', 'STORED', 'DOOMED'))
);

CREATE INDEX files_by_age ON files (stored_at);
CREATE INDEX files_doomed ON files (key) WHERE state = 'DOOMED';

-- Which job names which file. A file that none names any more is doomed in the same transaction.
CREATE TABLE names (
    key text NOT NULL REFERENCES files,
    job uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    is_output boolean NOT NULL,
    PRIMARY KEY (key, job, is_output)
);

CREATE INDEX names_of_job ON names (job);

CREATE TABLE credits (
    owner text PRIMARY KEY,
    used bigint NOT NULL CHECK (used >= 0)
);

-- Workers as they report themselves.
CREATE TABLE workers (
    node uuid NOT NULL,
    number integer NOT NULL,
    host text NOT NULL,
    device text NOT NULL,
    profile text NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    job uuid,
    since bigint NOT NULL,
    seen_at bigint NOT NULL,
    PRIMARY KEY (node, number)
);
