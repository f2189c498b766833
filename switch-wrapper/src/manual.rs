//! What `nixfleet-switch` says of itself beyond its flags: in `--help`, and in its manual pages.

use nixfleet_manual::{Manual, Table, Words};

/// The pages and the end of `--help`.
pub(crate) const MANUAL: Manual = Manual {
    program: PROGRAM,
    commands: &[
        ("pull", PULL),
        ("pull-switch", PULL_SWITCH),
        ("test", TEST),
        ("update", UPDATE),
        ("rollback", ROLLBACK),
        ("dry-run", DRY_RUN),
        ("status", STATUS),
        ("history", HISTORY),
        ("logs", LOGS),
        ("ensure-agent", ENSURE_AGENT),
        ("ensure-watchdog", ENSURE_WATCHDOG),
        ("install", INSTALL),
        ("uninstall", UNINSTALL),
        ("watchdog", WATCHDOG),
        ("doctor", DOCTOR),
        ("selftest", SELFTEST),
    ],
    see_also: &["nixfleet-agent(1)", "nixfleet-dashboard(1)"],
};

const PROGRAM: Words = Words {
    description: &[
        "Everything but its own commands and options is passed on as it is to `home-manager switch`, or to what `switch_kind` in the config file puts in its place; what follows `--` always is. With nothing else, it gets what the config file says.",
    ],
    exit_codes: &[
        ("home-manager's own", "it ran to its end, and the agent is as it should be"),
        ("64", "the command line makes no sense"),
        ("69", "switched, but the agent is not back"),
        ("74", "the state directory cannot be used"),
        ("75", "another switch is running; the message says whose"),
        ("78", "configuration makes no sense, or home-manager is missing"),
        ("124", "it took too long and was ended"),
        ("128 + n", "signal n ended home-manager"),
    ],
    environment: &[
        (
            "NIXFLEET_CONFIG",
            "The config file. Each of the other variables goes before the key of the same name in it.",
        ),
        ("NIXFLEET_STATE_DIR", "Where the journal is."),
        (
            "NIXFLEET_SERVICE_MANAGER",
            "What runs the agent: `launchd`, `systemd` (the user's own), `systemd-system` or `none`.",
        ),
        (
            "NIXFLEET_AGENT_LABEL, NIXFLEET_WATCHDOG_LABEL",
            "The launchd labels, or the systemd units.",
        ),
        ("NIXFLEET_AGENT_PLIST", "The definition of the agent's job, under launchd."),
        ("NIXFLEET_HOSTNAME", "The host's name in what is recorded."),
        (
            "NIXFLEET_TOKEN, NIXFLEET_TOKEN_FILE",
            "The agent's token, or the file that it is in: it is kept out of all that is recorded.",
        ),
        (
            "NIXFLEET_SWITCH_KIND",
            "What a switch runs: `home-manager`, `nixos-rebuild`, `darwin-rebuild` or `command`.",
        ),
        (
            "NIXFLEET_SWITCH_COMMAND",
            "The whole command of kind `command`; words are what is between spaces.",
        ),
        ("NIXFLEET_SWITCH_TIMEOUT", "How long a switch may take, such as `60min`."),
        ("NIXFLEET_FLAKE, NIXFLEET_FLAKE_ATTRIBUTE", "The flake, and what follows `#` in it."),
        (
            "NIXFLEET_REPO_URL, NIXFLEET_BRANCH, NIXFLEET_SSH_KEY",
            "The repository that the checkout in the state directory is of, its branch, and the private key for it.",
        ),
        (
            "NIXFLEET_PROFILE, NIXFLEET_CURRENT_GENERATION",
            "The links to the generation that is set and to the one that is activated.",
        ),
        (
            "NIXFLEET_HOME_MANAGER, NIXFLEET_NIXOS_REBUILD, NIXFLEET_DARWIN_REBUILD, NIXFLEET_SUDO",
            "These programs; found by `PATH` if nothing is said.",
        ),
        (
            "NIXFLEET_LAUNCHCTL, NIXFLEET_SYSTEMCTL, NIXFLEET_SYSTEMD_RUN, NIXFLEET_CAFFEINATE",
            "These programs of the system.",
        ),
        ("NO_COLOR", "If it is set to anything, no colours are used."),
    ],
    files: FILES,
    examples: &[
        ("nixfleet-switch", "switch, with what the config says"),
        ("nixfleet-switch --flake .#me@laptop", "with home-manager's own arguments"),
        ("nixfleet-switch --wait=10min --flake .", "wait for a switch that is running"),
        ("nixfleet-switch --timeout=30min", "end home-manager after half an hour"),
        ("nixfleet-switch pull-switch", "newest state of the checkout, then switch to it"),
        ("nixfleet-switch rollback", "back to the generation before this one"),
        ("nixfleet-switch history", "what was switched, and how it ended"),
        ("nixfleet-switch logs", "the output of the last switch"),
    ],
};

