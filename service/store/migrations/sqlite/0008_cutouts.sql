-- The pictures of each object's newest packet, as they stand in it (setting store.cutouts_bytes; service/store/sqlite/cutouts.py).
-- Rows are replaced, never updated: the smallest rowid was kept first and goes first.
CREATE TABLE cutouts (
    object_id TEXT NOT NULL UNIQUE,
    candid INTEGER NOT NULL,
    mjd REAL NOT NULL,          -- epoch of the alert
    bytes INTEGER NOT NULL,     -- of the three
    science BLOB NOT NULL,
    template BLOB NOT NULL,
    difference BLOB NOT NULL
);
CREATE TABLE cutout_total (bytes INTEGER NOT NULL);
INSERT INTO cutout_total VALUES (0);
