//! The agent against the dashboard that fleets run today, the real one. `tests/v1/real-dashboard` brings one up and runs
//! this; without one, it says so.
//!
//! - `operator`: an operator in that dashboard's page.
//! - `recorder`: a place between agent and dashboard that keeps what is said.
//! - `commands`: every command, from the page to its row.
//! - `troubles`: agents that are killed or in a hurry, commands that are, tokens that are no longer good.
//! - `limits`: what it takes and what it refuses.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod commands;
mod limits;
mod operator;
mod recorder;
#[expect(dead_code, reason = "the operations' tests use the rest of it")]
#[path = "../operations/remote.rs"]
mod remote;
mod troubles;

use std::{fs, io::Write as _};

use nixfleet_tests::stage::{
    folder::write_private,
    mac::{Mac, MacOptions},
    not_run,
};

/// It takes 30 registrations a minute of a host, answers 500 to the rest, and each command needs one or two.
const INTERVAL: u32 = 3;

/// The dashboard that the script has brought up.
struct Real {
    url: String,
    token: String,
    password: String,
}

impl Real {
    /// `None`, and said, if there is none.
    fn there() -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("NIXFLEET_TEST_V1_{name}")).ok();
        let (Some(url), Some(token), Some(password)) =
            (variable("URL"), variable("TOKEN"), variable("PASSWORD"))
        else {
            not_run("tests/v1/real-dashboard has not brought up a dashboard");
            return None;
        };
        Some(Self { url, token, password })
    }

    /// A Mac whose agent speaks to the dashboard by way of `url`, with more lines in its config.
    fn mac(&self, host: &str, url: &str, config: &str) -> Mac {
        self.mac_with_interval(host, url, INTERVAL, config)
    }

    fn mac_with_interval(&self, host: &str, url: &str, interval: u32, config: &str) -> Mac {
        let options = MacOptions { host: host.to_owned(), interval, ..MacOptions::default() };
        let mac = Mac::without_agent(url, options).unwrap();
        write_private(&mac.folder.path("token"), &self.token).unwrap();
        let path = mac.folder.path("config.toml");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "{config}").unwrap();
        mac.load_agent().unwrap();
        mac.wait_for_agent().unwrap();
        mac
    }
}
