//! What a command leaves behind when there is no first process to end it all:
//! the supervisor adopts it, and ends it.

use std::collections::BTreeSet;
use std::fs;

use super::call;
use super::raw::Errno;

/// A command that makes processes faster than they are ended is given up on.
const ROUNDS: usize = 1000;

/// The children that the supervisor had before the command.
pub(crate) struct Orphans {
    before: BTreeSet<i32>,
}

impl Orphans {
    /// From now on, orphaned descendants become children of this process.
    pub(crate) fn adopt() -> Result<Orphans, Errno> {
        call::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
        Ok(Orphans { before: children() })
    }

    /// Kills and reaps every child that came after.
    pub(crate) fn end(self) {
        for _ in 0..ROUNDS {
            let left: Vec<i32> = children().difference(&self.before).copied().collect();
            if left.is_empty() {
                break;
            }
            for process in &left {
                let _ = call::kill(*process, libc::SIGKILL);
            }
            for process in &left {
                let _ = call::wait4(*process, 0);
            }
        }
        let _ = call::prctl(libc::PR_SET_CHILD_SUBREAPER, 0);
    }
}

/// The children of this process; many kernels have no list of them.
fn children() -> BTreeSet<i32> {
    let own = call::getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| parent(*process) == Some(own)).collect()
}

fn parent(process: i32) -> Option<i32> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, can hold anything.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}
