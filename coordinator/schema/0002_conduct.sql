-- How jobs are treated, and what became of attempts that gave no picture.

ALTER TABLE jobs ADD COLUMN token TEXT NOT NULL DEFAULT ''; -- of the submission, '' none
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; -- 0: what the bundle says
ALTER TABLE jobs ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN force INTEGER NOT NULL DEFAULT 0; -- pictures in place are rendered again
ALTER TABLE jobs ADD COLUMN reason TEXT NOT NULL DEFAULT ''; -- why it was stopped

CREATE UNIQUE INDEX jobs_token ON jobs (token) WHERE token <> '';

CREATE TABLE history (
    job        INTEGER NOT NULL REFERENCES jobs (number),
    task_index INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    worker     TEXT NOT NULL,
    code       TEXT NOT NULL, -- class of failure
    text       TEXT NOT NULL,
    started_ms INTEGER NOT NULL, -- wall clock, ms since 1970; 0 unknown
    ended_ms   INTEGER NOT NULL,
    PRIMARY KEY (job, task_index, attempt)
) WITHOUT ROWID;
