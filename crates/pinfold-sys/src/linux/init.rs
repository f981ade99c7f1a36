//! The first process of a sandbox: it sets everything up, starts the command,
//! and reaps until the command has ended. Its end ends every process inside.
//!
//! It shares its memory with the supervisor, runs on a stack of its own, makes
//! no allocation and no call into the C library, and holds the capabilities of
//! the new namespaces, which is what keeps the command from touching it.

use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};

use pinfold_policy::plan::linux::Doors;

use super::call::{self, Stack};
use super::command::Command;
use super::commands::Starter;
use super::fate::Arrivals;
use super::head_start::Beginning;
use super::perform::{self, Masks, Slots};
use super::raw::Errno;
use super::shared::{Report, Request, Stage};
use super::steps::Steps;
use super::{commands, doors, landlock};

/// Signals that wake the first process: a child changed state, or the
/// supervisor has a request.
pub(crate) const WAKING: u64 = bit(libc::SIGCHLD) | bit(libc::SIGUSR1);

/// Everything the first process and the command need, worked out beforehand.
pub(crate) struct Task {
    pub(crate) steps: Steps,
    pub(crate) slots: Vec<AtomicI32>,
    pub(crate) directory: CString,
    /// What to run; nothing in a session, whose commands come over `channel`.
    pub(crate) command: Option<Command>,
    /// Where a session gets its commands from and tells of them; -1 for none.
    pub(crate) channel: i32,
    /// Where the commands of a session pass on what tells of their calls, or -1.
    pub(crate) telling: i32,
    /// Where to note the number of the mount namespace, for who hears of calls.
    pub(crate) mounts: Option<Arc<AtomicU64>>,
    /// A Landlock ruleset for the commands of a session, or -1.
    pub(crate) ruleset: i32,
    /// The doors to open, and where to pass them out.
    pub(crate) doors: Option<(Doors, [i32; 2])>,
    /// Open on the supervisor; ready when that has died.
    pub(crate) supervisor: i32,
    /// Written to when the command stops; -1 for none.
    pub(crate) stopped: i32,
    pub(crate) report: Report,
    pub(crate) request: Request,
    /// 1 once everything is set up, for the command's process.
    pub(crate) ready: AtomicU32,
    /// Commands of a session that the first process does not know yet.
    pub(crate) arrivals: Arrivals,
    /// What starts the commands of a session, where that is not the first process itself.
    pub(crate) starter: Option<Starter>,
    /// What the commands of a session run on until their `execve`: the upper half, where
    /// the first process runs on the lower if it had no head start.
    pub(crate) stack: Option<Stack>,
}

pub(crate) const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Where the first process begins. `argument` is a [`Beginning`].
pub(crate) extern "C" fn start(argument: *mut c_void) -> i32 {
    // SAFETY: the supervisor passes this and keeps it until this process, which shares
    // its memory, has ended; both only read it or use atomics.
    let beginning = unsafe { &*argument.cast::<Beginning>() };
    let begun = begin(beginning);
    let (second, task) = match begun.and_then(|second| Ok((second, beginning.task()?))) {
        Ok(begun) => begun,
        Err((stage, error)) => {
            beginning.report.failed(stage, error);
            // For the second, which ends with this process, as well.
            beginning.give_way();
            beginning.give_way();
            call::exit(1);
        }
    };
    let placed = beginning.run_anywhere();
    let set_up = placed.and_then(|()| set_up(task, || join_network(beginning, second)));
    if let Err((stage, error)) = set_up {
        task.report.failed(stage, error);
        call::exit(1);
    }
    let masks = masks(task);
    match &task.command {
        Some(_) => serve(task, masks, second),
        None => commands::serve(task, masks),
    }
    // Or whoever waits for a cover would go on waiting.
    task.request.over();
    call::exit(0)
}

