//! What error numbers mean for those who must act on them.

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BAD_EXE_FORMAT, ERROR_COMMITMENT_LIMIT, ERROR_FILE_NOT_FOUND,
    ERROR_FILENAME_EXCED_RANGE, ERROR_NO_SYSTEM_RESOURCES, ERROR_NOT_ENOUGH_MEMORY,
    ERROR_OUTOFMEMORY, ERROR_PATH_NOT_FOUND, ERROR_SHARING_VIOLATION, ERROR_TOO_MANY_OPEN_FILES,
};

use crate::seam::{Refused, Scarce};

/// Why a program was not executed.
pub fn refused(code: i32) -> Refused {
    match u32::try_from(code).unwrap_or_default() {
        ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND => Refused::Missing,
        ERROR_ACCESS_DENIED => Refused::Permission,
        ERROR_BAD_EXE_FORMAT => Refused::Format,
        ERROR_SHARING_VIOLATION => Refused::Busy,
        ERROR_FILENAME_EXCED_RANGE => Refused::TooLong,
        _ => Refused::Otherwise,
    }
}

/// The signal that a process died by: there are none.
pub fn signal_of(_status: std::process::ExitStatus) -> Option<i32> {
    None
}

/// What ran out, if something did.
pub fn scarce(code: i32) -> Option<Scarce> {
    match u32::try_from(code).unwrap_or_default() {
        ERROR_TOO_MANY_OPEN_FILES => Some(Scarce::Files),
        ERROR_NO_SYSTEM_RESOURCES => Some(Scarce::Processes),
        ERROR_NOT_ENOUGH_MEMORY | ERROR_OUTOFMEMORY | ERROR_COMMITMENT_LIMIT => {
            Some(Scarce::Memory)
        }
        _ => None,
    }
}
