-- A layer that no image has used yet waits for the next pull: "boot_id" says in which boot it was unpacked (its files
-- may not have reached the disk), and is '' once an image uses it. "made_at" is in nanoseconds since 1970.
ALTER TABLE snapshots ADD COLUMN made_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
-- The digest of the layer's record (images/unpack/record.py), by which it is checked; '' where there is none.
ALTER TABLE snapshots ADD COLUMN record TEXT NOT NULL DEFAULT '';
-- When a container last used an image, or it was pulled: nanoseconds since 1970.
ALTER TABLE images ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
