-- Jobs of a higher priority are claimed before all jobs of lower ones.

ALTER TABLE jobs ADD COLUMN priority smallint NOT NULL DEFAULT 0;
