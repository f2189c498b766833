//! What `nixfleet-dashboard` says of itself beyond its flags: in `--help`, and in its manual pages.

use nixfleet_manual::{Manual, Table, Words};

/// The pages and the end of `--help`.
pub(crate) const MANUAL: Manual = Manual {
    program: PROGRAM,
    commands: &[("serve", SERVE)],
    see_also: &["nixfleet-agent(1)", "nixfleet-switch(1)"],
};

const PROGRAM: Words = Words {
    description: &[
        "How it is set up, and what it is told by the environment, is in `nixfleet-dashboard serve --help`.",
    ],
    exit_codes: EXIT_CODES,
    environment: ENVIRONMENT,
    files: FILES,
    examples: EXAMPLES,
};

const SERVE: Words = Words {
    description: &[
        "Tokens come from files that only you can read, or from the environment, and never from the command line. NIXFLEET_API_TOKEN is the token that all agents share, where --agent-token-file is not given; NIXFLEET_OPERATOR_TOKEN is the operator's, where --operator-token-file is not given. NIXFLEET_LOG says what to log on standard error, such as `debug` [default: info].",
        "The first line on standard output is `listening on http://ADDRESS:PORT`. SIGTERM or SIGINT ends the dashboard within a second. It speaks plain HTTP: put a proxy with TLS before it when others than this machine reach it.",
    ],
    exit_codes: EXIT_CODES,
    environment: ENVIRONMENT,
    files: FILES,
    examples: EXAMPLES,
};

const EXIT_CODES: Table = &[
    ("0", "told to stop"),
    ("64", "the command line makes no sense"),
    ("71", "the system refused something, such as the address"),
    ("74", "the database cannot be used"),
    ("75", "another dashboard uses the database"),
    ("78", "the tokens cannot be used"),
];

/// The flags have their own variables, which clap knows.
const ENVIRONMENT: Table = &[
    ("NIXFLEET_API_TOKEN", "The token that all agents share."),
    ("NIXFLEET_OPERATOR_TOKEN", "The operator's token."),
    ("NIXFLEET_LOG", "What to log on standard error, such as `debug`."),
];

const FILES: Table = &[
    ("PATH of --database", "Everything that the dashboard knows, in SQLite's format."),
    ("PATH-wal, PATH-shm", "SQLite's own, while the dashboard runs."),
    ("PATH.lock", "Keeps a second dashboard away."),
];

const EXAMPLES: Table = &[
    ("(umask 077; openssl rand -hex 32 > agent-token)", "make a token; likewise the operator's"),
    ("export NIXFLEET_API_TOKEN_FILE=agent-token", "say where it is"),
    ("export NIXFLEET_OPERATOR_TOKEN_FILE=operator-token", "and the operator's"),
    (
        "nixfleet-dashboard serve --database fleet.sqlite",
        "serve this machine, at http://127.0.0.1:8000",
    ),
    (
        "curl -H \"Authorization: Bearer $(cat operator-token)\" 127.0.0.1:8000/api/hosts",
        "ask for the hosts",
    ),
];