const FILES: Table = &[
    ("~/.config/nixfleet/config.toml", "The configuration, shared with the agent."),
    ("/etc/nixfleet/config.toml", "The configuration where the user has none."),
    (
        "~/.local/state/nixfleet",
        "The state directory: what was asked for, how it ended, all output, and the programs that `install` has put there.",
    ),
];

/// Of a command that reads what is recorded.
const READING: Table = &[
    ("0", "done"),
    ("64", "the command line makes no sense"),
    ("74", "the state directory cannot be used"),
    ("78", "the configuration makes no sense"),
];

/// Of a command that looks after a job.
const LOOKING_AFTER: Table = &[
    ("0", "it is as it should be, or will be at the next login"),
    ("64", "the command line makes no sense"),
    ("69", "it is not back; what was tried is said"),
    ("74", "the state directory cannot be used"),
    ("78", "the configuration makes no sense"),
];

/// Of an operation beside a switch.
const OPERATION: Table = &[
    ("0", "done, and the agent is as it should be"),
    ("64", "the command line makes no sense"),
    ("69", "done, but the agent is not back"),
    ("74", "the state directory cannot be used"),
    ("75", "another switch is running; the message says whose"),
    ("78", "the configuration makes no sense, or there is nothing to do it with"),
    ("124", "it took too long and was ended"),
    ("128 + n", "signal n ended it"),
    ("other", "it failed: the code of the program that did, or 1"),
];

const PULL: Words = Words {
    description: &[
        "With `repo_url` in the config: the clone in the state directory is set to what the branch is at the remote, whatever stands in it; it is made where there is none, and made anew where it is broken or of another repository. Without it: `git pull --ff-only` in the folder where it is called.",
        "git is the one that PATH has. It is never asked for a password.",
    ],
    exit_codes: OPERATION,
    examples: &[("nixfleet-switch pull --wait=5min", "after the switch that is running")],
    ..Words::NONE
};

const PULL_SWITCH: Words = Words {
    description: &["What cannot be pulled is not switched to."],
    exit_codes: OPERATION,
    examples: &[("nixfleet-switch pull-switch", "what the dashboard's `pull-switch` does")],
    ..Words::NONE
};

const TEST: Words = Words {
    description: &[
        "All of them run, in the order of their names, in the checkout; each may take ten minutes. A test has passed when it exits with 0.",
    ],
    exit_codes: OPERATION,
    examples: &[("nixfleet-switch test", "the tests of this host")],
    ..Words::NONE
};

const UPDATE: Words = Words {
    description: &[
        "Pulls first. What has changed in flake.lock is committed alone. Where the remote does not take it, the commit stays in the checkout until the next pull, and that is said.",
    ],
    exit_codes: OPERATION,
    examples: &[("nixfleet-switch update", "newer inputs for everybody")],
    ..Words::NONE
};

const ROLLBACK: Words = Words {
    description: &[
        "The one that was there before the switch that has made the generation of now, by its path in the store. A second rollback goes further back, not forward again.",
    ],
    exit_codes: OPERATION,
    examples: &[("nixfleet-switch rollback", "undo the last switch")],
    ..Words::NONE
};

const DRY_RUN: Words = Words {
    description: &["Nothing is set and nothing activated. What is built stays in the store."],
    exit_codes: OPERATION,
    examples: &[("nixfleet-switch dry-run", "versions that would come and go")],
    ..Words::NONE
};

const STATUS: Words = Words {
    exit_codes: READING,
    examples: &[
        ("nixfleet-switch status", "at a glance"),
        ("nixfleet-switch status --json | jq .busy", "whether a switch is running"),
    ],
    ..Words::NONE
};

const HISTORY: Words = Words {
    exit_codes: READING,
    examples: &[
        ("nixfleet-switch history -n 5", "the last five"),
        ("nixfleet-switch history --json | jq '.[0].result'", "how the last one ended"),
    ],
    ..Words::NONE
};

