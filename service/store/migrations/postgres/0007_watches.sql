-- Saved filters: whatever passes one for the first time is noticed, in the transaction that records it.
CREATE TABLE alert_classifier.watches (
    name text COLLATE "C" PRIMARY KEY,
    filters text NOT NULL,                  -- JSON, see service/store/watches.py
    created double precision NOT NULL,      -- here and below seconds since 1970
    url text,                               -- of the webhook; null: a feed alone
    secret text,                            -- that the webhook's messages are signed with
    leased_until double precision NOT NULL DEFAULT 0, -- until then one replica alone sends
    next_try double precision NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,    -- in a row
    last_error text,
    last_delivery double precision
);
CREATE TABLE alert_classifier.notices (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    watch text COLLATE "C" NOT NULL,
    object_id text COLLATE "C" NOT NULL,
    noticed_at double precision NOT NULL,
    document text NOT NULL,                 -- JSON of the classification
    waiting integer NOT NULL,               -- 1: for the webhook
    UNIQUE (watch, object_id)
);
CREATE INDEX notices_by_number ON alert_classifier.notices (watch, number);
CREATE INDEX notices_waiting ON alert_classifier.notices (watch, number) WHERE waiting = 1;
