//! Looks after protected and denied paths that do not exist yet, or that the
//! host may replace, while the command runs.
//!
//! A mount cannot cover a name that is not there. Instead the nearest existing
//! directory is watched, and what appears is covered at once and, if nothing
//! was there before, taken away. Between the appearance and the cover there is
//! a window, a fraction of a millisecond on an idle machine, in which the
//! command can use what it made; that is stated in `SECURITY.md`.
//!
//! Whoever made it, nothing is destroyed: what is taken away is kept.

use std::collections::BTreeMap;
use std::fs;

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::Watch;

use super::call;
use super::inotify::Inotify;
use super::keeper::{CoverInside, Keeper};
use super::name::{c_path, os_path};
use super::raw::Errno;
use crate::seam::{Appeared, Handling};

/// How the kernel tells that a directory has changed.
///
/// dnotify, the older interface, is used first: to end an inotify costs the
/// exiting process some 15 ms of waiting for the kernel (measured), to end a
/// dnotify costs nothing.
enum Notices {
    /// A signal with the descriptor of the directory.
    Signals,
    Inotify(Inotify),
}

/// How a watcher may be told of changes.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// By signals, which a process of our own can spare.
    BySignals,
    /// By a descriptor, beside other threads.
    ByDescriptor,
}

/// A directory that something is waited for in.
struct Directory {
    path: AbsPath,
    /// Which watches.
    waiting: Vec<usize>,
}

/// The watches of one run.
pub(crate) struct Watcher<'a> {
    watches: &'a [Watch],
    notices: Notices,
    /// By the descriptor of the directory, or the number of the inotify watch.
    directories: BTreeMap<i32, Directory>,
    /// What was covered last at each watch: device and inode.
    covered: Vec<Option<(u64, u64)>>,
    keeper: &'a Keeper<'a>,
    pub(crate) appeared: Vec<Appeared>,
}

impl<'a> Watcher<'a> {
    /// Starts watching.
    pub(crate) fn start(
        watches: &'a [Watch],
        keeper: &'a Keeper<'a>,
        told: Told,
    ) -> Result<Watcher<'a>, Errno> {
        let notices = match told {
            Told::BySignals => Notices::Signals,
            Told::ByDescriptor if watches.is_empty() => Notices::Inotify(Inotify::Nothing),
            Told::ByDescriptor => Notices::Inotify(Inotify::shared()?),
        };
        let mut watcher = Watcher {
            watches,
            notices,
            directories: BTreeMap::new(),
            covered: vec![None; watches.len()],
            keeper,
            appeared: Vec::new(),
        };
        let mut directories: BTreeMap<&AbsPath, Vec<usize>> = BTreeMap::new();
        for (index, watch) in watches.iter().enumerate() {
            directories.entry(&watch.nearest).or_default().push(index);
        }
        for (directory, waiting) in directories {
            watcher.wait_in(directory, waiting)?;
        }
        Ok(watcher)
    }

    /// Ready for reading when a directory has changed; -1 when signals tell.
    pub(crate) fn descriptor(&self) -> i32 {
        match &self.notices {
            Notices::Signals => -1,
            Notices::Inotify(inotify) => inotify.descriptor(),
        }
    }

    fn wait_in(&mut self, directory: &AbsPath, mut waiting: Vec<usize>) -> Result<(), Errno> {
        if let Some(known) = self.directories.values_mut().find(|known| known.path == *directory) {
            known.waiting.append(&mut waiting);
            return Ok(());
        }
        let name = c_path(directory);
        let number = match &mut self.notices {
            Notices::Inotify(inotify) => inotify.add(&name)?,
            Notices::Signals => {
                let descriptor = call::open_directory(&name)?;
                match call::notify_by_signal(descriptor) {
                    Ok(()) => descriptor,
                    Err(_) if self.directories.is_empty() => {
                        // A kernel without dnotify.
                        call::close(descriptor);
                        let mut inotify = Inotify::own()?;
                        let number = inotify.add(&name)?;
                        self.notices = Notices::Inotify(inotify);
                        number
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        self.directories.insert(number, Directory { path: directory.clone(), waiting });
        Ok(())
    }

    /// Looks at everything that is waited for in the directories that changed;
    /// at everything when it is not known which did.
    pub(crate) fn handle(&mut self, changed: &[i32], cover: CoverInside<'_>) {
        let mut numbers: Vec<i32> = match &mut self.notices {
            Notices::Inotify(inotify) => {
                let _ = inotify.events();
                self.directories.keys().copied().collect()
            }
            // The queue of signals was full: any directory may have changed.
            Notices::Signals if changed.contains(&-1) => self.directories.keys().copied().collect(),
            Notices::Signals => changed.to_vec(),
        };
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let Some(directory) = self.directories.get(&number) else { continue };
            let (path, waiting) = (directory.path.clone(), directory.waiting.clone());
            for index in waiting {
                self.step_down(index, &path, cover);
            }
        }
    }

    /// Goes from `directory` as far down towards a watched path as there is
    /// something, and handles the path itself when it is there.
    fn step_down(&mut self, index: usize, directory: &AbsPath, cover: CoverInside<'_>) {
        let watch = &self.watches[index];
        let mut directory = directory.clone();
        while let Some(name) = next_name(&watch.path, &directory) {
            let Ok(next) = directory.join(name) else { return };
            let Ok(found) = fs::symlink_metadata(os_path(&next)) else { return };
            if next == watch.path {
                self.appear(index, identity(&found), cover);
                return;
            }
            if !found.is_dir() || self.wait_in(&next, vec![index]).is_err() {
                return;
            }
            directory = next;
        }
    }

    fn appear(&mut self, index: usize, identity: (u64, u64), cover: CoverInside<'_>) {
        let watch = &self.watches[index];
        if self.covered[index] == Some(identity) {
            return;
        }
        let handling = self.keeper.handle(&watch.path, watch.appears, cover);
        if !matches!(handling, Some(Handling::TakenAway { .. } | Handling::Failed(_))) {
            self.covered[index] = Some(identity);
        }
        let path = watch.path.clone();
        self.appeared.extend(handling.map(|handling| Appeared { path, handling }));
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        if matches!(self.notices, Notices::Signals) {
            self.directories.keys().for_each(|number| call::close(*number));
        }
    }
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

/// The first name of `path` below `directory`.
fn next_name<'p>(path: &'p AbsPath, directory: &AbsPath) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(directory)?;
    rest.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
}
