//! Looks after patterns: whatever comes to match while the command runs is
//! covered, or taken away, like a watched path.
//!
//! Every directory that could hold a match is watched by inotify, new ones
//! included. That is done while the command already runs, so that a large tree
//! does not delay it; what matches at the start is masked by the plan.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use pinfold_policy::glob::Matcher;
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{Appears, Pattern};

use super::inotify::Inotify;
use super::keeper::{CoverInside, Keeper};
use super::name::{c_path, os_path};
use super::raw::Errno;
use super::watch::Told;
use crate::seam::{Appeared, Handling};

/// Directories deeper than this are not entered.
const DEEPEST: usize = 512;

/// The patterns of one run.
pub(crate) struct PatternWatcher {
    inotify: Inotify,
    patterns: Vec<(Matcher, Pattern)>,
    directories: BTreeMap<i32, AbsPath>,
    /// Whether the kernel's limit on watches has been met, and said.
    full: bool,
}

/// Where what is found goes.
pub(crate) struct Found<'a> {
    pub(crate) keeper: &'a Keeper<'a>,
    pub(crate) cover: CoverInside<'a>,
    pub(crate) appeared: &'a mut Vec<Appeared>,
}

impl PatternWatcher {
    /// Prepares; nothing is watched before [`PatternWatcher::begin`].
    pub(crate) fn new(patterns: &[Pattern], told: Told) -> Result<PatternWatcher, Errno> {
        let inotify = match told {
            _ if patterns.is_empty() => Inotify::Nothing,
            Told::BySignals => Inotify::own()?,
            Told::ByDescriptor => Inotify::shared()?,
        };
        let patterns =
            patterns.iter().map(|pattern| (Matcher::new(&pattern.glob), pattern.clone())).collect();
        Ok(PatternWatcher { inotify, patterns, directories: BTreeMap::new(), full: false })
    }

    /// Ready for reading when something has appeared; -1 for none.
    pub(crate) fn descriptor(&self) -> i32 {
        self.inotify.descriptor()
    }

    /// Watches every directory that could hold a match.
    pub(crate) fn begin(&mut self, found: &mut Found<'_>) {
        self.look_through(found, New::No);
    }

    /// Goes through every directory that could hold a match.
    fn look_through(&mut self, found: &mut Found<'_>, new: New) {
        let mut bases: Vec<AbsPath> =
            self.patterns.iter().map(|(matcher, _)| matcher.base().clone()).collect();
        bases.sort();
        bases.dedup();
        for base in bases {
            self.enter(&base, DEEPEST, found, new);
        }
    }

    /// Handles everything that has appeared since the last time.
    pub(crate) fn handle(&mut self, found: &mut Found<'_>) {
        let events = self.inotify.events();
        // More has happened than the kernel kept: anything may be new.
        if events.iter().any(|(number, _)| *number < 0) {
            self.look_through(found, New::Yes);
        }
        for (number, name) in events {
            let Some(path) = self.directories.get(&number).and_then(|dir| dir.join(&name).ok())
            else {
                continue;
            };
            self.look_at(&path, DEEPEST, found);
        }
    }

    /// Handles one path that may be new and, when it is a directory, everything below it.
    fn look_at(&mut self, path: &AbsPath, depth: usize, found: &mut Found<'_>) {
        let matched = self.patterns.iter().find(|(matcher, _)| matcher.matches(path));
        if let Some((_, pattern)) = matched {
            let was_there = pattern.existing.binary_search(path).is_ok();
            let appears = match pattern.appears {
                // Only the host can have replaced it.
                Appears::TakeAway if was_there => Appears::Read,
                appears => appears,
            };
            handle_match(path, appears, found);
            return;
        }
        if fs::symlink_metadata(os_path(path)).is_ok_and(|found| found.is_dir()) {
            self.enter(path, depth.saturating_sub(1), found, New::Yes);
        }
    }

    /// Watches a directory and those below. What is in a new one is new as well.
    fn enter(&mut self, directory: &AbsPath, depth: usize, found: &mut Found<'_>, new: New) {
        if depth == 0 || !self.may_hold(directory) || !self.watch(directory, found) {
            return;
        }
        let Ok(entries) = fs::read_dir(os_path(directory)) else { return };
        for entry in entries.flatten() {
            let Ok(path) = directory.join(entry.file_name().as_bytes()) else { continue };
            match new {
                New::Yes => self.look_at(&path, depth, found),
                New::No if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    self.enter(&path, depth - 1, found, New::No);
                }
                New::No => {}
            }
        }
    }

    /// Whether anything in a directory can match, within the patterns' depths.
    fn may_hold(&self, directory: &AbsPath) -> bool {
        self.patterns.iter().any(|(matcher, pattern)| {
            let Some(relative) = directory.strip_prefix(matcher.base()) else { return false };
            let names: Vec<&[u8]> =
                relative.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
            pattern.depth.is_none_or(|depth| names.len() < depth as usize)
                && matcher.may_match_below(&names)
        })
    }

    fn watch(&mut self, directory: &AbsPath, found: &mut Found<'_>) -> bool {
        match self.inotify.add(&c_path(directory)) {
            Ok(number) => {
                self.directories.insert(number, directory.clone());
                true
            }
            Err(Errno(libc::ENOSPC)) => {
                if !self.full {
                    self.full = true;
                    found.appeared.push(Appeared {
                        path: directory.clone(),
                        handling: Handling::Failed(String::from(
                            "no more directories can be watched; raise fs.inotify.max_user_watches",
                        )),
                    });
                }
                false
            }
            Err(_) => false,
        }
    }
}

/// Whether what is in a directory was there before the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum New {
    Yes,
    No,
}

fn handle_match(path: &AbsPath, appears: Appears, found: &mut Found<'_>) {
    if let Some(handling) = found.keeper.handle(path, appears, found.cover) {
        found.appeared.push(Appeared { path: path.clone(), handling });
    }
}
