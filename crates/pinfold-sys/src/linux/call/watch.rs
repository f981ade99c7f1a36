//! Waiting: signals, events, changes of directories.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::super::raw::{arguments, call};
use super::{Descriptor, Outcome, flag, numbers, openat2_no_links, path, pointer, read, reads};

/// Sets the blocked signals and returns those that were blocked before.
pub(crate) fn sigprocmask(signals: u64) -> u64 {
    let mut before = 0u64;
    let given = [
        libc::SIG_SETMASK as usize,
        pointer(&signals),
        std::ptr::from_mut(&mut before) as usize,
        size_of::<u64>(),
    ];
    // SAFETY: both sets are as large as the call is told.
    let _ = unsafe { call(libc::SYS_rt_sigprocmask, arguments(given)) };
    before
}

/// Waits for one of `signals`, which must be blocked. Bounded by `timeout`.
pub(crate) fn sigtimedwait(signals: u64, timeout: Option<libc::timespec>) -> Outcome<i32> {
    let timeout = timeout.as_ref().map_or(0, pointer);
    let given = [pointer(&signals), 0, timeout, size_of::<u64>()];
    reads(libc::SYS_rt_sigtimedwait, arguments(given)).map(|signal| signal as i32)
}

/// `signalfd4(2)`.
pub(crate) fn signalfd(signals: u64) -> Outcome<Descriptor> {
    signalfd_with(signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
}

/// `signalfd4(2)` whose readers wait.
pub(crate) fn signalfd_waiting(signals: u64) -> Outcome<Descriptor> {
    signalfd_with(signals, libc::SFD_CLOEXEC)
}

fn signalfd_with(signals: u64, flags: i32) -> Outcome<Descriptor> {
    let given = [usize::MAX, pointer(&signals), size_of::<u64>(), flag(flags)];
    reads(libc::SYS_signalfd4, arguments(given)).map(|fd| fd as Descriptor)
}

/// Waits until one of `polled` is ready; nothing means without bound.
pub(crate) fn ppoll(
    polled: &mut [libc::pollfd],
    timeout: Option<libc::timespec>,
) -> Outcome<usize> {
    // The kernel writes the time that is left into its argument.
    let mut timeout = timeout;
    let left = timeout.as_mut().map_or(0, |value| std::ptr::from_mut(value) as usize);
    let given = [polled.as_mut_ptr() as usize, polled.len(), left, 0, size_of::<u64>()];
    // SAFETY: the kernel writes only into the slice and the time.
    unsafe { call(libc::SYS_ppoll, arguments(given)) }
}

/// A signal that was sent to the supervisor.
#[derive(Clone, Copy)]
pub(crate) struct Signal {
    pub(crate) number: i32,
    /// Whether the kernel (a terminal) sent it rather than a process.
    pub(crate) from_kernel: bool,
    /// For [`DIRECTORY_CHANGED`]: of which directory.
    pub(crate) descriptor: i32,
}

/// Takes one signal from a `signalfd(2)`.
pub(crate) fn read_signal(descriptor: Descriptor) -> Option<Signal> {
    // `struct signalfd_siginfo`: number, error, code, process, user, descriptor.
    let mut record = [0u8; 128];
    if read(descriptor, &mut record) != Ok(record.len()) {
        return None;
    }
    let word = |at: usize| {
        let bytes = record.get(at..).and_then(|rest| rest.first_chunk());
        i32::from_ne_bytes(*bytes.unwrap_or(&[0; 4]))
    };
    Some(Signal { number: word(0), from_kernel: word(8) == SI_KERNEL, descriptor: word(20) })
}

/// The `si_code` of a signal that the kernel sent.
const SI_KERNEL: i32 = 0x80;

/// Whether a descriptor is open on a terminal.
pub(crate) fn is_terminal(descriptor: Descriptor) -> bool {
    let mut group = 0i32;
    let given =
        [flag(descriptor), libc::TIOCGPGRP as usize, std::ptr::from_mut(&mut group) as usize];
    // SAFETY: the kernel writes one integer.
    unsafe { call(libc::SYS_ioctl, arguments(given)) }.is_ok()
}

/// `eventfd2(2)`.
pub(crate) fn eventfd() -> Outcome<Descriptor> {
    let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
    numbers(libc::SYS_eventfd2, [0, flags]).map(|fd| fd as Descriptor)
}

/// `inotify_init1(2)`.
pub(crate) fn inotify_init() -> Outcome<Descriptor> {
    let flags = (libc::IN_CLOEXEC | libc::IN_NONBLOCK) as usize;
    numbers(libc::SYS_inotify_init1, [flags]).map(|fd| fd as Descriptor)
}

/// `inotify_add_watch(2)` for names that appear in a directory: the number of
/// the watch.
pub(crate) fn inotify_add_watch(inotify: Descriptor, name: &CStr) -> Outcome<i32> {
    let events = libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR | libc::IN_DONT_FOLLOW;
    let given = [flag(inotify), path(name), events as usize];
    reads(libc::SYS_inotify_add_watch, arguments(given)).map(|watch| watch as i32)
}

/// `inotify_rm_watch(2)`.
pub(crate) fn inotify_rm_watch(inotify: Descriptor, watch: i32) -> Outcome<()> {
    numbers(libc::SYS_inotify_rm_watch, [flag(inotify), flag(watch)]).map(drop)
}

/// Opens a directory, to read or to watch it.
pub(crate) fn open_directory(name: &CStr) -> Outcome<Descriptor> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    openat2_no_links(libc::AT_FDCWD, name, flags)
}

/// The signal that tells of a changed directory; the C libraries leave it alone.
pub(crate) const DIRECTORY_CHANGED: i32 = 44;

/// Asks for [`DIRECTORY_CHANGED`] whenever a name appears in a directory:
/// `F_SETSIG` and `F_NOTIFY` of `fcntl(2)`.
pub(crate) fn notify_by_signal(directory: Descriptor) -> Outcome<()> {
    const F_SETSIG: usize = 10;
    const F_NOTIFY: usize = 1026;
    const DN_CREATE: usize = 0x4;
    const DN_RENAME: usize = 0x10;
    const DN_MULTISHOT: usize = 0x8000_0000;
    numbers(libc::SYS_fcntl, [flag(directory), F_SETSIG, flag(DIRECTORY_CHANGED)])?;
    let events = DN_CREATE | DN_RENAME | DN_MULTISHOT;
    numbers(libc::SYS_fcntl, [flag(directory), F_NOTIFY, events]).map(drop)
}

/// Wakes everybody who waits on a futex.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let given = [pointer(word), libc::FUTEX_WAKE as usize, i32::MAX as usize];
    let _ = reads(libc::SYS_futex, arguments(given));
}

/// Sleeps for as long as `word` is `expected`.
pub(crate) fn futex_wait_while(word: &AtomicU32, expected: u32) {
    while word.load(SeqCst) == expected {
        let given = [pointer(word), libc::FUTEX_WAIT as usize, expected as usize, 0];
        let _ = reads(libc::SYS_futex, arguments(given));
    }
}

/// Sleeps until `word` is no longer `expected`, at most for `timeout`.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: libc::timespec) {
    let given = [pointer(word), libc::FUTEX_WAIT as usize, expected as usize, pointer(&timeout)];
    let _ = reads(libc::SYS_futex, arguments(given));
}
