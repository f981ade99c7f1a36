//! Names in the forms that the kernel and the standard library take.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pinfold_policy::path::AbsPath;

/// A C string. Nothing that comes from a path, an argument or a variable can
/// hold a NUL; one that did would lose it.
pub(crate) fn text(bytes: impl AsRef<[u8]>) -> CString {
    let bytes = bytes.as_ref();
    // With room for the NUL at the end.
    let mut room = Vec::with_capacity(bytes.len() + 1);
    room.extend_from_slice(bytes);
    if room.contains(&0) {
        room.retain(|byte| *byte != 0);
    }
    CString::new(room).unwrap_or_default()
}

/// C strings for byte strings.
pub(crate) fn texts(all: &[Vec<u8>]) -> Vec<CString> {
    all.iter().map(|bytes| text(bytes.as_slice())).collect()
}

/// A path for system calls.
pub(crate) fn c_path(path: &AbsPath) -> CString {
    text(path.as_bytes())
}

/// A path for the standard library.
pub(crate) fn os_path(path: &AbsPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}
