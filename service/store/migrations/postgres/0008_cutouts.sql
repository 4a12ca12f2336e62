-- The pictures of each object's newest packet, as they stand in it (setting store.cutouts_bytes; service/store/postgres/cutouts.py).
-- Whoever writes here holds the lock of the one row of cutout_total.
CREATE TABLE alert_classifier.cutouts (
    object_id text COLLATE "C" PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,     -- in the order of being kept: the smallest goes first
    candid bigint NOT NULL,
    mjd double precision NOT NULL,                  -- epoch of the alert
    bytes integer NOT NULL,                         -- of the three
    science bytea NOT NULL,
    template bytea NOT NULL,
    difference bytea NOT NULL
);
ALTER TABLE alert_classifier.cutouts ALTER COLUMN science SET STORAGE EXTERNAL;
ALTER TABLE alert_classifier.cutouts ALTER COLUMN template SET STORAGE EXTERNAL;
ALTER TABLE alert_classifier.cutouts ALTER COLUMN difference SET STORAGE EXTERNAL;
CREATE INDEX cutouts_by_age ON alert_classifier.cutouts (number) INCLUDE (bytes);
CREATE TABLE alert_classifier.cutout_total (bytes bigint NOT NULL);
INSERT INTO alert_classifier.cutout_total VALUES (0);
