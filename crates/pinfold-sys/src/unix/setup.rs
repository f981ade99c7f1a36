//! What `pinfold setup` prepares: nothing, on these systems.

use pinfold_policy::plan::windows::Entry;
use pinfold_policy::plan::windows::setup::{Operation, Step};

use crate::plan::Plan;

/// Why nothing has to be prepared.
pub const NOTHING: Option<&str> =
    Some("nothing has to be set up on this system; \"pinfold doctor\" says what it offers");

/// The entries that have to be there before a command of a plan starts.
pub fn entries(_plan: &Plan) -> Vec<Entry> {
    Vec::new()
}

/// There are no accounts.
pub fn proxy_port() -> Option<u16> {
    None
}

/// Notes nothing.
///
/// # Errors
/// Always.
pub fn keep_proxy_port(_port: Option<u16>) -> Result<(), i32> {
    Err(libc::ENOSYS)
}

/// A password for an account: there are none.
///
/// # Errors
/// Always.
pub fn random_password() -> Result<String, i32> {
    Err(libc::ENOSYS)
}

/// Whether a step is there.
///
/// # Errors
/// Always.
pub fn has(_step: &Step) -> Result<bool, i32> {
    Err(libc::ENOSYS)
}

/// Does what is the user's own.
///
/// # Errors
/// Always.
pub fn perform_own(_operation: &Operation, _password: &str) -> Result<(), i32> {
    Err(libc::ENOSYS)
}

/// Whoever does what takes an administrator.
#[derive(Debug)]
pub struct Administrator;

impl Administrator {
    /// Asks for none.
    ///
    /// # Errors
    /// Always.
    pub fn new() -> Result<Administrator, i32> {
        Err(libc::ENOSYS)
    }

    /// Does nothing.
    ///
    /// # Errors
    /// Always.
    pub fn perform(&mut self, _operation: &Operation, _password: &str) -> Result<(), i32> {
        Err(libc::ENOSYS)
    }
}
