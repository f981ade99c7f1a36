//! What error numbers mean for those who must act on them.

use crate::seam::{Refused, Scarce};

/// Why a program was not executed.
pub fn refused(code: i32) -> Refused {
    match code {
        libc::ENOENT | libc::ENOTDIR => Refused::Missing,
        libc::EACCES => Refused::Permission,
        libc::ENOEXEC => Refused::Format,
        libc::ETXTBSY => Refused::Busy,
        libc::E2BIG => Refused::TooLong,
        _ => Refused::Otherwise,
    }
}

/// The signal that a process died by.
pub fn signal_of(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// What ran out, if something did.
pub fn scarce(code: i32) -> Option<Scarce> {
    match code {
        libc::EMFILE | libc::ENFILE => Some(Scarce::Files),
        libc::EAGAIN => Some(Scarce::Processes),
        libc::ENOMEM => Some(Scarce::Memory),
        _ => None,
    }
}
