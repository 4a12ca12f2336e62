-- What the newest alert says of the object's surroundings: epoch (float64) and candid (int64) of the alert, then float32 in
-- the order of CONTEXT_COLUMNS (service/photometry/context.py). Null: no alert has said anything since this column exists.
ALTER TABLE alert_classifier.objects ADD COLUMN context bytea;
ALTER TABLE alert_classifier.objects ALTER COLUMN context SET STORAGE PLAIN; -- 140 bytes, and compression gains nothing
