//! One safe function per system call, named after it.
//!
//! They take references where the kernel takes pointers, so that nothing else
//! in this crate has to argue about memory. None of them allocates: the first
//! process of a sandbox may call any of them.

mod deputy;
mod files;
mod mount;
mod network;
mod process;
mod terminal;
mod watch;

pub(crate) use deputy::*;
pub(crate) use files::*;
pub(crate) use mount::*;
pub(crate) use network::*;
pub(crate) use process::*;
pub(crate) use terminal::*;
pub(crate) use watch::*;

use std::ffi::CStr;

use super::raw::{Arguments, Errno, arguments, call};

type Descriptor = i32;
type Outcome<T> = Result<T, Errno>;

fn pointer<T: ?Sized>(reference: &T) -> usize {
    std::ptr::from_ref(reference).cast::<()>() as usize
}

fn path(text: &CStr) -> usize {
    text.as_ptr() as usize
}

fn flag(value: i32) -> usize {
    value as isize as usize
}

/// A call whose arguments are plain numbers.
fn numbers<const N: usize>(number: libc::c_long, given: [usize; N]) -> Outcome<usize> {
    // SAFETY: only calls without pointers are made through this function.
    unsafe { call(number, arguments(given)) }
}

/// A call that reads memory behind references that outlive it.
fn reads(number: libc::c_long, given: Arguments) -> Outcome<usize> {
    // SAFETY: every pointer was made from a reference, or a slice with its own
    // length, that is alive in the calling function; the kernel only reads it.
    unsafe { call(number, given) }
}
