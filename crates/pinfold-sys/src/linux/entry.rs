//! Reads the argument vector that `main` is given.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

use super::call;
use crate::{Arena, Prefault};

/// Maps the part of the arena that is going to be used with one system call instead of a
/// page fault for every page. Kernels before 5.14 cannot, and fault as before.
/// For the program's text it does not pay: most of it is not for launches.
#[doc(hidden)]
pub fn prefault(arena: &Arena, what: Prefault) {
    // Bytes that were seen to be allocated, rounded up.
    let allocated = match what {
        Prefault::Start => 40 * 1024,
        Prefault::Launch => 144 * 1024,
    };
    call::populate(std::ptr::from_ref(arena) as usize, allocated);
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
