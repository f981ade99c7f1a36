//! What is done with something that appears where it must not be.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::Appears;

use super::call;
use super::name::text;
use super::perform::{Cover, Covered};
use super::raw::Errno;
use crate::seam::{Handling, describe};

/// How something is covered inside.
pub(crate) type CoverInside<'a> = &'a dyn Fn(&CStr, Cover) -> Result<Covered, Errno>;

/// Keeps what is taken away in a directory; nothing is destroyed.
pub(crate) struct Keeper<'a> {
    pub(crate) directory: Option<&'a AbsPath>,
}

impl Keeper<'_> {
    /// Covers what is at `path` and takes it away if it must not be there at
    /// all. Nothing when there was nothing to do.
    pub(crate) fn handle(
        &self,
        path: &AbsPath,
        appears: Appears,
        cover: CoverInside<'_>,
    ) -> Option<Handling> {
        let how = match appears {
            Appears::Mask => Cover::Mask,
            Appears::Read | Appears::TakeAway => Cover::ReadOnly,
        };
        let covered = cover(&text(path.as_bytes()), how);
        match (appears, covered) {
            (Appears::TakeAway, _) => match self.take_away(path) {
                Ok(kept) => Some(Handling::TakenAway { kept }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => Some(Handling::Failed(error.to_string())),
            },
            (_, Ok(Covered::Before) | Err(Errno(libc::ENOENT))) => None,
            (_, Ok(Covered::Now)) => Some(Handling::Covered),
            (_, Err(Errno(code))) => Some(Handling::Failed(describe(code))),
        }
    }

    /// Moves what is at `path` to where it is kept. The directory it is in is
    /// opened without following links: the command must not lead this process,
    /// which has the user's rights, to something else.
    fn take_away(&self, path: &AbsPath) -> io::Result<AbsPath> {
        let kept = self.directory.ok_or(io::ErrorKind::Unsupported)?;
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        fs::create_dir_all(OsStr::from_bytes(kept.as_bytes()))?;
        let parent = call::open_directory(&text(parent.as_bytes()))
            .map_err(|error| io::Error::from_raw_os_error(error.0))?;
        let from = PathBuf::from(format!("/proc/self/fd/{parent}")).join(OsStr::from_bytes(name));
        let moved = move_to_free_name(&from, kept, name);
        call::close(parent);
        moved
    }
}

fn move_to_free_name(from: &Path, kept: &AbsPath, name: &[u8]) -> io::Result<AbsPath> {
    let process = std::process::id();
    for number in 0..1000 {
        let free = [format!("{process}-{number}-").as_bytes(), name].concat();
        let Ok(to) = kept.join(&free) else { break };
        let os = Path::new(OsStr::from_bytes(to.as_bytes()));
        if fs::symlink_metadata(os).is_ok() {
            continue;
        }
        move_tree(from, os)?;
        return Ok(to);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Renames, or copies and removes when the target is on another file system.
fn move_tree(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_tree(from, to)?;
            if fs::symlink_metadata(from)?.is_dir() {
                fs::remove_dir_all(from)
            } else {
                fs::remove_file(from)
            }
        }
        outcome => outcome,
    }
}

/// Copies directories, files and links; other kinds are left out.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_file() {
        return fs::copy(from, to).map(drop);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
