-- Which tasks have a record, as bits beside the records: a start reads 500 bytes for 4096 tasks.

CREATE TABLE settled (
    job    INTEGER NOT NULL,
    page   INTEGER NOT NULL, -- of tasks page * 4096 and on
    done   INTEGER NOT NULL, -- records of the page that are pictures
    failed INTEGER NOT NULL, -- and failures
    bits   BLOB NOT NULL, -- 512 bytes; task i of the page is bit i % 8 of byte i / 8
    PRIMARY KEY (job, page)
) WITHOUT ROWID;

CREATE TRIGGER settled_job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM settled WHERE job = OLD.number;
END;
