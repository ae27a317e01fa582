-- Audit events say more of where they come from, and are exported.

ALTER TABLE audit_events ADD COLUMN cluster        TEXT NOT NULL DEFAULT '';
-- As configured, host:port.
ALTER TABLE audit_events ADD COLUMN node_address   TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_events ADD COLUMN data_plane     TEXT NOT NULL DEFAULT '';
-- sync, async, off, or empty.
ALTER TABLE audit_events ADD COLUMN recording_mode TEXT NOT NULL DEFAULT '';

-- Certificates of all sorts are one kind now; what former versions wrote stays under its name.
DROP INDEX audit_events_live_proofs;
CREATE INDEX audit_events_taken_proofs
    ON audit_events (CASE WHEN json_valid(detail) THEN detail ->> 'proof_expires' END)
    WHERE kind IN ('cert.upstream', 'cert.create');

-- How far audit events have been taken to each place outside.
CREATE TABLE export_cursors (
    place TEXT PRIMARY KEY,
    -- The newest event that is there with all before it.
    seq   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
