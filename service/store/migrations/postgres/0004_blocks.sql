-- The older points of long light curves, in blocks (service/store/blocks.py): all blocks of an object in the order of their
-- numbers, then objects.light_curve, end to end, are its light curve. Objects from before have none until they are written.
-- Whoever writes an object's blocks holds the lock of its row in objects.
CREATE TABLE alert_classifier.blocks (
    object_id text COLLATE "C" NOT NULL,
    number integer NOT NULL,            -- 0, 1, 2, ... in order of time
    light_curve bytea NOT NULL,         -- LightCurve.pack(), LZ4
    PRIMARY KEY (object_id, number)
) WITH (toast_tuple_target = 8160);
ALTER TABLE alert_classifier.blocks ALTER COLUMN light_curve SET STORAGE EXTERNAL;
