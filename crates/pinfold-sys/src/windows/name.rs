//! Names as bytes, and as the standard library takes them. The bytes are UTF-8,
//! where a half of a surrogate pair that has no other half is three bytes (WTF-8).

use std::ffi::{OsStr, OsString};
use std::os::windows::ffi::OsStringExt;
use std::path::PathBuf;

use pinfold_policy::path::{AbsPath, PathError, PathStyle};
use pinfold_policy::plan::windows::wide;

/// How paths of this system are written.
pub const STYLE: PathStyle = PathStyle::Windows;

/// The bytes of a name, an argument or a variable.
pub fn bytes(text: &OsStr) -> &[u8] {
    text.as_encoded_bytes()
}

/// The reverse of [`bytes`].
pub fn os(bytes: &[u8]) -> OsString {
    OsString::from_wide(&wide::units(bytes))
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
