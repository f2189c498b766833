//! What NixFleet's programs say to each other, and the decisions that follow from it.
//!
//! - [`wire`]: the HTTP messages between agent and dashboard.
//! - [`journal`]: the files between agent and `nixfleet-switch`, how they are written and read.
//! - [`generations`]: the links that say which generation is set, and which is activated.
//! - [`lifecycle`]: where a switch stands and what is to be done about it; pure.
//! - [`state_dir`]: the only place that knows file names.
//! - [`nix_log`]: what Nix and the activation are doing, by what they print; pure.
//! - [`operation`]: what a run of `nixfleet-switch` is to do, and how far it is.
//! - [`switch_kind`], [`switch_settings`]: what a switch is on this host.
//! - [`config_file`]: the TOML file that agent and `nixfleet-switch` share.
//! - [`installed`]: whether a running program still is what is installed, and where it is installed.
//! - [`digest`]: whether a file is still what it was.
//! - [`crash_point`]: places at which tests make a program die.
//! - [`process`]: which process is meant by a pid, and whether it is still there.
//! - [`systemd_notify`]: telling systemd how a service is.
//! - [`external`]: the one door to other programs that are asked something.
//! - [`output_tail`]: the end of an output, made fit for a result: no control characters, no secrets.
//! - [`redactor`]: taking secrets out of what is written or sent.

pub mod config_file;
pub mod crash_point;
pub mod digest;
pub mod external;
pub mod generations;
pub mod installed;
pub mod journal;
pub mod lifecycle;
pub mod nix_log;
pub mod operation;
pub mod output_tail;
pub mod process;
pub mod redactor;
pub mod state_dir;
pub mod switch_kind;
pub mod switch_settings;
pub mod systemd_notify;
pub mod wire;
