CREATE TABLE alert_classifier.objects (
    object_id text COLLATE "C" PRIMARY KEY,
    ra double precision,                -- degrees, of the latest alert; NaN where unknown
    dec double precision,
    cell integer,                       -- sky cell of (ra, dec), see service/store/sky.py
    last_mjd double precision NOT NULL, -- last detection (last point where there is none)
    light_curve bytea NOT NULL          -- LightCurve.pack(), LZ4
-- Room on the page for the next version of a row (a heap-only update: no index is written), and rows of up to 8 kB stay
-- in it: a light curve in a TOAST table would cost a second look-up, and it is compressed already.
) WITH (fillfactor = 70, toast_tuple_target = 8160);
ALTER TABLE alert_classifier.objects ALTER COLUMN light_curve SET STORAGE EXTERNAL;
CREATE INDEX objects_by_cell ON alert_classifier.objects (cell);

CREATE TABLE alert_classifier.classifiers (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    classifier text NOT NULL,
    version text NOT NULL,
    classes text NOT NULL,              -- JSON array: the order of history.probabilities
    sample bytea NOT NULL,              -- JSON of its first document: the dictionary that latest.document is deflated with
    UNIQUE (classifier, version, classes)
);

-- What the active classifier said last of each object.
CREATE TABLE alert_classifier.latest (
    object_id text COLLATE "C" PRIMARY KEY,
    candid bigint NOT NULL,
    classifier integer NOT NULL,
    mjd double precision NOT NULL,
    published_at double precision NOT NULL,
    top_class text NOT NULL,
    top_probability double precision NOT NULL,
    document bytea NOT NULL,            -- JSON, deflated
    embedding bytea                     -- float16
) WITH (toast_tuple_target = 8160);
ALTER TABLE alert_classifier.latest ALTER COLUMN document SET STORAGE EXTERNAL;
ALTER TABLE alert_classifier.latest ALTER COLUMN embedding SET STORAGE EXTERNAL;
CREATE INDEX latest_by_time ON alert_classifier.latest (published_at, object_id) INCLUDE (top_class, top_probability);

CREATE TABLE alert_classifier.history (
    object_id text COLLATE "C" NOT NULL,
    candid bigint NOT NULL,
    classifier integer NOT NULL,
    active boolean NOT NULL,
    mjd double precision NOT NULL,
    published_at double precision NOT NULL,
    top_class text NOT NULL,
    top_probability double precision NOT NULL,
    probabilities bytea NOT NULL,       -- float32, in the order of classifiers.classes
    PRIMARY KEY (object_id, candid, classifier)
);
