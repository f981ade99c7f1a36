//! The file tree as a process of a sandbox sees it: the host's own, since Seatbelt hides
//! nothing of it and shows nothing else.

use std::path::{Path, PathBuf};

use pinfold_policy::path::AbsPath;

use crate::name;
pub use crate::seam::Kind;

/// The root directory of every process.
#[derive(Debug)]
pub struct View(());

impl View {
    /// The view of a process, which is that of all.
    pub fn of(_process: i32) -> Option<View> {
        Some(View(()))
    }

    /// What an absolute name is, links resolved, whether there is anything or not.
    pub fn real(&self, name: &[u8], follows: bool) -> Option<AbsPath> {
        let path = place(name);
        if follows && let Ok(found) = path.canonicalize() {
            return absolute(&found);
        }
        let (above, last) = (path.parent()?, path.file_name()?);
        self.directory(name::bytes(above.as_os_str()))?.join(name::bytes(last)).ok()
    }

    /// What a directory is; below one that does not exist, names are what they say.
    pub fn directory(&self, name: &[u8]) -> Option<AbsPath> {
        let path = place(name);
        let found = path.ancestors().find_map(|above| {
            let real = above.canonicalize().ok()?;
            Some(real.join(path.strip_prefix(above).ok()?))
        });
        absolute(&found?)
    }

    /// Whether there is a link at a path.
    pub fn is_link(&self, path: &AbsPath) -> bool {
        name::path(path).is_symlink()
    }

    /// What is at a path, a link at its end not followed. A socket is no socket to a
    /// process that was refused it, and no other is asked about.
    pub fn kind(&self, path: &AbsPath) -> Option<Kind> {
        kind(path).map(|kind| if kind == Kind::Socket { Kind::Other } else { kind })
    }
}

/// What is at a path of this process, a link at its end not followed.
pub fn kind(path: &AbsPath) -> Option<Kind> {
    use std::os::unix::fs::FileTypeExt;
    let found = std::fs::symlink_metadata(name::path(path)).ok()?.file_type();
    Some(match found {
        found if found.is_dir() => Kind::Directory,
        found if found.is_socket() => Kind::Socket,
        _ => Kind::Other,
    })
}

/// Whether a unix socket with a name that is no file is bound: this system has none.
pub fn has_abstract_socket(_name: &[u8]) -> bool {
    false
}

/// Whether something listens at a TCP port of the network of a process: the network is
/// shared.
pub fn listens(_process: Option<i32>, _port: u16) -> bool {
    false
}

fn place(name: &[u8]) -> PathBuf {
    PathBuf::from(name::os(name))
}

fn absolute(path: &Path) -> Option<AbsPath> {
    name::absolute(name::bytes(path.as_os_str())).ok()
}
