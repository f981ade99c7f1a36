//! What is at a path, by the standard library.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use pinfold_policy::host::{PathFact, PathKind};
use pinfold_policy::path::AbsPath;

use crate::name;

/// The largest file that is read whole, in bytes.
const LARGEST: u64 = 4 << 20;

/// What is at these paths.
pub fn paths<'p>(paths: impl IntoIterator<Item = &'p AbsPath>) -> BTreeMap<AbsPath, PathFact> {
    paths.into_iter().map(|path| (path.clone(), fact(path))).collect()
}

/// Reads a small file; nothing when there is none.
///
/// # Errors
/// The error number of the system.
pub fn read_file(path: &AbsPath) -> Result<Option<Vec<u8>>, i32> {
    let number = |error: std::io::Error| error.raw_os_error().unwrap_or_default();
    let place = name::path(path);
    match fs::metadata(&place) {
        Ok(found) if found.is_file() => {}
        // A pipe would be waited for.
        Ok(_) => return Ok(Some(Vec::new())),
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(number(error)),
    }
    let mut content = Vec::new();
    fs::File::open(&place)
        .and_then(|file| file.take(LARGEST).read_to_end(&mut content))
        .map_err(number)?;
    Ok(Some(content))
}

/// Whether there is anything at a path, a dangling link included.
pub fn exists(path: &AbsPath) -> bool {
    fs::symlink_metadata(name::path(path)).is_ok()
}

/// Whether there is a directory at a path, links followed.
pub fn is_directory(path: &AbsPath) -> bool {
    fs::metadata(name::path(path)).is_ok_and(|found| found.is_dir())
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn fact(path: &AbsPath) -> PathFact {
    let found = match fs::symlink_metadata(name::path(path)) {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return missing(path),
        Err(_) => return PathFact { kind: PathKind::Unreadable, real: path.clone() },
    };
    let above = path.parent().and_then(|above| real(&above));
    let below = |above: AbsPath| above.join(path.name().unwrap_or_default()).ok();
    let here = above.and_then(below).unwrap_or_else(|| path.clone());
    let kind = match found.file_type() {
        kind if kind.is_symlink() => {
            PathKind::Link { target: real(path), directory: is_directory(path) }
        }
        kind if kind.is_dir() => PathKind::Directory,
        kind if kind.is_file() => PathKind::File,
        _ => PathKind::Other,
    };
    PathFact { kind, real: here }
}

fn missing(path: &AbsPath) -> PathFact {
    let existing = path.ancestors().skip(1).find_map(|above| {
        let real = real(&above).filter(is_directory)?;
        Some((above, real))
    });
    let Some((above, nearest)) = existing else {
        let root = path.ancestors().last().unwrap_or_else(|| path.clone());
        return PathFact { kind: PathKind::Missing { nearest: root }, real: path.clone() };
    };
    let rest = path.strip_prefix(&above).unwrap_or_default();
    let real = nearest.join(rest).unwrap_or_else(|_| path.clone());
    PathFact { kind: PathKind::Missing { nearest }, real }
}

/// The path without links.
pub(crate) fn real(path: &AbsPath) -> Option<AbsPath> {
    let real = fs::canonicalize(name::path(path)).ok()?;
    name::absolute(name::bytes(real.as_os_str())).ok()
}
