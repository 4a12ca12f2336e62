-- Object ids are text keys of rowid tables: a light curve of 1 kB in a WITHOUT ROWID table would spill to overflow pages.
CREATE TABLE objects (
    object_id TEXT NOT NULL UNIQUE,
    ra REAL,                    -- degrees, of the latest alert; null where unknown
    dec REAL,
    cell INTEGER,               -- sky cell of (ra, dec), see service/store/sky.py
    last_mjd REAL NOT NULL,     -- last detection (last point where there is none)
    light_curve BLOB NOT NULL   -- LightCurve.pack(), LZ4
);
CREATE INDEX objects_by_cell ON objects (cell);

CREATE TABLE classifiers (
    number INTEGER PRIMARY KEY,
    classifier TEXT NOT NULL,
    version TEXT NOT NULL,
    classes TEXT NOT NULL,      -- JSON array: the order of history.probabilities
    sample BLOB NOT NULL,       -- JSON of its first document: the dictionary that latest.document is deflated with
    UNIQUE (classifier, version, classes)
);

-- What the active classifier said last of each object.
CREATE TABLE latest (
    object_id TEXT NOT NULL UNIQUE,
    candid INTEGER NOT NULL,
    classifier INTEGER NOT NULL REFERENCES classifiers,
    mjd REAL NOT NULL,
    published_at REAL NOT NULL,
    top_class TEXT NOT NULL,
    top_probability REAL NOT NULL,
    document BLOB NOT NULL,     -- JSON, deflated
    embedding BLOB              -- float16
);
-- The one index that every write of `latest` must move (each costs 20 us an alert). It covers every filter and sort, so a
-- page of a rare class reads the index, 45 MB for a million objects, and only its own rows of the table.
CREATE INDEX latest_by_time ON latest (published_at, object_id, top_class, top_probability);

-- Every classification, clustered by object: an object page reads neighbouring rows.
CREATE TABLE history (
    object_id TEXT NOT NULL,
    candid INTEGER NOT NULL,
    classifier INTEGER NOT NULL REFERENCES classifiers,
    active INTEGER NOT NULL,
    mjd REAL NOT NULL,
    published_at REAL NOT NULL,
    top_class TEXT NOT NULL,
    top_probability REAL NOT NULL,
    probabilities BLOB NOT NULL, -- float32, in the order of classifiers.classes
    PRIMARY KEY (object_id, candid, classifier)
) WITHOUT ROWID;

-- Kept by every write: counting millions of rows would read them all.
CREATE TABLE totals (objects INTEGER NOT NULL, classifications INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
