//! Where this system keeps what, and what it calls that.

use pinfold_policy::path::AbsPath;
use windows_sys::Win32::Storage::FileSystem::GetLogicalDrives;
use windows_sys::Win32::System::SystemInformation::GetSystemWindowsDirectoryW;

use super::name;

/// The variable with the user's home.
pub const HOME: &str = "USERPROFILE";

/// The variable with the place for configuration, and where that is below the home
/// when it is not set.
pub const CONFIGURATION: (&str, &str) = ("APPDATA", "AppData/Roaming");

/// The same for what outlives a run.
pub const STATE: (&str, &str) = ("LOCALAPPDATA", "AppData/Local");

/// The variable with the directory for temporary files.
pub const TEMPORARY: &str = "TEMP";

/// The variable with the user's shell, and the shell when it is not set.
pub const SHELL: (&str, &str) = ("ComSpec", "cmd.exe");

/// Whether there is a directory `/tmp` for everyone.
pub const SLASH_TMP: bool = false;

/// The directory of the administrator's own configuration. The variables of the
/// process are not asked: whoever starts it could choose another.
pub fn administration() -> Option<AbsPath> {
    system_volume()?.join("ProgramData/pinfold").ok()
}

/// The roots of all drives, that of the system first.
pub fn volumes() -> Vec<AbsPath> {
    // SAFETY: this call has no precondition.
    let drives = unsafe { GetLogicalDrives() };
    let system = system_volume();
    let letters = (b'A'..=b'Z').enumerate();
    let there = letters.filter(|(bit, _)| drives & (1 << bit) != 0);
    let roots = there.filter_map(|(_, letter)| name::absolute(&[letter, b':', b'\\']).ok());
    let others = roots.filter(|root| Some(root) != system.as_ref());
    system.iter().cloned().chain(others).collect()
}

/// The root of the drive that the system is on.
pub(crate) fn system_volume() -> Option<AbsPath> {
    let mut buffer = [0u16; 260];
    let size = u32::try_from(buffer.len()).ok()?;
    // SAFETY: the buffer is as long as it is said to be.
    let length = unsafe { GetSystemWindowsDirectoryW(buffer.as_mut_ptr(), size) };
    let units = buffer.get(..usize::try_from(length).ok()?)?;
    let directory = name::absolute(String::from_utf16(units).ok()?.as_bytes()).ok()?;
    directory.ancestors().last()
}

/// Whether two names are one variable.
pub fn same_variable(one: &[u8], other: &[u8]) -> bool {
    one.eq_ignore_ascii_case(other)
}