const LOGS: Words = Words {
    description: &["With --json it says what is known of the switch, with the end of its output."],
    exit_codes: &[
        ("0", "done"),
        ("64", "there is no such switch, or more than one"),
        ("74", "the state directory cannot be used"),
        ("78", "the configuration makes no sense"),
    ],
    examples: &[
        ("nixfleet-switch logs | less -R", "the output of the last switch"),
        ("nixfleet-switch logs 0198c1", "of the one whose id begins so"),
    ],
    ..Words::NONE
};

const ENSURE_AGENT: Words = Words {
    description: &[
        "It loads the job where it is not loaded, loads it anew where its definition has changed, starts an agent that does not run, and waits until it is there. An agent that is well is left alone. Every switch ends with this, and so does everything that the watchdog does.",
    ],
    exit_codes: LOOKING_AFTER,
    examples: &[("nixfleet-switch ensure-agent", "bring it back, and say what was done")],
    ..Words::NONE
};

const ENSURE_WATCHDOG: Words = Words {
    description: &["The agent asks for this when it misses its watchdog. `install` brings one."],
    exit_codes: LOOKING_AFTER,
    examples: &[("nixfleet-switch ensure-watchdog", "bring it back, and say what was done")],
    ..Words::NONE
};

const INSTALL: Words = Words {
    description: &[
        "The program is put into the folder `bin` of ~/.local/state/nixfleet, where it stays when profiles change. The watchdog is a job of its own, which misses the agent when nobody else does. Run it again after an upgrade; it is safe while a switch runs.",
    ],
    exit_codes: &[
        ("0", "done"),
        ("64", "the command line makes no sense"),
        ("69", "installed, but the watchdog does not run"),
        ("74", "it is not complete, or the state directory cannot be used"),
        ("78", "it cannot be done here, or the configuration makes no sense"),
    ],
    files: &[
        ("~/.local/state/nixfleet/bin/nixfleet-switch", "The program."),
        (
            "~/Library/LaunchAgents/com.nixfleet.watchdog.plist, ~/.config/systemd/user/nixfleet-watchdog.service",
            "The watchdog's job, under launchd and under systemd.",
        ),
    ],
    examples: &[
        ("nixfleet-switch install", "program and watchdog"),
        ("nixfleet-switch install --no-watchdog", "the program alone"),
    ],
    ..Words::NONE
};

const UNINSTALL: Words = Words {
    exit_codes: &[
        ("0", "done"),
        ("64", "the command line makes no sense"),
        ("74", "it is not complete, or the state directory cannot be used"),
        ("78", "it cannot be done here, or the configuration makes no sense"),
    ],
    examples: &[(
        "~/.local/state/nixfleet/bin/nixfleet-switch uninstall",
        "where no other is left",
    )],
    ..Words::NONE
};

const WATCHDOG: Words = Words {
    description: &[
        "It looks every ten seconds, and has `ensure-agent` act when the agent is missing in two looks. Beside another watchdog of the same state directory it waits until that one has ended; with a configuration that makes no sense it waits for a better one.",
    ],
    exit_codes: &[
        ("64", "the command line makes no sense"),
        ("74", "the state directory cannot be used"),
    ],
    examples: &[("nixfleet-switch watchdog", "watch until Ctrl-C, to see what it says")],
    ..Words::NONE
};

const DOCTOR: Words = Words {
    description: &[
        "It looks at the service manager, the agent and its definition, the watchdog, the journal, home-manager's release and the state directory. It changes nothing. Of what only root could see it says that it cannot tell.",
    ],
    exit_codes: &[
        ("0", "nothing needs attention"),
        ("1", "something does"),
        ("64", "the command line makes no sense"),
    ],
    examples: &[
        ("nixfleet-switch doctor", "what is wrong, and what mends it"),
        (
            "nixfleet-switch doctor --json | jq -r '.findings[].remedy[]?'",
            "the commands that mend it, and nothing else",
        ),
    ],
    ..Words::NONE
};

const SELFTEST: Words = Words {
    description: &[
        "The agent that is installed, its definition and home-manager's profile are not touched. Jobs and files of the test are taken away at its end, also after Ctrl-C.",
    ],
    exit_codes: &[
        ("0", "every step was as expected"),
        ("1", "one was not"),
        ("64", "the command line makes no sense"),
        ("74", "the selftest cannot begin"),
        ("78", "launchd is not what runs jobs here"),
    ],
    examples: &[
        ("nixfleet-switch selftest", "a line for each step as it ends"),
        ("nixfleet-switch selftest --json", "one document at the end"),
    ],
    ..Words::NONE
};
