-- The bytes of blocks that a layer and its record take on the disk; 0 where an older version has not counted them.
ALTER TABLE snapshots ADD COLUMN disk INTEGER NOT NULL DEFAULT 0;
