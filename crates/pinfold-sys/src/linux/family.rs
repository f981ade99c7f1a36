//! Which processes descend from which, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::call;

/// How often ended processes are looked for while they get time to end.
const SLICE: Duration = Duration::from_millis(20);

/// A command that makes processes faster than they are ended is given up on.
const ROUNDS: usize = 1000;

/// What `/proc/PID/stat` says about a process.
#[derive(Clone, Copy)]
pub(crate) struct Kin {
    pub(crate) process: i32,
    pub(crate) parent: i32,
    session: i32,
}

/// Every process that this one can see.
pub(crate) fn everyone() -> Vec<Kin> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter_map(kin).collect()
}

fn kin(process: i32) -> Option<Kin> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, can hold anything.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(1).map(str::parse);
    let (parent, _, session) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
    Some(Kin { process, parent, session })
}

/// The number of the process that a descriptor stands for; none once it has been
/// reaped.
pub(crate) fn number_of(pidfd: &OwnedFd) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (number > 0).then_some(number)
}

/// A process and its descendants, each held so that its number cannot come to
/// mean another.
struct Tree {
    root: i32,
    held: BTreeMap<i32, OwnedFd>,
}

impl Tree {
    /// Adds descendants that are not held yet; whether there were any. Members of
    /// the root's session count, also those whose parents have ended.
    fn grow(&mut self) -> bool {
        let everyone = everyone();
        let before = self.held.len();
        loop {
            let count = self.held.len();
            for kin in &everyone {
                let related = kin.process == self.root
                    || kin.session == self.root
                    || self.held.contains_key(&kin.parent);
                if related && !self.held.contains_key(&kin.process) {
                    self.hold(kin.process);
                }
            }
            if self.held.len() == count {
                return count > before;
            }
        }
    }

    fn hold(&mut self, process: i32) {
        if let Ok(descriptor) = call::pidfd_open(process) {
            // SAFETY: the kernel has just made this descriptor for this process.
            let held = unsafe { OwnedFd::from_raw_fd(descriptor) };
            self.held.insert(process, held);
        }
    }

    fn send(&self, signal: i32) {
        for held in self.held.values() {
            let _ = call::pidfd_send_signal(held.as_raw_fd(), signal);
        }
    }

    /// Whether all that are held have ended.
    fn over(&self) -> bool {
        self.held.values().all(|held| {
            let events = libc::POLLIN;
            let mut polled = [libc::pollfd { fd: held.as_raw_fd(), events, revents: 0 }];
            let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            matches!(call::ppoll(&mut polled, Some(now)), Ok(1))
        })
    }
}

/// Asks a process and its descendants to end, and kills what has not after
/// `grace`. A descendant that has left the session and outlived its parents
/// before this was called is not found.
pub(crate) fn terminate(root: i32, grace: Duration) {
    let mut tree = Tree { root, held: BTreeMap::new() };
    tree.grow();
    tree.send(libc::SIGTERM);
    let began = Instant::now();
    while began.elapsed() < grace {
        tree.grow();
        if tree.over() {
            return;
        }
        std::thread::sleep(SLICE.min(grace));
    }
    for _ in 0..ROUNDS {
        let grown = tree.grow();
        tree.send(libc::SIGKILL);
        if !grown && tree.over() {
            return;
        }
        std::thread::sleep(SLICE / 10);
    }
}
