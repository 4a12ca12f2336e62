-- What many objects have in common: their latest answer names the number.
CREATE TABLE traits (
    number INTEGER PRIMARY KEY,
    survey TEXT NOT NULL,
    superclass TEXT NOT NULL,   -- the most probable one; empty where no class is named
    flags TEXT NOT NULL,        -- JSON array
    UNIQUE (survey, superclass, flags)
);
-- Null until the object's next answer, but for the cell.
ALTER TABLE latest ADD COLUMN detections INTEGER; -- in all bands
ALTER TABLE latest ADD COLUMN traits INTEGER;
ALTER TABLE latest ADD COLUMN cell INTEGER;       -- sky cell, as in objects
UPDATE latest SET cell = (SELECT cell FROM objects WHERE objects.object_id = latest.object_id);
UPDATE latest SET cell = (SELECT cell FROM sources WHERE source_id = latest.object_id) WHERE cell IS NULL;
-- A list is merged from the classes' own (service/store/listing.py). Every write of `latest` moves these two, which cover
-- every filter: a page reads whole rows only of what it shows.
DROP INDEX latest_by_time;
CREATE INDEX latest_by_time ON latest
    (top_class, published_at, object_id, top_probability, mjd, detections, traits, cell);
CREATE INDEX latest_by_probability ON latest
    (top_class, top_probability, object_id, published_at, mjd, detections, traits, cell);
