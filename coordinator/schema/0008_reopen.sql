-- A job that is opened again loses its records a slice at a time: a start goes on with it.

ALTER TABLE jobs ADD COLUMN reopen TEXT NOT NULL DEFAULT ''; -- missing, failed or all; '' it is not
