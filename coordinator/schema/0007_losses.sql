-- Which workers were lost on a task, so that each counts once over restarts too.

ALTER TABLE attempts ADD COLUMN lost TEXT NOT NULL DEFAULT ''; -- 'ATTEMPT:ADDRESS ...', numbers; of at most 3
