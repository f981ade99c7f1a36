//! Tries one thing in a process of its own, which ends at once.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use super::call::{self, Depth, MountAttributes, Stack};
use super::raw::Errno;

/// What the process does in its namespaces. It makes no allocation and no call
/// into the C library.
pub(super) type Act = fn() -> Result<(), Errno>;

/// The program of a filter that lets everything through.
const OPEN: [libc::sock_filter; 1] = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: ALLOW }];
const ALLOW: u32 = 0x7fff_0000;

struct Trial {
    act: Act,
    /// The error number, 0 for none.
    error: AtomicI32,
}

/// Starts a process in new namespaces that does this and ends.
pub(super) fn trial(namespaces: i32, act: Act) -> Result<(), Errno> {
    let trial = Trial { act, error: AtomicI32::new(0) };
    let stack = Stack::map()?;
    let argument = std::ptr::from_ref(&trial).cast_mut().cast();
    let flags = namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut descriptor = -1;
    // SAFETY: only this process uses the stack, and it has ended before stack and trial go away.
    let process = unsafe {
        call::clone_sharing_memory(start, stack.lower(), flags, argument, &mut descriptor)
    }?;
    let waited = call::wait4(process, 0);
    call::close(descriptor);
    waited?;
    match trial.error.load(SeqCst) {
        0 => Ok(()),
        error => Err(Errno(error)),
    }
}

extern "C" fn start(argument: *mut c_void) -> i32 {
    // SAFETY: the parent passes a trial and waits for this process.
    let trial = unsafe { &*argument.cast::<Trial>() };
    if let Err(error) = (trial.act)() {
        trial.error.store(error.0, SeqCst);
    }
    call::exit(0)
}

/// Only the namespaces themselves.
pub(super) fn nothing() -> Result<(), Errno> {
    Ok(())
}

/// Makes every mount read-only at once.
pub(super) fn read_only_mounts() -> Result<(), Errno> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let attributes = MountAttributes {
        set: MOUNT_ATTR_RDONLY,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    call::mount_setattr(libc::AT_FDCWD, c"/", Depth::Recursive, attributes)
}

/// Mounts a `/proc` for the new process namespace.
pub(super) fn own_proc() -> Result<(), Errno> {
    let attributes =
        MountAttributes { set: 0, clear: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    call::mount_setattr(libc::AT_FDCWD, c"/", Depth::Recursive, attributes)?;
    call::mount(c"proc", c"/proc", c"proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, c"")
}

/// Installs a filter that lets everything through.
pub(super) fn open_filter() -> Result<(), Errno> {
    call::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    call::seccomp_filter(&OPEN)
}

/// Installs the same, and listens to it.
pub(super) fn listener() -> Result<(), Errno> {
    call::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    call::seccomp_listener(&OPEN).map(drop)
}
