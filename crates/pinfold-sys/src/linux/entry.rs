//! Reads the argument vector that `main` is given.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

use super::call;

/// Maps what every launch touches with two system calls instead of some thirty
/// page faults. Kernels before 5.14 cannot, and fault as before.
#[doc(hidden)]
pub fn prefault(arena: &crate::Arena) {
    unsafe extern "C" {
        /// Where the program and its text begin and end; set by the linker.
        static __executable_start: u8;
        static etext: u8;
    }
    /// What a launch allocates, rounded up.
    const ALLOCATED: usize = 96 * 1024;
    let start = (&raw const __executable_start) as usize;
    let end = (&raw const etext) as usize;
    call::populate(start & !4095, end - (start & !4095), call::Populate::Read);
    call::populate(arena.base(), ALLOCATED, call::Populate::Write);
}

/// The arguments of the process, the program's own name first.
///
/// # Safety
/// `vector` is the null-terminated vector that `main` is called with.
#[doc(hidden)]
pub unsafe fn command_line(_count: c_int, vector: *const *const c_char) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut next = vector;
    loop {
        // SAFETY: the vector ends with a null pointer, at which this loop stops.
        let argument = unsafe { next.read() };
        if argument.is_null() {
            return arguments;
        }
        // SAFETY: every pointer before the last leads to a C string.
        let argument = unsafe { CStr::from_ptr(argument) };
        arguments.push(OsString::from_vec(argument.to_bytes().to_vec()));
        next = next.wrapping_add(1);
    }
}
