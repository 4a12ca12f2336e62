-- What many objects have in common: their latest answer names the number.
CREATE TABLE alert_classifier.traits (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    survey text NOT NULL,
    superclass text NOT NULL,           -- the most probable one; empty where no class is named
    flags text NOT NULL,                -- JSON array
    UNIQUE (survey, superclass, flags)
);
-- Null until the object's next answer, but for the cell.
ALTER TABLE alert_classifier.latest ADD COLUMN detections integer; -- in all bands
ALTER TABLE alert_classifier.latest ADD COLUMN traits integer;
ALTER TABLE alert_classifier.latest ADD COLUMN cell integer;       -- sky cell, as in objects
UPDATE alert_classifier.latest AS l SET cell = o.cell FROM alert_classifier.objects AS o WHERE o.object_id = l.object_id;
UPDATE alert_classifier.latest AS l SET cell = s.cell FROM alert_classifier.sources AS s
    WHERE s.source_id = l.object_id AND l.cell IS NULL;
-- A list is merged from the classes' own (service/store/listing.py). Every write of `latest` moves these two, which cover
-- every filter: a page reads whole rows only of what it shows.
DROP INDEX alert_classifier.latest_by_time;
CREATE INDEX latest_by_time ON alert_classifier.latest (top_class, published_at, object_id)
    INCLUDE (top_probability, mjd, detections, traits, cell);
CREATE INDEX latest_by_probability ON alert_classifier.latest (top_class, top_probability, object_id)
    INCLUDE (published_at, mjd, detections, traits, cell);
