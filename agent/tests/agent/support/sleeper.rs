//! A process in the place of home-manager or of a wrapper.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command},
};

use nixfleet_protocol::process::ProcessIdentity;

use super::eventually;

/// A process that only a signal ends.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    pub(crate) fn start() -> Self {
        Self(Command::new("sleep").arg("600").process_group(0).spawn().unwrap())
    }

    pub(crate) fn identity(&self) -> ProcessIdentity {
        ProcessIdentity::of(self.0.id()).unwrap().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    #[track_caller]
    pub(crate) fn wait_until_ended(&mut self) {
        eventually("it was ended", || self.0.try_wait().unwrap());
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
