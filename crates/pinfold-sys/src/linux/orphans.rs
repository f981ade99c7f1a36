//! What a command leaves behind when there is no first process to end it all:
//! the supervisor adopts it, and ends it.

use std::collections::BTreeSet;

use super::call;
use super::family;
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

impl Orphans {
    /// Lets what came after live, and adopts no more.
    pub(crate) fn release(self) {
        let _ = call::prctl(libc::PR_SET_CHILD_SUBREAPER, 0);
    }
}

/// The children of this process; many kernels have no list of them.
fn children() -> BTreeSet<i32> {
    let own = call::getpid();
    let children = family::everyone().into_iter().filter(|kin| kin.parent == own);
    children.map(|kin| kin.process).collect()
}
