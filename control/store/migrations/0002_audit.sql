-- What happened. Nothing in this table is ever changed or removed.
CREATE TABLE audit_events (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Given by the reporter; tells repeated deliveries apart.
    id             TEXT NOT NULL UNIQUE,
    -- Microseconds since 1970-01-01 UTC.
    time_us        INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    session        TEXT NOT NULL,
    user_name      TEXT NOT NULL,
    login          TEXT NOT NULL,
    node           TEXT NOT NULL,
    client_address TEXT NOT NULL,
    -- JSON object, by kind.
    detail         TEXT NOT NULL
) STRICT;

CREATE INDEX audit_events_by_session ON audit_events (session);
CREATE INDEX audit_events_by_kind ON audit_events (kind, time_us);

CREATE TRIGGER audit_events_are_not_updated BEFORE UPDATE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only');
END;

CREATE TRIGGER audit_events_are_not_deleted BEFORE DELETE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only');
END;

-- The index of sessions and their recordings. Ids are ULIDs: their order is the order of starts.
CREATE TABLE sessions (
    id             TEXT PRIMARY KEY,
    user_name      TEXT NOT NULL,
    login          TEXT NOT NULL,
    node           TEXT NOT NULL,
    kind           TEXT NOT NULL,
    start_us       INTEGER NOT NULL,
    -- 0 while it is going on.
    end_us         INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    -- 1 live, 2 complete, 3 interrupted.
    status         INTEGER NOT NULL CHECK (status IN (1, 2, 3)),
    -- Key of the recording in the object store; empty until it is there.
    object         TEXT NOT NULL,
    client_address TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_live ON sessions (status) WHERE status = 1;

CREATE TRIGGER sessions_are_not_deleted BEFORE DELETE ON sessions
BEGIN
    SELECT RAISE(ABORT, 'the session index is append-only');
END;

CREATE TRIGGER sessions_stay_ended BEFORE UPDATE ON sessions WHEN OLD.status <> 1 AND NEW.status = 1
BEGIN
    SELECT RAISE(ABORT, 'a session that has ended stays ended');
END;
