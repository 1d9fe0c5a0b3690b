-- What outlives the coordinator. A task has a row only once it was given out (attempts) or is
-- settled (records); untouched tasks are computed from the bundle.

CREATE TABLE jobs (
    number       INTEGER PRIMARY KEY, -- order of submission, from 1
    hash         TEXT NOT NULL UNIQUE, -- SHA-256 of the bundle, hex
    name         TEXT NOT NULL,
    folder       TEXT NOT NULL UNIQUE, -- relative to the output folder
    state        TEXT NOT NULL, -- running, finishing, done, failed, cancelled
    tasks        INTEGER NOT NULL, -- exclusions not counted
    done         INTEGER NOT NULL DEFAULT 0, -- valid once the job is over, as failed
    failed       INTEGER NOT NULL DEFAULT 0,
    submitted_ms INTEGER NOT NULL, -- wall clock, ms since 1970
    finished_ms  INTEGER NOT NULL DEFAULT 0,
    sheet        TEXT NOT NULL DEFAULT '', -- path of the contact sheet
    bundle       BLOB NOT NULL
);

-- Tasks in flight: attempt numbers must grow over restarts.
CREATE TABLE attempts (
    job        INTEGER NOT NULL REFERENCES jobs (number),
    task_index INTEGER NOT NULL,
    attempts   INTEGER NOT NULL, -- numbers given out
    tries      INTEGER NOT NULL, -- of them, failures of the task's own
    losses     INTEGER NOT NULL, -- workers lost while they worked on it
    worker     TEXT NOT NULL, -- holds the last attempt; '' if none does
    PRIMARY KEY (job, task_index)
) WITHOUT ROWID;

CREATE TABLE records (
    job            INTEGER NOT NULL REFERENCES jobs (number),
    task_index     INTEGER NOT NULL,
    failed         INTEGER NOT NULL, -- 0: a picture, 1: a named failure
    attempt        INTEGER NOT NULL, -- 0: the picture was found in the output folder
    path           TEXT NOT NULL, -- relative to the output folder
    sha256         TEXT NOT NULL,
    bytes          INTEGER NOT NULL,
    worker         TEXT NOT NULL,
    device_class   TEXT NOT NULL,
    precision      TEXT NOT NULL,
    load_seconds   REAL NOT NULL,
    render_seconds REAL NOT NULL,
    finished_ms    INTEGER NOT NULL,
    code           TEXT NOT NULL,
    text           TEXT NOT NULL,
    PRIMARY KEY (job, task_index)
) WITHOUT ROWID;

CREATE INDEX records_failed ON records (job, task_index) WHERE failed = 1;
