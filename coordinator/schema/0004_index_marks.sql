-- How far index.jsonl of a job was before the last lines: a start looks at those alone.

CREATE TABLE index_marks (
    job   INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL, -- of the file, before the lines of `tasks` were appended
    tasks BLOB NOT NULL -- indices of the pictures recorded last, 8 bytes each, little-endian
);

CREATE TRIGGER index_marks_job_removed AFTER DELETE ON jobs BEGIN
    DELETE FROM index_marks WHERE job = OLD.number;
END;
