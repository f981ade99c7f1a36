//! Runs one command, on systems where that is not there yet.

use std::net::TcpListener;

use crate::plan::Plan;
use crate::seam::{Ended, Error, Launch, OpenDoors};

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
