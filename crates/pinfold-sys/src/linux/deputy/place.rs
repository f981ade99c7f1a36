//! Where a path of a process leads: an open directory, and a name in it. From then
//! on nothing that the process does can make it lead anywhere else.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use pinfold_policy::path::AbsPath;

use super::super::call;
use super::super::name::text;
use super::super::raw::Errno;
use super::request::{Named, Start};

/// From `linux/openat2.h`. What `/proc` shows of open files is this process's own
/// when this process looks.
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;

const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    name: CString,
    /// Both, as they are in truth.
    pub(super) path: AbsPath,
    /// Whether the path said that it is a directory.
    pub(super) slash: bool,
}

impl Place {
    /// Where a path leads, a link at its end not followed; nothing when the kernel has
    /// to say what is wrong with it, or the path ends with `.` or `..`.
    pub(super) fn of(process: i32, named: &Named, resolve: u64) -> Option<Place> {
        let start =
            if is_absolute(&named.path) { None } else { Some(start(process, named.start)?) };
        Place::from(start, &named.path, resolve)
    }

    fn from(start: Option<OwnedFd>, path: &[u8], resolve: u64) -> Option<Place> {
        let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
        let (path, slashes) = path.split_at(end);
        let from = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (above, last) = path.split_at(from);
        if matches!(last, b"." | b"..") {
            return None;
        }
        let directory = match (start, above) {
            (Some(start), b"") => start,
            (start, above) => opened(start.as_ref(), above, resolve)?,
        };
        let path = real(&directory)?.join(last).ok()?;
        Some(Place { directory, name: text(last), path, slash: !slashes.is_empty() })
    }

    /// Where the link leads that is here.
    pub(super) fn followed(self) -> Option<Place> {
        let mut target = vec![0; libc::PATH_MAX as usize];
        let length = call::readlinkat(self.directory.as_raw_fd(), &self.name, &mut target).ok()?;
        target.truncate(length);
        let start = (!is_absolute(&target)).then_some(self.directory);
        let place = Place::from(start, &target, 0)?;
        Some(Place { slash: place.slash || self.slash, ..place })
    }

    /// The type of what is here; links are links.
    pub(super) fn kind(&self) -> Result<u32, Errno> {
        call::kind_at(self.directory.as_raw_fd(), &self.name)
    }

    /// For calls that take a directory and a name.
    pub(super) fn at(&self) -> (i32, &CStr) {
        (self.directory.as_raw_fd(), &self.name)
    }
}

/// The directory that a path leads to, and its path in truth.
pub(super) fn directory(
    process: i32,
    named: &Named,
    (flags, resolve): (i32, u64),
) -> Option<(OwnedFd, AbsPath)> {
    let start = if is_absolute(&named.path) { None } else { Some(start(process, named.start)?) };
    let flags = (DIRECTORY | flags & libc::O_NOFOLLOW, resolve | RESOLVE_NO_MAGICLINKS);
    let from = start.as_ref().map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd);
    let directory = call::openat2_resolving(from, &text(named.path.as_slice()), flags).ok()?;
    let directory = owned(directory);
    let path = real(&directory)?;
    Some((directory, path))
}

fn is_absolute(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
}

fn start(process: i32, start: Start) -> Option<OwnedFd> {
    let name = match start {
        Start::Working => format!("/proc/{process}/cwd"),
        Start::Open(number) => format!("/proc/{process}/fd/{number}"),
    };
    call::openat(libc::AT_FDCWD, &text(name), DIRECTORY).ok().map(owned)
}

fn opened(start: Option<&OwnedFd>, path: &[u8], resolve: u64) -> Option<OwnedFd> {
    let from = start.map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd);
    let how = (DIRECTORY, resolve | RESOLVE_NO_MAGICLINKS);
    call::openat2_resolving(from, &text(path), how).ok().map(owned)
}

/// What a directory is called in truth, from the root that this process has as well.
/// Wherever processes are shown, this process would find itself.
fn real(directory: &OwnedFd) -> Option<AbsPath> {
    if call::is_of_processes(directory.as_raw_fd()) != Ok(false) {
        return None;
    }
    let name = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
    AbsPath::posix(name.into_os_string().into_vec()).ok()
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the callers have just been given this descriptor by the kernel and
    // keep no other record of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
