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
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{Appears, Watch};

use super::call;
use super::perform::Cover;
use super::raw::Errno;
use crate::seam::{Appeared, Handling};

const EVENTS: u32 = libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR | libc::IN_DONT_FOLLOW;

/// The watches of one run.
pub(crate) struct Watcher<'a> {
    pub(crate) inotify: i32,
    watches: &'a [Watch],
    /// For each inotify watch: the directory, and which watches wait there.
    waiting: BTreeMap<i32, (AbsPath, Vec<usize>)>,
    kept: Option<&'a AbsPath>,
    pub(crate) appeared: Vec<Appeared>,
}

/// How the watcher asks for something to be covered inside.
pub(crate) type CoverInside<'a> = &'a dyn Fn(&std::ffi::CStr, Cover) -> Result<(), Errno>;

impl<'a> Watcher<'a> {
    /// Starts watching. What is taken away goes to the directory `kept`.
    pub(crate) fn start(
        watches: &'a [Watch],
        kept: Option<&'a AbsPath>,
    ) -> Result<Watcher<'a>, Errno> {
        let inotify = if watches.is_empty() { -1 } else { call::inotify_init()? };
        let mut watcher =
            Watcher { inotify, watches, waiting: BTreeMap::new(), kept, appeared: Vec::new() };
        let mut directories: BTreeMap<&AbsPath, Vec<usize>> = BTreeMap::new();
        for (index, watch) in watches.iter().enumerate() {
            directories.entry(&watch.nearest).or_default().push(index);
        }
        for (directory, waiting) in directories {
            watcher.wait_in(directory.clone(), waiting)?;
        }
        Ok(watcher)
    }

    fn wait_in(&mut self, directory: AbsPath, mut waiting: Vec<usize>) -> Result<(), Errno> {
        let name = text(directory.as_bytes());
        let number = call::inotify_add_watch(self.inotify, &name, EVENTS)?;
        let entry = self.waiting.entry(number).or_insert((directory, Vec::new()));
        entry.1.append(&mut waiting);
        Ok(())
    }

    /// Handles everything that has appeared since the last time.
    pub(crate) fn handle(&mut self, cover: CoverInside<'_>) {
        for (number, name) in self.read_events() {
            let Some((directory, waiting)) = self.waiting.get(&number).cloned() else {
                continue;
            };
            for index in waiting {
                if next_name(&self.watches[index].path, &directory) == Some(name.as_slice()) {
                    self.step_down(index, &directory, cover);
                }
            }
        }
    }

    /// The next directory on the way to a watched path, or the path itself, is
    /// there now. Goes as far down as there is something.
    fn step_down(&mut self, index: usize, directory: &AbsPath, cover: CoverInside<'_>) {
        let watch = &self.watches[index];
        let mut directory = directory.clone();
        while let Some(name) = next_name(&watch.path, &directory) {
            let Ok(next) = directory.join(name) else {
                return;
            };
            let Ok(found) = fs::symlink_metadata(os_path(&next)) else {
                return;
            };
            if next == watch.path {
                self.appear(index, cover);
                return;
            }
            if !found.is_dir() || self.wait_in(next.clone(), vec![index]).is_err() {
                return;
            }
            directory = next;
        }
    }

    fn appear(&mut self, index: usize, cover: CoverInside<'_>) {
        let watch = &self.watches[index];
        let how = match watch.appears {
            Appears::Mask => Cover::Mask,
            Appears::Read | Appears::TakeAway => Cover::ReadOnly,
        };
        let covered = cover(&text(watch.path.as_bytes()), how);
        let handling = match (watch.appears, covered) {
            (Appears::TakeAway, _) => match self.take_away(&watch.path) {
                Ok(kept) => Handling::TakenAway { kept },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(error) => Handling::Failed(error.to_string()),
            },
            (_, Ok(())) => Handling::Covered,
            // It is gone again.
            (_, Err(Errno(libc::ENOENT))) => return,
            (_, Err(Errno(code))) => Handling::Failed(crate::seam::describe(code)),
        };
        self.appeared.push(Appeared { path: watch.path.clone(), handling });
    }

    /// Moves what is at `path` to where it is kept.
    fn take_away(&self, path: &AbsPath) -> std::io::Result<AbsPath> {
        let kept = self.kept.ok_or(std::io::ErrorKind::Unsupported)?;
        fs::create_dir_all(os_path(kept))?;
        let name = path.name().unwrap_or_default();
        let process = std::process::id();
        for number in 0..1000 {
            let mut to = format!("{process}-{number}-").into_bytes();
            to.extend_from_slice(name);
            let Ok(to) = kept.join(&to) else { break };
            if fs::symlink_metadata(os_path(&to)).is_ok() {
                continue;
            }
            move_tree(&os_path(path), &os_path(&to))?;
            return Ok(to);
        }
        Err(std::io::ErrorKind::AlreadyExists.into())
    }

    /// The events that are waiting: number of the watch and name in it. When
    /// the kernel dropped some, everything that is watched for is looked for.
    fn read_events(&self) -> Vec<(i32, Vec<u8>)> {
        let mut events = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(length) = call::read(self.inotify, &mut buffer) {
            if length == 0 {
                break;
            }
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((event, after)) = parse(rest) {
                rest = after;
                if event.mask & libc::IN_Q_OVERFLOW != 0 {
                    events.extend(self.all_names());
                } else {
                    events.push((event.watch, event.name));
                }
            }
        }
        events.dedup();
        events
    }

    fn all_names(&self) -> impl Iterator<Item = (i32, Vec<u8>)> {
        self.waiting.iter().flat_map(|(number, (directory, waiting))| {
            waiting.iter().filter_map(|index| {
                let name = next_name(&self.watches[*index].path, directory)?;
                Some((*number, name.to_vec()))
            })
        })
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        if self.inotify >= 0 {
            call::close(self.inotify);
        }
    }
}

struct Event {
    watch: i32,
    mask: u32,
    name: Vec<u8>,
}

/// Takes one `struct inotify_event` off the front of `bytes`.
fn parse(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let length = word(12)? as usize;
    let name = bytes.get(16..16 + length)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let event = Event { watch: word(0)? as i32, mask: word(4)?, name: name[..end].to_vec() };
    Some((event, &bytes[16 + length..]))
}

/// The first name of `path` below `directory`.
fn next_name<'p>(path: &'p AbsPath, directory: &AbsPath) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(directory)?;
    rest.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
}

/// Renames, or copies and removes when the target is on another file system.
fn move_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
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
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
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

fn os_path(path: &AbsPath) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}
