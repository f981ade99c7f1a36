//! One safe function per function of the system, named after it.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

use libc::{c_int, kevent, sigset_t};

/// The error number of the system.
pub(crate) type Number = i32;
type Outcome<T> = Result<T, Number>;

unsafe extern "C" {
    /// `spawn.h`, since macOS 10.7; the libc crate leaves it out.
    fn posix_spawn_file_actions_addinherit_np(
        actions: *mut libc::posix_spawn_file_actions_t,
        descriptor: c_int,
    ) -> c_int;
}

fn last_error() -> Number {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The result of a function that returns -1 when it fails.
fn checked(result: c_int) -> Outcome<c_int> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

/// The result of a function that returns its error.
fn done(result: c_int) -> Outcome<()> {
    if result == 0 { Ok(()) } else { Err(result) }
}

/// `getpid(2)`.
pub(crate) fn getpid() -> i32 {
    // SAFETY: this call has no precondition.
    unsafe { libc::getpid() }
}

/// `kill(2)`.
pub(crate) fn kill(process: i32, signal: i32) -> Outcome<()> {
    // SAFETY: this call has no precondition.
    checked(unsafe { libc::kill(process, signal) }).map(drop)
}

/// Whether a descriptor is open: `fcntl(2)`.
pub(crate) fn is_open(descriptor: i32) -> bool {
    // SAFETY: asking changes nothing, whatever the number is.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) >= 0 }
}

/// How a child ended, or that it has stopped, and what it used.
pub(crate) struct Waited {
    pub(crate) process: i32,
    pub(crate) status: i32,
    pub(crate) usage: libc::rusage,
}

/// `wait4(2)`.
pub(crate) fn wait4(process: i32, options: i32) -> Outcome<Waited> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes one integer and one `rusage`.
    let process = unsafe { libc::wait4(process, &mut status, options, usage.as_mut_ptr()) };
    // SAFETY: all zero is a value of it, and so is what the kernel wrote.
    let usage = unsafe { usage.assume_init() };
    checked(process).map(|process| Waited { process, status, usage })
}

/// The children of a process: `proc_listchildpids` of `libproc.h`. Those beyond a
/// thousand are found when these have ended.
pub(crate) fn proc_listchildpids(process: i32) -> Vec<i32> {
    let mut found = vec![0i32; 1024];
    let count = list_children(process, &mut found);
    found.truncate(count);
    found.retain(|process| *process > 0);
    found
}

/// The same into a place that is there already; how many there are. Safe in a copy of this
/// process.
pub(crate) fn list_children(process: i32, found: &mut [i32]) -> usize {
    let size = c_int::try_from(size_of_val(found)).unwrap_or_default();
    // SAFETY: the buffer is as long as it is said to be.
    let count = unsafe { libc::proc_listchildpids(process, found.as_mut_ptr().cast(), size) };
    usize::try_from(count).unwrap_or_default().min(found.len())
}

/// A set with every signal.
fn every_signal() -> sigset_t {
    let mut set = MaybeUninit::<sigset_t>::zeroed();
    // SAFETY: the function writes one set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: all zero is a value of it, and so is what was written.
    unsafe { set.assume_init() }
}

/// A set of these signals.
pub(crate) fn set_of(signals: &[i32]) -> sigset_t {
    let mut set = MaybeUninit::<sigset_t>::zeroed();
    // SAFETY: the function writes one set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: all zero is a value of it, and so is what was written.
    let mut set = unsafe { set.assume_init() };
    for signal in signals {
        // SAFETY: the set is one; a signal that is none is refused.
        unsafe { libc::sigaddset(&mut set, *signal) };
    }
    set
}

/// Blocks every signal for this thread; those that were blocked before.
pub(crate) fn block_signals() -> sigset_t {
    let every = every_signal();
    let mut before = MaybeUninit::<sigset_t>::zeroed();
    // SAFETY: the function reads one set and writes one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &every, before.as_mut_ptr()) };
    // SAFETY: all zero is a value of it, and so is what was written.
    unsafe { before.assume_init() }
}

