-- Saved filters: whatever passes one for the first time is noticed, in the transaction that records it.
CREATE TABLE watches (
    name TEXT NOT NULL UNIQUE,
    filters TEXT NOT NULL,          -- JSON, see service/store/watches.py
    created REAL NOT NULL,          -- here and below seconds since 1970
    url TEXT,                       -- of the webhook; null: a feed alone
    secret TEXT,                    -- that the webhook's messages are signed with
    leased_until REAL NOT NULL DEFAULT 0, -- until then one replica alone sends
    next_try REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,  -- in a row
    last_error TEXT,
    last_delivery REAL
);
CREATE TABLE notices (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    watch TEXT NOT NULL,
    object_id TEXT NOT NULL,
    noticed_at REAL NOT NULL,
    document TEXT NOT NULL,         -- JSON of the classification
    waiting INTEGER NOT NULL,       -- 1: for the webhook
    UNIQUE (watch, object_id)
);
CREATE INDEX notices_by_number ON notices (watch, number);
CREATE INDEX notices_waiting ON notices (watch, number) WHERE waiting = 1;
