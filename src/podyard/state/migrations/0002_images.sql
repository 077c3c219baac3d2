-- Images whose layers are unpacked. "removed" ones have lost their names and wait for the last container to go.
CREATE TABLE images (
    id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    user TEXT NOT NULL,
    -- Chain ids, the lowest first: JSON.
    layers TEXT NOT NULL,
    -- Digests of the manifests and indexes that led to the image: JSON.
    manifests TEXT NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Names with a tag or a digest; each names one image.
CREATE TABLE image_names (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Unpacked layers. The folder is a number, since overlayfs takes one page of paths.
CREATE TABLE snapshots (
    chain_id TEXT PRIMARY KEY,
    folder INTEGER NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    inodes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