/// Blocks these signals, and no others, for this thread.
pub(crate) fn set_mask(set: &sigset_t) {
    // SAFETY: the function reads one set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, null_mut()) };
}

/// Takes one of these signals, which must be blocked, if one is pending.
pub(crate) fn take_pending(signals: &[i32]) -> Option<i32> {
    let mut pending = set_of(&[]);
    // SAFETY: the function writes one set.
    unsafe { libc::sigpending(&mut pending) };
    // SAFETY: the set is one, and the numbers are those of signals.
    let is_pending = |signal: &&i32| unsafe { libc::sigismember(&pending, **signal) == 1 };
    let signal = signals.iter().find(is_pending)?;
    let (one, mut taken) = (set_of(&[*signal]), 0);
    // SAFETY: the function reads one set and writes one integer; the signal is pending, so
    // it does not wait.
    unsafe { libc::sigwait(&one, &mut taken) };
    Some(*signal)
}

/// `kqueue(2)`.
pub(crate) fn kqueue() -> Outcome<OwnedFd> {
    // SAFETY: this call has no precondition.
    let queue = checked(unsafe { libc::kqueue() })?;
    // SAFETY: it has just been made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(queue) })
}

/// What a queue tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Forks, programs, and the end, of a process.
    Process(i32),
    /// A signal to this process, blocked or not.
    Signal(i32),
}

/// What it has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Forked(i32),
    /// It runs another program now, and may have forked.
    Executed(i32),
    /// It has ended, after it had begun to run another program or not.
    Ended {
        process: i32,
        executed: bool,
    },
    Signal(i32),
    Nothing,
}

fn event(watched: Watched) -> kevent {
    let (ident, filter, fflags) = match watched {
        Watched::Process(process) => {
            (process, libc::EVFILT_PROC, libc::NOTE_FORK | libc::NOTE_EXEC | libc::NOTE_EXIT)
        }
        Watched::Signal(signal) => (signal, libc::EVFILT_SIGNAL, 0),
    };
    let ident = usize::try_from(ident).unwrap_or_default();
    kevent { ident, filter, flags: libc::EV_ADD, fflags, data: 0, udata: null_mut() }
}

/// Has a queue tell of something: `kevent(2)`. ESRCH when the process has ended.
pub(crate) fn watch(queue: &OwnedFd, watched: Watched) -> Outcome<()> {
    let change = event(watched);
    // SAFETY: the kernel reads one event and writes none.
    let result = unsafe { libc::kevent(queue.as_raw_fd(), &change, 1, null_mut(), 0, null()) };
    checked(result).map(drop)
}

/// Waits for the next event, at most for so long: `kevent(2)`.
pub(crate) fn next(queue: &OwnedFd, timeout: Option<Duration>) -> Told {
    let timeout = timeout.map(|time| libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(null(), std::ptr::from_ref);
    let mut told = event(Watched::Signal(0));
    // SAFETY: the kernel reads the time and writes at most one event.
    let count = unsafe { libc::kevent(queue.as_raw_fd(), null(), 0, &mut told, 1, timeout) };
    let number = i32::try_from(told.ident).unwrap_or_default();
    match (count, told.filter) {
        (1, libc::EVFILT_SIGNAL) => Told::Signal(number),
        (1, _) if told.fflags & libc::NOTE_EXIT != 0 => {
            Told::Ended { process: number, executed: told.fflags & libc::NOTE_EXEC != 0 }
        }
        (1, _) if told.fflags & libc::NOTE_EXEC != 0 => Told::Executed(number),
        (1, _) => Told::Forked(number),
        _ => Told::Nothing,
    }
}

/// A program to start.
pub(crate) struct Start<'s> {
    pub(crate) program: &'s CStr,
    pub(crate) arguments: &'s [CString],
    pub(crate) environment: &'s [CString],
    pub(crate) directory: &'s CStr,
    /// Whether it leads a process group of its own.
    pub(crate) new_group: bool,
    /// The signals that it starts with blocked.
    pub(crate) mask: sigset_t,
}

