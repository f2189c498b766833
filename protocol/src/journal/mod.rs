//! The journal: files between the agent and `nixfleet-switch`.
//!
//! - [`records`]: what each file says.
//! - [`atomic`]: how a file is written so that nobody ever sees half of it.
//! - [`read`]: how it is read: absent, unreadable and too new are three different things.
//! - [`store`]: the switches and commands of one state directory.
//! - [`lock`]: the locks, as types.
//! - [`recovery`]: closing a switch that was cut short.
//! - [`reserve`]: disk space kept back for the result.
//! - [`result_file`]: writing a result, on a full disk too.
//! - [`retention`]: which switches may go.

pub mod atomic;
pub mod lock;
pub mod read;
pub mod records;
pub mod recovery;
pub mod reserve;
pub mod result_file;
pub mod retention;
pub mod store;
