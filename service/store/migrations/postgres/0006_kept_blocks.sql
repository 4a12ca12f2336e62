-- What a model has found of the past of long light curves, so that it need not look at it again: a cache, of which every row
-- can be computed anew. Of an object there is one row for each model that is in use. Whoever writes an object's rows holds
-- the lock of its row in objects.
CREATE TABLE alert_classifier.kept_blocks (
    object_id text COLLATE "C" NOT NULL,
    embeds_as text COLLATE "C" NOT NULL, -- names graph and preprocessing (Bundle.embeds_as)
    embeddings bytea NOT NULL,           -- digest and float32 embedding of each finished block (service/inference/block_inputs.py)
    PRIMARY KEY (object_id, embeds_as)
) WITH (toast_tuple_target = 8160);
ALTER TABLE alert_classifier.kept_blocks ALTER COLUMN embeddings SET STORAGE EXTERNAL;
