//! What is at the paths that a profile names.
//!
//! Most of them do not exist: names that are protected or denied just in case.
//! Where several lie in one directory, that is read once instead of asking for
//! each; where a directory is missing, nothing below it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use pinfold_policy::host::{PathFact, PathKind};
use pinfold_policy::path::AbsPath;

use super::super::call;
use super::super::name::{c_path, os_path};
use super::super::raw::Errno;
use super::directory::{Directory, Kind};

/// From so many names on, reading the directory is cheaper than asking.
const WORTH_READING: usize = 4;

/// Directories that do not fit into one piece are asked instead.
const PIECE: usize = 16 * 1024;

/// Finds out what is at `paths`. `starts` are directories with many of them;
/// `known` is one that is certain to exist and free of links.
pub(super) fn facts(
    paths: &BTreeSet<AbsPath>,
    starts: &[&AbsPath],
    known: Option<&AbsPath>,
) -> BTreeMap<AbsPath, PathFact> {
    let mut found = Found { list: Vec::with_capacity(paths.len()), buffer: Vec::new() };
    let mut grouped: BTreeMap<&AbsPath, Vec<&AbsPath>> = BTreeMap::new();
    for path in paths {
        if known == Some(path) {
            let fact = PathFact { kind: PathKind::Directory, real: path.clone() };
            found.list.push((path.clone(), fact));
            continue;
        }
        let start = starts
            .iter()
            .filter(|start| path != **start && path.starts_with(start))
            .max_by_key(|start| start.as_bytes().len());
        match start {
            Some(start) => grouped.entry(start).or_default().push(path),
            None => found.list.push((path.clone(), alone(path))),
        }
    }
    for (start, below) in grouped {
        // Only the root and what is known are certain to lead nowhere else.
        let certain = start.is_root() || known == Some(start);
        if certain || real(start).as_ref() == Some(start) {
            in_directory(start, &below, &mut found);
        } else {
            found.list.extend(below.iter().map(|path| ((*path).clone(), alone(path))));
        }
    }
    // Nearly in order, so that this takes one look at each.
    found.list.into_iter().collect()
}

/// Facts as they are found, and room to read directories in.
struct Found {
    list: Vec<(AbsPath, PathFact)>,
    buffer: Vec<u8>,
}

/// What is asked for under one name of a directory, sorted.
type Named<'p> = (&'p [u8], &'p [&'p AbsPath]);

/// Facts for `paths`, sorted and all below the existing directory `directory`.
fn in_directory(directory: &AbsPath, paths: &[&AbsPath], found: &mut Found) {
    let names: Vec<Named<'_>> = paths
        .chunk_by(|left, right| first_name(left, directory) == first_name(right, directory))
        .filter_map(|paths| Some((first_name(paths.first()?, directory)?, paths)))
        .collect();
    let listing = match names.len() {
        WORTH_READING.. => listing(directory, &names, &mut found.buffer),
        _ => Ok(None),
    };
    let Ok(listing) = listing else {
        // A link, or nothing there, or no permission: the slow way knows.
        found.list.extend(paths.iter().map(|path| ((*path).clone(), alone(path))));
        return;
    };
    for (index, (name, paths)) in names.iter().enumerate() {
        let Ok(path) = directory.join(name) else { continue };
        let kind = match listing.as_ref().map(|listing| listing[index]) {
            Some(None) => Err(Errno(libc::ENOENT)),
            None | Some(Some(Kind::Unknown)) => kind_of(&path),
            Some(Some(kind)) => Ok(kind),
        };
        of_name(&path, kind, (directory, paths), found);
    }
}

/// Facts for one name of a directory and everything below it.
fn of_name(
    path: &AbsPath,
    kind: Result<Kind, Errno>,
    (directory, paths): (&AbsPath, &[&AbsPath]),
    found: &mut Found,
) {
    let missing = || PathKind::Missing { nearest: directory.clone() };
    let same = |kind: PathKind, path: &AbsPath| PathFact { kind, real: path.clone() };
    // What is sorted begins with the name itself.
    let here = paths.first().is_some_and(|asked| *asked == path);
    let below = &paths[usize::from(here)..];
    let fact = match kind {
        Err(Errno(libc::ENOENT)) => {
            let all = paths.iter().map(|asked| ((*asked).clone(), same(missing(), asked)));
            found.list.extend(all);
            return;
        }
        Err(_) => {
            let all =
                below.iter().map(|asked| ((*asked).clone(), same(PathKind::Unreadable, asked)));
            found.list.extend(all);
            same(PathKind::Unreadable, path)
        }
        Ok(Kind::Directory) => {
            if !below.is_empty() {
                in_directory(path, below, found);
            }
            same(PathKind::Directory, path)
        }
        Ok(Kind::Link) => {
            found.list.extend(below.iter().map(|path| ((*path).clone(), alone(path))));
            same(link(path), path)
        }
        Ok(kind) => {
            // Nothing can be below a file; it would have to be replaced first.
            let nothing = below.iter().map(|asked| ((*asked).clone(), same(missing(), asked)));
            found.list.extend(nothing);
            same(plain(kind), path)
        }
    };
    if here {
        found.list.push((path.clone(), fact));
    }
}

