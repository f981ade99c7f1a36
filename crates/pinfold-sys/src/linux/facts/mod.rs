//! Facts about the files of this host, gathered with few system calls: the
//! launch path goes through here.

mod directory;
mod glob;
mod listing;
mod paths;
mod sockets;

pub use crate::git::repository;

use std::collections::BTreeMap;

use pinfold_policy::host::{GlobMatch, LinuxHost, PathFact};
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{
    directories_to_list, paths_of_interest, wants_to_hear_of_sockets,
};
use pinfold_policy::profile::{MechanismChoice, Profile};

use crate::seam::May;

use super::call;
use super::name::text;
use super::raw::Errno;
use super::trial;

/// What this host is like, as far as the profile depends on it. Features of the
/// kernel are taken for granted: `run` says when one is missing.
pub fn host(profile: &Profile) -> LinuxHost {
    let root = AbsPath::root();
    let starts: Vec<&AbsPath> = [&root, &profile.directories.working]
        .into_iter()
        .chain(&profile.directories.home)
        .chain(&profile.directories.workspace_roots)
        .collect();
    let paths =
        paths::facts(&paths_of_interest(profile), &starts, Some(&profile.directories.working));
    let host = LinuxHost {
        uid: call::identity().0,
        namespaces: Ok(()),
        landlock_abi: 0,
        listings: BTreeMap::new(),
        seccomp: true,
        // Asked only where something is done by it that can be done otherwise.
        notification: !wants_to_hear_of_sockets(&profile.network)
            || trial::trial(0, trial::listener).is_ok(),
        glob_matches: glob::matches(profile),
        sockets: sockets::bound(profile),
        paths,
    };
    if profile.mechanism == MechanismChoice::Landlock { landlock(profile, host) } else { host }
}

/// The same for the mechanism that needs no namespaces, as they are closed here.
pub fn fallback(profile: &Profile, why: &str) -> Option<LinuxHost> {
    let mut host = host(profile);
    host.namespaces = Err(String::from(why));
    Some(landlock(profile, host))
}

/// Adds what only the `landlock` mechanism depends on.
fn landlock(profile: &Profile, mut host: LinuxHost) -> LinuxHost {
    host.landlock_abi = call::landlock_version();
    host.notification = trial::trial(0, trial::listener).is_ok();
    let listed = directories_to_list(profile, &host);
    host.listings = listed
        .into_iter()
        .map(|path| {
            let entries = listing::entries(&path);
            (path, entries)
        })
        .collect();
    host
}

/// Existing matches of the patterns of a profile, sorted.
pub fn matches(profile: &Profile) -> Vec<GlobMatch> {
    glob::matches(profile)
}

/// What is at these paths.
pub fn paths<'p>(paths: impl IntoIterator<Item = &'p AbsPath>) -> BTreeMap<AbsPath, PathFact> {
    paths::facts(&paths.into_iter().cloned().collect(), &[], None)
}

/// Reads a small file; nothing when there is none.
///
/// # Errors
/// The error number of the system.
pub fn read_file(path: &AbsPath) -> Result<Option<Vec<u8>>, i32> {
    read_whole(path, Content::Regular)
}

fn read_whole(path: &AbsPath, kind: Content) -> Result<Option<Vec<u8>>, i32> {
    const LARGEST: usize = 4 << 20;
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = match call::openat(libc::AT_FDCWD, &text(path.as_bytes()), flags) {
        Ok(file) => file,
        Err(Errno(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
        Err(error) => return Err(error.0),
    };
    let content = read_to_end(file, LARGEST, kind);
    call::close(file);
    content.map(Some).map_err(|error| error.0)
}

/// Whether a short read means the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Regular,
    MadeUp,
}

fn read_to_end(file: i32, largest: usize, kind: Content) -> Result<Vec<u8>, Errno> {
    let mut content = vec![0; 4096];
    let mut length = 0;
    loop {
        let room = content.len() - length;
        let read = call::read(file, &mut content[length..])?;
        length += read;
        // A regular file that does not fill the buffer ends there.
        if read == 0 || (kind == Content::Regular && read < room) {
            break;
        }
        if length > largest {
            return Err(Errno(libc::EFBIG));
        }
        if length == content.len() {
            content.resize(length * 2, 0);
        }
    }
    content.truncate(length);
    Ok(content)
}

/// Whether there is anything at a path, a dangling link included.
pub fn exists(path: &AbsPath) -> bool {
    call::mode_of(&text(path.as_bytes())).is_ok()
}

/// Whether there is a directory at a path, links followed.
pub fn is_directory(path: &AbsPath) -> bool {
    std::fs::metadata(super::name::os_path(path)).is_ok_and(|found| found.is_dir())
}

/// Whether this process may do that; never when it does not exist.
pub fn may(path: &AbsPath, may: May) -> bool {
    let accessible = |mode| call::accessible(&text(path.as_bytes()), mode);
    match may {
        May::Read => accessible(libc::R_OK),
        May::Write => accessible(libc::W_OK),
        May::Execute => accessible(libc::X_OK),
        May::Own => owns(path),
        May::Remove => path.parent().is_some_and(|above| {
            let sticky =
                call::mode_of(&text(above.as_bytes())).is_ok_and(|mode| mode & libc::S_ISVTX != 0);
            call::accessible(&text(above.as_bytes()), libc::W_OK | libc::X_OK)
                && (!sticky || owns(&above) || owns(path))
        }),
    }
}

/// Whether this process may do what the owner may, links not followed.
fn owns(path: &AbsPath) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (user, _) = call::identity();
    let found = std::fs::symlink_metadata(super::name::os_path(path));
    found.is_ok_and(|found| user == 0 || found.uid() == user)
}

/// The process of a thread.
pub fn process_of(thread: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.and_then(|group| group.trim().parse().ok()).unwrap_or(thread)
}

/// The name of a process; empty when it has ended.
pub fn name_of(process: i32) -> String {
    let name = std::fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}
