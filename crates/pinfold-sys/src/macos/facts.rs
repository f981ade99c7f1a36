//! Facts about this host.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;

use pinfold_policy::host::MacHost;
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::paths_of_interest;
use pinfold_policy::profile::Profile;

pub use crate::git::repository;
pub use crate::portable::facts::{exists, is_directory, paths, read_file};

pub use crate::portable::glob_matches as matches;

use crate::name;
use crate::seam::May;

/// What this host is like, as far as the profile depends on it.
pub fn host(profile: &Profile) -> MacHost {
    MacHost { paths: paths(&paths_of_interest(profile)) }
}

/// The same for another mechanism: there is none.
pub fn fallback(_profile: &Profile, _why: &str) -> Option<MacHost> {
    None
}

/// Whether this process may do that; never when it does not exist.
pub fn may(path: &AbsPath, may: May) -> bool {
    match may {
        May::Read => accessible(path, libc::R_OK),
        May::Write => accessible(path, libc::W_OK),
        May::Execute => accessible(path, libc::X_OK),
        May::Own => owns(path),
        May::Remove => path.parent().is_some_and(|above| {
            const STICKY: u32 = 0o1000;
            let found = std::fs::symlink_metadata(name::path(&above));
            let sticky = found.is_ok_and(|found| found.mode() & STICKY != 0);
            accessible(&above, libc::W_OK | libc::X_OK) && (!sticky || owns(&above) || owns(path))
        }),
    }
}

/// Whether this process may do what the owner may, links not followed.
fn owns(path: &AbsPath) -> bool {
    let user = effective_user();
    let found = std::fs::symlink_metadata(name::path(path));
    found.is_ok_and(|found| user == 0 || found.uid() == user)
}

pub(crate) fn accessible(path: &AbsPath, mode: i32) -> bool {
    let Ok(path) = CString::new(path.as_bytes()) else { return false };
    // SAFETY: the string ends with a NUL and outlives the call.
    unsafe { libc::access(path.as_ptr(), mode) == 0 }
}

fn effective_user() -> u32 {
    // SAFETY: this call has no precondition.
    unsafe { libc::geteuid() }
}

/// The process of a thread: reports name processes.
pub fn process_of(process: i32) -> i32 {
    process
}

/// The name of a process; empty when it has ended.
pub fn name_of(process: i32) -> String {
    let mut buffer = [0u8; 64];
    let size = u32::try_from(buffer.len()).unwrap_or_default();
    // SAFETY: the buffer is as long as it is said to be.
    let length = unsafe { libc::proc_name(process, buffer.as_mut_ptr().cast(), size) };
    let length = usize::try_from(length).unwrap_or_default();
    String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
}
