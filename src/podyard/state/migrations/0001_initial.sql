-- A record is the msgspec JSON of podyard.model.Sandbox or Container; what is searched for stands beside it.
CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (id),
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX containers_of_sandbox ON containers (sandbox_id);

-- The journal of operations in flight: a row from before the first step until after the last one.
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    input BLOB NOT NULL,
    undoing INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A step's row says "begun" before it acts and "done" after; undoing deletes it.
CREATE TABLE steps (
    operation INTEGER NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (operation, name)
) STRICT, WITHOUT ROWID;
