//! What looks after the agent's job, where most of the time goes by in waiting: one program, so that it is waited for
//! together.

mod going_back;
mod selftest;
#[path = "../selftest_report/mod.rs"]
mod selftest_report;
mod systemd;
mod watchdog;
