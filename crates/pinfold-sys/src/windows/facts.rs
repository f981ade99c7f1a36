//! Facts about this host.

use std::fs::{File, OpenOptions};

use pinfold_policy::host::{WindowsHost, WindowsLevel};
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::paths_of_interest;
use pinfold_policy::plan::windows::list::{EVERYONE, List};
use pinfold_policy::plan::windows::wide;
use pinfold_policy::profile::{LevelChoice, Profile};

pub use crate::git::repository;
pub use crate::portable::facts::{exists, is_directory, paths, read_file};

pub use crate::portable::glob_matches as matches;

use super::{access, places, setup};
use crate::name;
use crate::seam::May;

/// What this host is like, as far as the profile depends on it.
pub fn host(profile: &Profile) -> WindowsHost {
    WindowsHost {
        level: level(profile.level),
        paths: paths(&paths_of_interest(profile)),
        glob_matches: matches(profile),
        world_writable: world_writable(),
    }
}

/// What is prepared, as far as the profile wants it.
fn level(choice: LevelChoice) -> WindowsLevel {
    let prepared = match choice {
        LevelChoice::RestrictedToken => None,
        LevelChoice::Automatic | LevelChoice::Account => setup::proxy_port(),
    };
    let account = |proxy_port| WindowsLevel::Account { proxy_port };
    prepared.map_or(WindowsLevel::RestrictedToken, account)
}

/// The roots of all drives and the directories in them that everyone may make files in: what
/// programs put there by hand, and some installers. Deeper ones are the setting of whoever made
/// them for everyone.
fn world_writable() -> Vec<AbsPath> {
    /// `FILE_ADD_FILE` and `FILE_ADD_SUBDIRECTORY`.
    const ADD: u32 = 0x6;
    /// Directories of one drive that are looked at.
    const MOST: usize = 256;
    let open = |path: &AbsPath| {
        let text = access::list_of(&wide::units(path.as_bytes())).unwrap_or_default();
        // Without a list everything is granted, as on drives that know none.
        text.contains("NO_ACCESS_CONTROL")
            || List::parse(&text).is_some_and(|list| list.grants(EVERYONE, ADD))
    };
    let mut found = Vec::new();
    for root in places::volumes() {
        let inside = std::fs::read_dir(name::path(&root)).into_iter().flatten().flatten();
        let directories = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let paths = directories
            .take(MOST)
            .filter_map(|entry| root.join(name::bytes(&entry.file_name())).ok());
        found.extend(paths.filter(open));
        found.extend(Some(root).filter(open));
    }
    found.sort();
    found
}

/// The same for another mechanism: there is none.
pub fn fallback(_profile: &Profile, _why: &str) -> Option<WindowsHost> {
    None
}

/// Whether this process may do that; never when it does not exist. Directories
/// cannot be opened to find out.
pub fn may(path: &AbsPath, may: May) -> bool {
    let place = name::path(path);
    match may {
        _ if is_directory(path) => true,
        May::Read | May::Execute => File::open(place).is_ok(),
        May::Write | May::Own | May::Remove => OpenOptions::new().append(true).open(place).is_ok(),
    }
}

/// The process of a thread: reports name processes.
pub fn process_of(process: i32) -> i32 {
    process
}

/// The name of a process: only reports of attempts ask, and there are none.
pub fn name_of(process: i32) -> String {
    format!("process {process}")
}
