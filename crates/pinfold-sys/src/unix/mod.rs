//! What Linux and macOS have in common towards the library.

pub mod descriptor;
mod door;
pub mod files;
pub mod name;
pub mod numbers;
pub mod places;
pub mod setup;

pub(crate) use door::loopback_door;

use std::ffi::OsString;

/// Does what this program was started for by itself, as somebody else: on these systems it
/// never is.
pub fn act_as_another(_arguments: &[OsString]) -> Option<i32> {
    None
}
