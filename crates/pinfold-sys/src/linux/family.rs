//! Which processes descend from which, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
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

/// How the descendants of a command are known that have left its session and
/// outlived their parents: by a resource limit, which children inherit and which
/// nothing has heeded since Linux 2.4.25 (`RLIMIT_LOCKS` of `getrlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

impl Mark {
    /// From `asm-generic/resource.h`; C libraries disagree about the type.
    pub(crate) const LIMIT: u32 = 10;

    /// Another than any mark before, also of other processes that run now.
    pub(crate) fn fresh() -> Mark {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Relaxed);
        Mark(u64::from(std::process::id()) << 32 | u64::from(number))
    }

    pub(crate) fn is_on(self, process: i32) -> bool {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"));
        let hard = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        hard.is_some_and(|hard| hard.parse() == Ok(self.0))
    }
}

/// What a command is known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// Its process; nothing once that has been reaped.
    pub(crate) process: Option<i32>,
    /// What tells its orphans from others; nothing when all are its.
    pub(crate) mark: Option<Mark>,
    /// The first process of its sandbox, which orphans become children of.
    pub(crate) first: i32,
}

/// A command's process and its descendants, each held so that its number cannot come
/// to mean another.
struct Tree {
    root: Command,
    held: BTreeMap<i32, OwnedFd>,
}

impl Tree {
    /// Adds descendants that are not held yet; whether there were any. Members of
    /// the root's session count, and orphans with its mark.
    fn grow(&mut self) -> bool {
        let everyone = everyone();
        let before = self.held.len();
        loop {
            let count = self.held.len();
            for kin in &everyone {
                if self.held.contains_key(&kin.process) {
                    continue;
                }
                let Command { process, mark, first } = self.root;
                let related = process
                    .is_some_and(|root| [kin.process, kin.session].contains(&root))
                    || self.held.contains_key(&kin.parent)
                    || (kin.parent == first && mark.is_none_or(|mark| mark.is_on(kin.process)));
                if related {
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

    /// Kills them until nobody is left.
    fn end(&mut self) {
        for _ in 0..ROUNDS {
            let grown = self.grow();
            self.send(libc::SIGKILL);
            if !grown && self.over() {
                return;
            }
            std::thread::sleep(SLICE / 10);
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

/// Kills everything that descends from the first process of a session.
pub(crate) fn end_below(first: i32) {
    let mut tree =
        Tree { root: Command { process: None, mark: None, first }, held: BTreeMap::new() };
    tree.end();
}

/// Asks a command and its descendants to end, and kills what has not after `grace`.
pub(crate) fn terminate(root: Command, grace: Duration) {
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
    tree.end();
}
