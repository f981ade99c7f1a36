//! The argument vector, as the standard library finds it.

use std::ffi::{OsString, c_char, c_int};

/// Prepares the allocator of the program: here, pages are mapped as they are used.
#[doc(hidden)]
pub fn prefault(_arena: &crate::Arena, _what: crate::Prefault) {}

/// The arguments of the process, the program's own name first.
///
/// # Safety
/// None: the vector is not looked at.
#[doc(hidden)]
pub unsafe fn command_line(_count: c_int, _vector: *const *const c_char) -> Vec<OsString> {
    std::env::args_os().collect()
}
