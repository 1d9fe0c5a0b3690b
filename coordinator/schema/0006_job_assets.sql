-- Which files a job's pictures were made from: looked at when it is submitted again.

CREATE TABLE job_assets (
    job    INTEGER NOT NULL,
    role   TEXT NOT NULL, -- jobs/asset.h
    name   TEXT NOT NULL, -- as its tasks have it
    sha256 TEXT NOT NULL,
    PRIMARY KEY (job, role, name, sha256)
) WITHOUT ROWID;

CREATE TRIGGER job_assets_job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM job_assets WHERE job = OLD.number;
END;