/// What is the same in every sandbox; the number of the second process.
fn begin(beginning: &Beginning) -> Result<i32, (Stage, Errno)> {
    let at = |stage: Stage| move |error: Errno| (stage, error);
    // 1. Never outlive the supervisor, not even one that died just now.
    call::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize).map_err(at(Stage::Process))?;
    let mut polled = [libc::pollfd { fd: beginning.supervisor, events: libc::POLLIN, revents: 0 }];
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if call::ppoll(&mut polled, Some(now)) != Ok(0) {
        call::exit(1);
    }
    // 2. Become somebody: the same user and group as outside.
    identity(&beginning.identity).map_err(at(Stage::Identity))?;
    // 3. Network, meanwhile.
    beginning.until_placed();
    start_second(beginning).map_err(at(Stage::Process))
}

fn set_up(
    task: &Task,
    join_network: impl Fn() -> Result<(), (Stage, Errno)>,
) -> Result<(), (Stage, Errno)> {
    let at = |stage: Stage| move |error: Errno| (stage, error);
    // 1. Files. Modes of mount points must not depend on the caller's umask.
    let umask = call::umask(0);
    perform::all(&task.steps.list, &task.slots)
        .map_err(|(index, error)| (Stage::Step(index), error))?;
    call::umask(umask);
    call::chdir(&task.directory).map_err(at(Stage::Directory))?;
    // 2. The network, and the proxy's way into it.
    join_network()?;
    if let Some((doors, channel)) = &task.doors {
        let [outer, inner] = *channel;
        // Or the end of the supervisor's would never show.
        call::close(outer);
        doors::open(doors, inner).map_err(at(Stage::Doors))?;
    }
    if let Some(mounts) = &task.mounts {
        // From outside it cannot be read once this process is out of reach, and later
        // a command may be in another one.
        let number = call::number_of(c"/proc/self/ns/mnt").map_err(at(Stage::Process))?;
        mounts.store(number, SeqCst);
    }
    // 3. Out of reach: nothing of this process can be read, or traced.
    call::prctl(libc::PR_SET_DUMPABLE, 0).map_err(at(Stage::Process))?;
    // 4. Only now does the command begin, or end what was to become none.
    task.ready.store(1, SeqCst);
    call::futex_wake(&task.ready);
    Ok(())
}

fn identity(maps: &[CString; 2]) -> Result<(), Errno> {
    put(c"/proc/self/setgroups", c"deny")?;
    put(c"/proc/self/uid_map", &maps[0])?;
    put(c"/proc/self/gid_map", &maps[1])
}

/// How often the memory is made this process's own again; others that start or
/// have just started make it private meanwhile.
const ATTEMPTS: usize = 1000;

/// Tries something that processes may do to each other, or to themselves by `/proc`, only
/// while their memory is not private.
///
/// The first process of an earlier sandbox has made the memory that all of them
/// share private. Capabilities keep commands away from the processes of their sandbox as
/// well; only sessions without namespaces have none, and are not exposed.
fn in_the_open<T>(attempt: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut outcome = attempt();
    for _ in 0..ATTEMPTS {
        let refused = matches!(outcome, Err(Errno(libc::EACCES | libc::EPERM)));
        if !refused || landlock::has_sessions() {
            break;
        }
        call::prctl(libc::PR_SET_DUMPABLE, 1)?;
        outcome = attempt();
    }
    outcome
}

/// Writes a file of `/proc`. It must be closed at once: a mount that is open for
/// writing cannot be made read-only.
fn put(name: &CStr, text: &CStr) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    let file = in_the_open(|| call::openat(libc::AT_FDCWD, name, flags))?;
    let written = call::write(file, text.to_bytes());
    call::close(file);
    written.map(drop)
}

/// Enters the network that the second process has made.
fn join_network(beginning: &Beginning, second: i32) -> Result<(), (Stage, Errno)> {
    beginning.network()?;
    if !beginning.own_network {
        return Ok(());
    }
    let joined = call::pidfd_open(second).and_then(|pidfd| {
        let joined = in_the_open(|| call::join_network_of(pidfd));
        call::close(pidfd);
        joined
    });
    joined.map_err(|error| (Stage::Network, error))
}

