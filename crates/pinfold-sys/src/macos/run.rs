//! Runs one command, which is not there yet.

use crate::plan::Plan;
use crate::seam::{Ended, Error, Launch, OpenDoors};

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
