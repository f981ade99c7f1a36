//! Names as bytes, and as the standard library takes them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use pinfold_policy::path::{AbsPath, PathError, PathStyle};

/// How paths of this system are written.
pub const STYLE: PathStyle = PathStyle::Posix;

/// The bytes of a name, an argument or a variable.
pub fn bytes(text: &OsStr) -> &[u8] {
    text.as_bytes()
}

/// The reverse of [`bytes`].
pub fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// A path for the standard library.
pub fn path(path: &AbsPath) -> PathBuf {
    PathBuf::from(os(path.as_bytes()))
}

/// An absolute path of this system.
///
/// # Errors
/// When it is relative, or cannot be a path.
pub fn absolute(bytes: &[u8]) -> Result<AbsPath, PathError> {
    AbsPath::parse(STYLE, bytes)
}
