//! Runs one command.

use std::net::TcpListener;

use super::plan::Plan;
use crate::seam::{Ended, Error, Launch, OpenDoors};

/// The program that puts a command into a sandbox. The absolute name is on purpose.
pub(crate) const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

/// Opens a door on the host's own loopback, for plans that need one.
///
/// # Errors
/// When no socket can be opened.
pub fn door(_plan: &Plan) -> Result<Option<TcpListener>, Error> {
    Ok(None)
}

/// Runs one command under a plan and waits for it.
///
/// # Errors
/// Nothing has been run when this returns an error.
pub fn run(
    _plan: &Plan,
    _launch: &Launch,
    _opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Ended, Error> {
    Err(Error::Unsupported {
        attempted: String::from("run a command"),
        remedy: "run it on Linux; \"pinfold explain\" shows what would be enforced here",
    })
}
