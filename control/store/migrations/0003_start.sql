-- What a start looks up among all that ever happened.

-- The proofs whose certificates still live. A detail that is no JSON is from elsewhere and must not fail its batch.
CREATE INDEX audit_events_live_proofs
    ON audit_events (CASE WHEN json_valid(detail) THEN detail ->> 'proof_expires' END)
    WHERE kind = 'cert.upstream';

CREATE INDEX sessions_interrupted ON sessions (id) WHERE status = 3;
