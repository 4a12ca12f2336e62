-- What a model has found of the past of long light curves, so that it need not look at it again: a cache, of which every row
-- can be computed anew. Of an object there is one row for each model that is in use.
CREATE TABLE IF NOT EXISTS kept_blocks (
    object_id TEXT NOT NULL,
    embeds_as TEXT NOT NULL,    -- names graph and preprocessing (Bundle.embeds_as)
    embeddings BLOB NOT NULL,   -- digest and float32 embedding of each finished block (service/inference/block_inputs.py)
    PRIMARY KEY (object_id, embeds_as)
) WITHOUT ROWID;
