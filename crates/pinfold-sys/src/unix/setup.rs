//! What `pinfold setup` prepares: nothing, on these systems.

use pinfold_policy::plan::windows::Entry;

use crate::plan::Plan;

/// Why nothing has to be prepared.
pub const NOTHING: Option<&str> =
    Some("nothing has to be set up on this system; \"pinfold doctor\" says what it offers");

/// What has to be there before a command of a plan starts.
pub fn entries(_plan: &Plan) -> Vec<Entry> {
    Vec::new()
}

/// Whether an entry is there.
///
/// # Errors
/// Never.
pub fn has(_entry: &Entry) -> Result<bool, i32> {
    Ok(true)
}

/// Writes an entry: there is none to write.
///
/// # Errors
/// Never.
pub fn apply(_entry: &Entry) -> Result<(), i32> {
    Ok(())
}

/// Takes an entry away: there is none.
///
/// # Errors
/// Never.
pub fn undo(_entry: &Entry) -> Result<(), i32> {
    Ok(())
}
