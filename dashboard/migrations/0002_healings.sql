-- A job of NixFleet's that was looked after without a switch being the reason.
CREATE TABLE healings (
    host_id TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    cause TEXT NOT NULL,
    missed_for_ms INTEGER,
    verdict TEXT NOT NULL,
    explanation TEXT NOT NULL,
    -- By the host's clock.
    began_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    -- JSON, as the host sent them.
    steps TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (host_id, id)
) STRICT;

CREATE INDEX healings_by_age ON healings (host_id, began_at, id);
