-- What becomes of recordings: who may not delete them, and which are deleted. Zero: not so. A session without a row has
-- a recording, if it has one, that is kept for as long as any.
CREATE TABLE fates (
    session     TEXT PRIMARY KEY REFERENCES sessions (id),
    -- Microseconds since 1970-01-01 UTC, as all times.
    held_us     INTEGER NOT NULL DEFAULT 0,
    hold_reason TEXT NOT NULL DEFAULT '',
    -- Since then the object may be gone: whoever finds this finishes it.
    deleting_us INTEGER NOT NULL DEFAULT 0,
    deleted_us  INTEGER NOT NULL DEFAULT 0,
    -- A hold wins.
    CHECK (held_us = 0 OR (deleting_us = 0 AND deleted_us = 0))
) STRICT, WITHOUT ROWID;

CREATE INDEX fates_deleting ON fates (session) WHERE deleting_us <> 0;

-- So that the recordings that are there are found without passing all that were ever deleted.
ALTER TABLE sessions ADD COLUMN recording_deleted INTEGER NOT NULL DEFAULT 0;

CREATE INDEX sessions_stored ON sessions (start_us, id) WHERE object <> '' AND recording_deleted = 0;

CREATE TRIGGER fates_of_deleted_recordings AFTER UPDATE OF deleted_us ON fates WHEN NEW.deleted_us <> 0
BEGIN
    UPDATE sessions SET recording_deleted = 1 WHERE id = NEW.session;
END;

CREATE TRIGGER fates_stay_deleted BEFORE UPDATE ON fates WHEN OLD.deleted_us <> 0
BEGIN
    SELECT RAISE(ABORT, 'what is deleted stays deleted');
END;

CREATE TRIGGER fates_are_not_deleted BEFORE DELETE ON fates
BEGIN
    SELECT RAISE(ABORT, 'fates are only changed');
END;