/// `posix_spawn(2)`: the standard descriptors as they are here, every other one closed, and
/// no signal ignored that this process ignores for itself. It waits for SIGCONT.
pub(crate) fn posix_spawn(start: &Start<'_>) -> Outcome<i32> {
    let actions = Actions::new(start.directory)?;
    let attributes = Attributes::new(start)?;
    let pointers = |texts: &[CString]| {
        let pointers = texts.iter().map(|text| text.as_ptr().cast_mut());
        pointers.chain([null_mut()]).collect::<Vec<*mut libc::c_char>>()
    };
    let (arguments, environment) = (pointers(start.arguments), pointers(start.environment));
    let mut process = 0;
    // SAFETY: both vectors end with a null pointer and lead to texts that outlive the call, as
    // do the attributes and the actions, which were initialised.
    done(unsafe {
        libc::posix_spawn(
            &mut process,
            start.program.as_ptr(),
            &actions.0,
            &attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    })?;
    Ok(process)
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(directory: &CStr) -> Outcome<Actions> {
        let mut actions = Actions(null_mut());
        // SAFETY: the function writes what it is given the place of.
        done(unsafe { libc::posix_spawn_file_actions_init(&mut actions.0) })?;
        for descriptor in (0..3).filter(|descriptor| is_open(*descriptor)) {
            // SAFETY: the actions were initialised.
            done(unsafe { posix_spawn_file_actions_addinherit_np(&mut actions.0, descriptor) })?;
        }
        let name = directory.as_ptr();
        // SAFETY: the actions were initialised, and the name is copied.
        done(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, name) })?;
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: what was not initialised is null, which is left alone.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(start: &Start<'_>) -> Outcome<Attributes> {
        let mut attributes = Attributes(null_mut());
        let place = &mut attributes.0;
        // SAFETY: the function writes what it is given the place of.
        done(unsafe { libc::posix_spawnattr_init(place) })?;
        let mut flags = libc::POSIX_SPAWN_CLOEXEC_DEFAULT
            | libc::POSIX_SPAWN_SETSIGDEF
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_START_SUSPENDED;
        if start.new_group {
            flags |= libc::POSIX_SPAWN_SETPGROUP;
            // SAFETY: the attributes were initialised.
            done(unsafe { libc::posix_spawnattr_setpgroup(place, 0) })?;
        }
        let flags = libc::c_short::try_from(flags).unwrap_or_default();
        // SAFETY: the attributes were initialised.
        done(unsafe { libc::posix_spawnattr_setflags(place, flags) })?;
        // Programs written in Rust ignore it for themselves.
        let default = set_of(&[libc::SIGPIPE]);
        // SAFETY: the attributes were initialised, and the set is copied.
        done(unsafe { libc::posix_spawnattr_setsigdefault(place, &default) })?;
        // SAFETY: as above.
        done(unsafe { libc::posix_spawnattr_setsigmask(place, &start.mask) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: what was not initialised is null, which is left alone.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

/// Starts a copy of this process that runs a function and ends.
///
/// # Safety
/// In the copy there is one thread, and other threads may have held locks: the function must
/// neither allocate nor use anything that locks.
pub(crate) unsafe fn fork(child: impl FnOnce()) -> Outcome<i32> {
    // SAFETY: the caller vouches for what the child does.
    match checked(unsafe { libc::fork() })? {
        0 => {
            child();
            // SAFETY: this ends the process without running anything else of it.
            unsafe { libc::_exit(0) }
        }
        process => Ok(process),
    }
}

/// Closes every descriptor below a bound. Safe in a copy of this process.
pub(crate) fn close_all() {
    const MOST: c_int = 65_536;
    // SAFETY: this call has no precondition.
    let size = unsafe { libc::getdtablesize() };
    for descriptor in 0..size.min(MOST) {
        // SAFETY: the copy uses none of them, and the original keeps its own.
        unsafe { libc::close(descriptor) };
    }
}

/// `setpgid(2)` for a group of the caller's own.
pub(crate) fn setpgid_self() {
    // SAFETY: this call has no precondition.
    unsafe { libc::setpgid(0, 0) };
}

/// `getppid(2)`.
pub(crate) fn getppid() -> i32 {
    // SAFETY: this call has no precondition.
    unsafe { libc::getppid() }
}
