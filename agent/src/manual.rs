//! What `nixfleet-agent` says of itself beyond its flags: in `--help`, and in its manual pages.

use nixfleet_manual::{Manual, Table, Words};

/// The pages and the end of `--help`.
pub(crate) const MANUAL: Manual = Manual {
    program: PROGRAM,
    commands: &[
        ("run", RUN),
        ("check-config", CHECK_CONFIG),
        ("status", STATUS),
        ("report-now", REPORT_NOW),
    ],
    see_also: &["nixfleet-switch(1)", "nixfleet-dashboard(1)"],
};

const PRECEDENCE: &str = "A flag wins over its environment variable (`NIXFLEET_URL` and so on), that over the config file, that over the default. The token itself has no flag: a command line is readable by everyone on the machine.";

const PROGRAM: Words = Words {
    description: &[PRECEDENCE],
    exit_codes: RUNNING,
    environment: ENVIRONMENT,
    files: FILES,
    examples: &[
        ("nixfleet-agent", "run, with what the config file says"),
        ("nixfleet-agent --config ~/fleet.toml", "run with this file"),
        ("nixfleet-agent check-config", "say what is set, and by what"),
        ("nixfleet-agent status", "how the one that runs is, and what needs attention"),
        ("nixfleet-agent report-now", "have it tell the dashboard all it has, at once"),
        ("nixfleet-agent --log-level debug", "see what it does"),
    ],
};

const RUNNING: Table = &[
    ("0", "ended by SIGTERM or SIGINT, or asked to restart"),
    ("64", "the command line makes no sense"),
    ("70", "a part of the agent broke"),
    ("74", "the state directory cannot be used"),
    ("75", "another agent runs"),
    ("78", "the configuration makes no sense; each mistake is said"),
];

const ENVIRONMENT: Table = &[
    (
        "NIXFLEET_CONFIG",
        "The config file. Each of the other variables goes before the key of the same name in it.",
    ),
    ("NIXFLEET_URL", "The dashboard."),
    ("NIXFLEET_TOKEN", "The dashboard's token. A file that others cannot read is better."),
    ("NIXFLEET_TOKEN_FILE", "The file with that token. It is read again when it changes."),
    (
        "NIXFLEET_TOKEN_COMMAND",
        "In the place of a file, a command that prints the token, its words parted by spaces.",
    ),
    ("NIXFLEET_HOSTNAME", "The host's name at the dashboard."),
    ("NIXFLEET_INTERVAL", "Seconds between two heartbeats."),
    ("NIXFLEET_REPO_DIR", "Where a switch runs that the dashboard asks for."),
    ("NIXFLEET_SWITCH", "The program `nixfleet-switch`."),
    ("NIXFLEET_STATE_DIR", "Where the journal is."),
    (
        "NIXFLEET_ALLOW_INSECURE_HTTP",
        "Whether the token is sent over plain http too: `true` or `false`.",
    ),
    ("NIXFLEET_CA_FILE", "Certificates to trust beside the bundled ones."),
    (
        "NIXFLEET_PINNED_PUBKEY",
        "The dashboard's public key, `sha256//` and its digest in Base64; several parted by `;`.",
    ),
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "The proxy to the dashboard, and what is reached without one. Names in lower case will do.",
    ),
    ("NIXFLEET_METRICS", "Whether the dashboard is told how busy the host is: `true` or `false`."),
    ("NIXFLEET_LOG_LEVEL", "`error`, `warn`, `info`, `debug` or `trace`."),
    (
        "NIXFLEET_LOG_FORMAT",
        "`auto` (coloured in a terminal, without times in systemd's journal, plain elsewhere), `plain` or `json`.",
    ),
    ("NO_COLOR", "If it is set, there are no colours in a terminal either."),
    (
        "NIXFLEET_AGENT_LABEL, NIXFLEET_AGENT_PLIST",
        "The label and the definition of the agent's own job, by which it sees that it is no longer what is installed.",
    ),
    (
        "NIXFLEET_SWITCH_KIND, NIXFLEET_FLAKE and others",
        "What a switch is, as described in nixfleet-switch(1).",
    ),
];

const FILES: Table = &[
    ("~/.config/nixfleet/config.toml", "The configuration, shared with `nixfleet-switch`."),
    ("/etc/nixfleet/config.toml", "The configuration where the user has none."),
    (
        "~/.local/state/nixfleet",
        "The state directory: the journal, and a token that the dashboard has given to this host.",
    ),
];

const RUN: Words = Words {
    description: &[PRECEDENCE],
    exit_codes: RUNNING,
    environment: ENVIRONMENT,
    files: FILES,
    examples: &[
        ("nixfleet-agent run", "what a job of launchd or systemd is to run"),
        ("nixfleet-agent run --log-level debug", "see what it does"),
    ],
};

const CHECK_CONFIG: Words = Words {
    description: &[
        "It reads all that the agent would read, and talks to nobody. The token is not shown.",
    ],
    exit_codes: &[
        ("0", "the agent can run with this"),
        ("64", "the command line makes no sense"),
        ("74", "the outcome cannot be written"),
        ("78", "the configuration makes no sense; each mistake is said"),
    ],
    environment: ENVIRONMENT,
    files: FILES,
    examples: &[
        ("nixfleet-agent check-config", "what is set, and by what"),
        ("nixfleet-agent check-config --config new.toml", "try a file before it is used"),
    ],
};

const STATUS: Words = Words {
    description: &[
        "It reads files and talks to nobody, so it says something as well when no agent runs. Where the token comes from is said, never the token.",
        "With `--json`, each thing that needs attention has an `id`: `config-wrong`, `agent-not-running`, `agent-stuck`, `token-rejected`, `dashboard-fails`, `heartbeat-missing`, `results-waiting`, `clock-wrong`.",
    ],
    exit_codes: &[
        ("0", "all is well"),
        ("1", "something needs attention; it is said what"),
        ("64", "the command line makes no sense"),
        ("74", "the state directory cannot be read, or the outcome cannot be written"),
        ("78", "the configuration does not say where the state directory is"),
    ],
    environment: ENVIRONMENT,
    files: FILES,
    examples: &[
        ("nixfleet-agent status", "how the agent is"),
        ("nixfleet-agent status --json", "the same for a program"),
    ],
};

const REPORT_NOW: Words = Words {
    description: &[
        "The agent is asked by a signal. It sends a heartbeat and all that waits, and does not wait any longer where it has failed before or was told to wait. The command ends when the dashboard has taken the heartbeat, and after 30 seconds at the latest.",
    ],
    exit_codes: &[
        ("0", "the dashboard has taken a heartbeat"),
        ("1", "it has not, or no agent runs; it is said why"),
        ("64", "the command line makes no sense"),
        ("74", "the state directory cannot be read"),
        ("78", "the configuration does not say where the state directory is"),
    ],
    environment: ENVIRONMENT,
    files: FILES,
    examples: &[("nixfleet-agent report-now", "do not wait for the next try")],
};