/// Starts the second process; its number.
fn start_second(beginning: &Beginning) -> Result<i32, Errno> {
    // It sees what becomes of the root and of the working directory.
    let flags = libc::CLONE_FS | libc::CLONE_FILES | libc::SIGCHLD;
    let argument = std::ptr::from_ref(beginning).cast_mut().cast();
    let stack = beginning.second_stack();
    let mut pidfd = -1;
    // SAFETY: only the second process uses this stack; that, the beginning and the task stay
    // until the first process has ended, with which every process inside does; `second` calls
    // only the `call` module.
    unsafe { call::clone_sharing_memory(second, stack, flags, argument, &mut pidfd) }
}

/// The second process: makes the network, and becomes the command, if there is one.
extern "C" fn second(argument: *mut c_void) -> i32 {
    // SAFETY: as for `start`.
    let beginning = unsafe { &*argument.cast::<Beginning>() };
    let made = if beginning.own_network { own_network() } else { Ok(()) };
    let made = made.and_then(|()| beginning.run_anywhere());
    let fails = made.is_err();
    beginning.network_is(made);
    if fails {
        beginning.give_way();
        call::exit(1);
    }
    match beginning.task() {
        Err((stage, error)) => beginning.report.failed(stage, error),
        Ok(task) => {
            let (stage, error) = become_command(task);
            task.report.failed(stage, error);
        }
    }
    call::exit(127)
}

fn own_network() -> Result<(), (Stage, Errno)> {
    call::unshare(libc::CLONE_NEWNET).map_err(|error| (Stage::Network, error))?;
    call::loopback_up().map_err(|error| (Stage::Loopback, error))
}

/// Restricts this process and, once everything is set up, begins the command in it.
fn become_command(task: &Task) -> (Stage, Errno) {
    if let Some(Err(error)) = task.command.as_ref().map(Command::restrict) {
        return (Stage::Restrict, error);
    }
    call::futex_wait_while(&task.ready, 0);
    let Some(command) = &task.command else { call::exit(0) };
    // What the command does to its directory and mask is its own affair.
    match call::unshare(libc::CLONE_FS) {
        Err(error) => (Stage::Restrict, error),
        Ok(()) => command.begin(),
    }
}

/// What masks files and directories, as far as the plan has it.
fn masks(task: &Task) -> Masks {
    let [directory, file] = task.steps.masks.map_or([-1, -1], |(directory, file)| {
        [directory, file].map(|slot| held(&task.slots, slot))
    });
    Masks { directory, file }
}

/// Reaps, and does what the supervisor asks, until the command has ended.
fn serve(task: &Task, masks: Masks, command: i32) {
    if task.steps.masks.is_none() && task.stopped < 0 {
        let _ = call::close_range(0, u32::MAX);
    } else {
        let _ = call::close_range(0, 1);
    }
    loop {
        let _ = call::sigtimedwait(WAKING, None);
        if reap(task, command) {
            return;
        }
        answer(task, command, masks);
    }
}

fn held(slots: &Slots, slot: usize) -> i32 {
    slots.get(slot).map_or(-1, |held| held.load(SeqCst))
}

/// Whether the command has ended.
fn reap(task: &Task, command: i32) -> bool {
    while let Ok(waited) = call::wait4(-1, libc::WNOHANG | libc::WUNTRACED) {
        if waited.process == 0 {
            return false;
        }
        if waited.process != command {
            continue;
        }
        if !libc::WIFSTOPPED(waited.status) {
            task.report.ended(waited.status);
            return true;
        }
        task.report.stopped(libc::WSTOPSIG(waited.status));
        let _ = call::write(task.stopped, &1u64.to_ne_bytes());
    }
    false
}

fn answer(task: &Task, command: i32, masks: Masks) {
    let request = &task.request;
    for signal in request.signals() {
        let _ = call::kill(command, signal);
    }
    cover(task, masks);
}

/// Covers the path that the supervisor asks to have covered, if it does.
pub(crate) fn cover(task: &Task, masks: Masks) {
    if let Some((path, how)) = task.request.cover() {
        task.request.answered(perform::cover(path, masks, how));
    }
}
