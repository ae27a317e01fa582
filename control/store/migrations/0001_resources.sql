-- What administrators change, with optimistic revisions.

-- One row: the revision of the newest change of any resource.
CREATE TABLE revision (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO revision (one, value) VALUES (1, 0);

CREATE TABLE resources (
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    -- The store's revision after the change that wrote this row.
    revision INTEGER NOT NULL,
    -- JSON.
    body     TEXT NOT NULL,
    -- A secret, encrypted under the key-encryption key before it comes here.
    sealed   BLOB,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
