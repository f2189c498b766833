//! The programs that stand in for those of the user: this very program under other names.
//!
//! - [`agent`]: an agent that speaks to nobody.
//! - [`home_manager`]: a home-manager that builds nothing.

pub(crate) mod agent;
pub(crate) mod home_manager;
