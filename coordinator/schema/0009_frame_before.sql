-- What a chain's later frame started from: the SHA-256 of the picture before it.

ALTER TABLE records ADD COLUMN frame_before BLOB; -- 32 bytes; NULL: none
