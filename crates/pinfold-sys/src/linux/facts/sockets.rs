//! Sockets of the host's running services that have a name in the file system.
//!
//! A read-only mount does not keep anyone from connecting to a socket, so those
//! that exist are masked.

use std::collections::BTreeSet;

use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{Access, Confinement, Profile};

use super::super::call;

/// Names of bound sockets that the command could see, sorted.
pub(super) fn bound(profile: &Profile) -> Vec<AbsPath> {
    if profile.confinement == Confinement::Unconfined {
        return Vec::new();
    }
    let Ok(Some(text)) = AbsPath::posix("/proc/net/unix")
        .map_or(Ok(None), |p| super::read_whole(&p, super::Content::MadeUp))
    else {
        return Vec::new();
    };
    let mut found = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n').skip(1) {
        // Num RefCount Protocol Flags Type St Inode Path; only the path can hold
        // a space.
        let path = line.splitn(8, |byte| *byte == b' ').nth(7).unwrap_or_default();
        let path = path.trim_ascii_start();
        if let Ok(path) = AbsPath::posix(path) {
            let visible = pinfold_policy::decide::access(&profile.filesystem, &path).0;
            if visible != Access::Deny && call::mode_of(&super::super::name::c_path(&path)).is_ok()
            {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}
