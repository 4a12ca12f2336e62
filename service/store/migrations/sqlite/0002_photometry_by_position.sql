-- Photometry that came for a position: a source, which joins the nearest object within the radius (service/store/joining.py).
CREATE TABLE sources (
    source_id TEXT NOT NULL UNIQUE,
    ra REAL,                    -- degrees, of its newest photometry; null where unknown
    dec REAL,
    cell INTEGER,               -- sky cell of (ra, dec), see service/store/sky.py
    last_mjd REAL NOT NULL,     -- last detection (last point where there is none)
    object_id TEXT,             -- what it has joined; null: nothing yet
    light_curve BLOB NOT NULL   -- LightCurve.pack(), LZ4
);
-- A cell holds a quarter of a degree of declination: with it in the index, a search of 1.5 arcsec reads its own rows.
CREATE INDEX sources_by_place ON sources (cell, dec);
CREATE INDEX sources_by_object ON sources (object_id);