/// What the names are that are asked for in a directory, when one piece holds all of
/// it; nothing for a name that is not there.
fn listing(
    directory: &AbsPath,
    names: &[Named<'_>],
    buffer: &mut Vec<u8>,
) -> Result<Option<Vec<Option<Kind>>>, Errno> {
    let open = Directory::open(&c_path(directory))?;
    if buffer.is_empty() {
        *buffer = vec![0; PIECE];
    }
    let mut listing = vec![None; names.len()];
    let mut keep = |name: &[u8], kind: Kind| {
        if let Ok(index) = names.binary_search_by(|(asked, _)| (*asked).cmp(name)) {
            listing[index] = Some(kind);
        }
    };
    open.read(buffer, &mut keep)?;
    let more = open.read(buffer, &mut keep)?;
    Ok((!more).then_some(listing))
}

/// The fact for one path, whatever links are on the way.
fn alone(path: &AbsPath) -> PathFact {
    let kind = kind_of(path);
    match kind {
        Ok(kind) => {
            let real = match path.parent() {
                Some(parent) => real(&parent)
                    .and_then(|parent| parent.join(path.name().unwrap_or_default()).ok())
                    .unwrap_or_else(|| path.clone()),
                None => path.clone(),
            };
            let kind = match kind {
                Kind::Directory => PathKind::Directory,
                Kind::Link => link(path),
                kind => plain(kind),
            };
            PathFact { kind, real }
        }
        Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => missing(path),
        Err(_) => PathFact { kind: PathKind::Unreadable, real: path.clone() },
    }
}

fn missing(path: &AbsPath) -> PathFact {
    let existing = path.ancestors().skip(1).find_map(|above| {
        let real = real(&above)?;
        fs::metadata(os_path(&real)).is_ok_and(|found| found.is_dir()).then_some((above, real))
    });
    let (above, nearest) = existing.unwrap_or((AbsPath::root(), AbsPath::root()));
    let rest = path.strip_prefix(&above).unwrap_or_default();
    let real = nearest.join(rest).unwrap_or_else(|_| path.clone());
    PathFact { kind: PathKind::Missing { nearest }, real }
}

fn kind_of(path: &AbsPath) -> Result<Kind, Errno> {
    let mode = call::mode_of(&c_path(path))?;
    Ok(match mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFREG => Kind::File,
        libc::S_IFLNK => Kind::Link,
        libc::S_IFSOCK => Kind::Socket,
        _ => Kind::Other,
    })
}

fn plain(kind: Kind) -> PathKind {
    match kind {
        Kind::File => PathKind::File,
        Kind::Socket => PathKind::Socket,
        _ => PathKind::Other,
    }
}

/// A link, and where it leads in the end.
fn link(path: &AbsPath) -> PathKind {
    let directory = fs::metadata(os_path(path)).is_ok_and(|found| found.is_dir());
    PathKind::Link { target: real(path), directory }
}

/// The path without links; a path without any costs one system call.
fn real(path: &AbsPath) -> Option<AbsPath> {
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_DIRECTORY;
    match call::openat2_no_links(libc::AT_FDCWD, &c_path(path), flags) {
        Ok(descriptor) => {
            call::close(descriptor);
            Some(path.clone())
        }
        Err(_) => {
            let real = fs::canonicalize(os_path(path)).ok()?;
            AbsPath::posix(real.as_os_str().as_bytes()).ok()
        }
    }
}

/// The first name of `path` below `directory`.
fn first_name<'p>(path: &'p AbsPath, directory: &AbsPath) -> Option<&'p [u8]> {
    path.strip_prefix(directory)?.split(|byte| *byte == b'/').next()
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
