//! What the standard library says about files in another way on every system.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::windows::io::AsRawHandle;
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::Command;

use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, GetFileInformationByHandle,
};
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW};

use super::call;

/// Lets nobody but the user open the file that these options make: the directories
/// of the user are nobody else's, and files inherit that.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// The same for directories.
pub fn private_directory(builder: &mut DirBuilder) -> &mut DirBuilder {
    builder
}

/// Whether a name leads to this open file.
///
/// # Errors
/// When the open file cannot be looked at.
pub fn leads_to(name: &Path, file: &File) -> io::Result<bool> {
    let own = identity(file)?;
    Ok(File::open(name).and_then(|now| identity(&now)).is_ok_and(|now| now == own))
}

/// The volume and the number of a file.
fn identity(file: &File) -> io::Result<(u32, u32, u32)> {
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and the structure outlives the call.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &raw mut found) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((found.dwVolumeSerialNumber, found.nFileIndexHigh, found.nFileIndexLow))
}

/// Keeps what is typed at this terminal, such as Ctrl-C, and its end away from a program, and
/// the streams of this process: whoever waits for their end would wait for the program.
pub fn detached(program: &mut Command) -> &mut Command {
    call::keep_standard();
    program.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW)
}
