//! What a server that runs many commands would soon be short of.

use std::sync::OnceLock;

use super::call;

/// From `asm-generic/resource.h`; C libraries disagree about the type.
pub(crate) const RLIMIT_NOFILE: u32 = 7;

static BEFORE: OnceLock<[u64; 2]> = OnceLock::new();

/// Lets this process open as many descriptors as it may at all: the soft limit of
/// `RLIMIT_NOFILE`, often 1,024, becomes the hard one (`setrlimit(2)`). The commands
/// of sandboxes still get what it was.
///
/// A server needs several for every command that runs.
pub fn open_as_many_as_allowed() {
    let Ok([soft, hard]) = call::getrlimit(RLIMIT_NOFILE) else { return };
    if soft < hard && call::setrlimit(RLIMIT_NOFILE, hard, hard).is_ok() {
        let _ = BEFORE.set([soft, hard]);
    }
}

/// The limit of commands, where this process has another one.
pub(crate) fn descriptors_of_commands() -> Option<[u64; 2]> {
    BEFORE.get().copied()
}
