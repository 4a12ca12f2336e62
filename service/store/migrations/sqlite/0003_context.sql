-- What the newest alert says of the object's surroundings: epoch (float64) and candid (int64) of the alert, then float32 in
-- the order of CONTEXT_COLUMNS (service/photometry/context.py). Null: no alert has said anything since this column exists.
ALTER TABLE objects ADD COLUMN context BLOB;
