-- Tasks with their files by content: what a picture was made from, so that a changed file shows.

ALTER TABLE attempts ADD COLUMN task_hash TEXT NOT NULL DEFAULT ''; -- of the last attempt's lease; '' unknown
ALTER TABLE records ADD COLUMN task_hash BLOB; -- 32 bytes: jobs/asset.h, asset_task_hash; NULL unknown
