-- Photometry that came for a position: a source, which joins the nearest object within the radius (service/store/joining.py).
CREATE TABLE alert_classifier.sources (
    source_id text COLLATE "C" PRIMARY KEY,
    ra double precision,                -- degrees, of its newest photometry; NaN where unknown
    dec double precision,
    cell integer,                       -- sky cell of (ra, dec), see service/store/sky.py
    last_mjd double precision NOT NULL, -- last detection (last point where there is none)
    object_id text COLLATE "C",         -- what it has joined; null: nothing yet
    light_curve bytea NOT NULL          -- LightCurve.pack(), LZ4
) WITH (fillfactor = 70, toast_tuple_target = 8160);
ALTER TABLE alert_classifier.sources ALTER COLUMN light_curve SET STORAGE EXTERNAL;
-- A cell holds a quarter of a degree of declination: with it in the index, a search of 1.5 arcsec reads its own rows.
CREATE INDEX sources_by_place ON alert_classifier.sources (cell, dec);
CREATE INDEX sources_by_object ON alert_classifier.sources (object_id);
