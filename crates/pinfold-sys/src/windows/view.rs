//! The file tree as a process of a sandbox sees it, where nothing is told of processes.

use pinfold_policy::path::AbsPath;

use crate::name;
use crate::portable::Never;
pub use crate::seam::Kind;

/// The root directory of a process: there is none to be had.
#[derive(Debug)]
pub struct View(Never);

impl View {
    /// The view of a process: there is none to be had.
    pub fn of(_process: i32) -> Option<View> {
        None
    }

    /// What an absolute name is.
    pub fn real(&self, _name: &[u8], _follows: bool) -> Option<AbsPath> {
        match self.0 {}
    }

    /// What a directory is.
    pub fn directory(&self, _name: &[u8]) -> Option<AbsPath> {
        match self.0 {}
    }

    /// Whether there is a link at a path.
    pub fn is_link(&self, _path: &AbsPath) -> bool {
        match self.0 {}
    }

    /// What is at a path.
    pub fn kind(&self, _path: &AbsPath) -> Option<Kind> {
        match self.0 {}
    }
}

/// What is at a path of this process, a link at its end not followed.
pub fn kind(path: &AbsPath) -> Option<Kind> {
    let found = std::fs::symlink_metadata(name::path(path)).ok()?;
    Some(if found.is_dir() { Kind::Directory } else { Kind::Other })
}

/// Whether a unix socket with a name that is no file is bound: other systems have none.
pub fn has_abstract_socket(_name: &[u8]) -> bool {
    false
}

/// Whether something listens at a TCP port of the network of a process: networks are
/// shared.
pub fn listens(_process: Option<i32>, _port: u16) -> bool {
    false
}
