//! Sockets with a name, for the server of sessions.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

pub use std::os::unix::net::{UnixListener as Listener, UnixStream as Stream};

/// Whether there is a socket of that name, used or not.
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Lets nobody but the user connect.
///
/// # Errors
/// When its mode cannot be changed.
pub fn make_private(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}
