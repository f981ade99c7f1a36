//! The entries of the directories that Landlock rules cannot give as a whole.

use std::collections::BTreeMap;

use pinfold_policy::host::EntryKind;
use pinfold_policy::path::AbsPath;

use super::super::call;
use super::directory::{Directory, Kind};

/// The entries of a directory; none when it cannot be read, and then none of
/// them is given.
pub(super) fn entries(path: &AbsPath) -> BTreeMap<Vec<u8>, EntryKind> {
    let mut entries = BTreeMap::new();
    let Ok(directory) = Directory::open(&super::super::name::c_path(path)) else { return entries };
    let mut buffer = vec![0; 32 * 1024];
    let mut each = |name: &[u8], kind: Kind| {
        let kind = match kind {
            Kind::Directory => Some(EntryKind::Directory),
            Kind::Link => Some(EntryKind::Link),
            Kind::File | Kind::Socket | Kind::Other => Some(EntryKind::File),
            Kind::Unknown => path.join(name).ok().and_then(|entry| asked(&entry)),
        };
        if let Some(kind) = kind {
            entries.insert(name.to_vec(), kind);
        }
    };
    while directory.read(&mut buffer, &mut each).is_ok_and(|more| more) {}
    entries
}

fn asked(entry: &AbsPath) -> Option<EntryKind> {
    let mode = call::mode_of(&super::super::name::c_path(entry)).ok()?;
    Some(match mode & libc::S_IFMT {
        libc::S_IFDIR => EntryKind::Directory,
        libc::S_IFLNK => EntryKind::Link,
        _ => EntryKind::File,
    })
}
