-- The older points of long light curves, in blocks (service/store/blocks.py): all blocks of an object in the order of their
-- numbers, then objects.light_curve, end to end, are its light curve. Objects from before have none until they are written.
CREATE TABLE IF NOT EXISTS blocks (
    object_id TEXT NOT NULL,
    number INTEGER NOT NULL,    -- 0, 1, 2, ... in order of time
    light_curve BLOB NOT NULL,  -- LightCurve.pack(), LZ4
    UNIQUE (object_id, number)
);
