-- Times are milliseconds since 1970, UTC, by the dashboard's clock, unless a column says otherwise.

CREATE TABLE hosts (
    id TEXT PRIMARY KEY NOT NULL,
    -- What the host says of itself when it registers.
    hostname TEXT NOT NULL,
    host_type TEXT NOT NULL,
    location TEXT,
    device_type TEXT,
    theme_color TEXT,
    criticality TEXT,
    icon TEXT,
    config_repo TEXT,
    poll_interval INTEGER,
    agent_version TEXT,
    nixpkgs_version TEXT,
    os_version TEXT,
    os_name TEXT,
    current_generation TEXT,
    protocol INTEGER NOT NULL,
    -- What it reported of its work.
    status TEXT NOT NULL,
    comment TEXT,
    last_switch INTEGER,
    test_status TEXT,
    test_running INTEGER NOT NULL DEFAULT 0,
    test_current INTEGER,
    test_total INTEGER,
    test_passed INTEGER,
    test_result TEXT,
    last_audit INTEGER,
    -- The SHA-256 of the host's own token; NULL until it was given one.
    token_hash BLOB,
    created_at INTEGER NOT NULL,
    -- Both are written behind: they may lag by a few seconds.
    last_seen INTEGER,
    metrics TEXT
) STRICT;

CREATE TABLE commands (
    -- The order in which commands were queued.
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    host_id TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    verb TEXT NOT NULL,
    queued_at INTEGER NOT NULL,
    delivered_at INTEGER,
    leased_until INTEGER,
    -- 1 if it was given to a v1 agent, which gets no id, acknowledges nothing and never gets it again.
    handed_over INTEGER NOT NULL DEFAULT 0,
    acknowledged_at INTEGER,
    closed_at INTEGER,
    outcome TEXT,
    message TEXT,
    -- By the host's clock.
    answered_at INTEGER,
    switch_id TEXT,
    -- How many statuses of a v1 agent belong to it.
    v1_statuses INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX commands_by_host ON commands (host_id, sequence);
CREATE INDEX open_commands_by_host ON commands (host_id, sequence) WHERE closed_at IS NULL;

CREATE TABLE switches (
    host_id TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    command_id TEXT,
    initiator TEXT NOT NULL,
    -- These three by the host's clock.
    requested_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    state TEXT NOT NULL,
    outcome TEXT,
    -- JSON, as the host sent them.
    result TEXT,
    reload TEXT,
    reported_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    -- How much of the output was received, and how much of that is kept.
    output_received INTEGER NOT NULL DEFAULT 0,
    output_kept INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (host_id, id)
) STRICT;

CREATE INDEX switches_by_age ON switches (host_id, requested_at, id);

-- The kept output of a switch, in pieces that follow each other without a gap from byte 0.
CREATE TABLE switch_output (
    host_id TEXT NOT NULL,
    switch_id TEXT NOT NULL,
    start INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (host_id, switch_id, start),
    FOREIGN KEY (host_id, switch_id) REFERENCES switches (host_id, id) ON DELETE CASCADE
) STRICT;
