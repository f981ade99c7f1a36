//! A copy of this process that ends the command when this process is killed. macOS has
//! nothing that would make a process end with its parent.

use std::os::fd::OwnedFd;

use super::call::{self, Told, Watched};

/// The copy; dropping it ends it.
pub(crate) struct Watchdog(Option<i32>);

impl Watchdog {
    /// Watches for the end of this process; `group` says that the command leads one. The
    /// command has not run yet.
    pub(crate) fn start(command: i32, group: bool) -> Watchdog {
        let parent = call::getpid();
        // SAFETY: `watch` calls functions of the `call` module that neither allocate nor lock.
        let copy = unsafe { call::fork(|| watch(parent, command, group)) };
        // Without one, the command is left alone by a killed pinfold, as the docs say.
        Watchdog(copy.ok())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            let _ = call::kill(process, libc::SIGKILL);
            let _ = call::wait4(process, 0);
        }
    }
}

fn watch(parent: i32, command: i32, group: bool) {
    // Whoever waits for the end of the command's output must not wait for this process,
    // and a terminal's signals are not for it.
    call::close_all();
    call::setpgid_self();
    let Ok(queue) = call::kqueue() else { return };
    if call::watch(&queue, Watched::Process(command)).is_err() {
        return;
    }
    let watched = call::watch(&queue, Watched::Process(parent)).is_ok();
    if watched && call::getppid() == parent && !outlives(&queue, (parent, command)) {
        return;
    }
    end_tree(command);
    if group {
        let _ = call::kill(-command, libc::SIGKILL);
    }
}

/// Ends a command and everything that it and its descendants have started and are still the
/// parents of. Each is stopped before its children are listed: it starts no more.
fn end_tree(command: i32) {
    const MOST: usize = 4096;
    let mut found = [0; MOST];
    found[0] = command;
    let (mut next, mut count) = (0, 1);
    while next < count {
        let process = found[next];
        next += 1;
        // A number that is none would mean this process's group.
        if process <= 0 {
            continue;
        }
        let _ = call::kill(process, libc::SIGSTOP);
        count += call::list_children(process, &mut found[count..]);
    }
    for process in found.iter().take(count).filter(|process| **process > 0) {
        let _ = call::kill(*process, libc::SIGKILL);
    }
}

/// Whether the command outlives this process's parent.
fn outlives(queue: &OwnedFd, (parent, command): (i32, i32)) -> bool {
    loop {
        match call::next(queue, None) {
            Told::Ended { process, .. } if process == parent => return true,
            Told::Ended { process, .. } if process == command => return false,
            _ => {}
        }
    }
}
