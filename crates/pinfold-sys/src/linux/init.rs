//! The first process of a sandbox: it sets everything up, starts the command,
//! and reaps until the command has ended. Its end ends every process inside.
//!
//! It shares its memory with the supervisor, runs on a stack of its own, makes
//! no allocation and no call into the C library, and holds the capabilities of
//! the new namespaces, which is what keeps the command from touching it.

use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};

use pinfold_policy::plan::linux::Doors;

use super::call::{self, Stack};
use super::command::Command;
use super::head_start::Beginning;
use super::perform::{self, Masks, Slots};
use super::raw::Errno;
use super::shared::{Report, Request, Stage};
use super::steps::Steps;
use super::{commands, doors};

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
    /// What the command's process runs on until its `execve`: the upper half, where the
    /// first process runs on the lower.
    pub(crate) stack: Stack,
}

pub(crate) const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Where the first process begins. `argument` is a [`Beginning`].
pub(crate) extern "C" fn start(argument: *mut c_void) -> i32 {
    // SAFETY: the supervisor passes this and keeps it until this process, which shares
    // its memory, has ended; both only read it or use atomics.
    let beginning = unsafe { &*argument.cast::<Beginning>() };
    let task = match begin(beginning).and_then(|()| beginning.task()) {
        Ok(task) => task,
        Err((stage, error)) => {
            beginning.report.failed(stage, error);
            beginning.give_way();
            call::exit(1);
        }
    };
    if let Err((stage, error)) = set_up(task) {
        task.report.failed(stage, error);
        call::exit(1);
    }
    let masks = masks(task);
    match &task.command {
        Some(_) => serve(task, masks),
        None => commands::serve(task, masks),
    }
    call::exit(0)
}

/// What is the same in every sandbox.
fn begin(beginning: &Beginning) -> Result<(), (Stage, Errno)> {
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
    // 3. Network.
    if beginning.own_network {
        call::unshare(libc::CLONE_NEWNET).map_err(at(Stage::Network))?;
        call::loopback_up().map_err(at(Stage::Loopback))?;
    }
    Ok(())
}

fn set_up(task: &Task) -> Result<(), (Stage, Errno)> {
    let at = |stage: Stage| move |error: Errno| (stage, error);
    // 1. Files. Modes of mount points must not depend on the caller's umask.
    let umask = call::umask(0);
    perform::all(&task.steps.list, &task.slots)
        .map_err(|(index, error)| (Stage::Step(index), error))?;
    call::umask(umask);
    call::chdir(&task.directory).map_err(at(Stage::Directory))?;
    // 2. The proxy's way into the network.
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
    match &task.command {
        Some(_) => start_command(task).map_err(at(Stage::Process)),
        None => Ok(()),
    }
}

fn identity(maps: &[CString; 2]) -> Result<(), Errno> {
    put(c"/proc/self/setgroups", c"deny")?;
    put(c"/proc/self/uid_map", &maps[0])?;
    put(c"/proc/self/gid_map", &maps[1])
}

/// How often the memory is made this process's own again; others that start or
/// have just started make it private meanwhile.
const ATTEMPTS: usize = 1000;

/// Writes a file of `/proc`. It must be closed at once: a mount that is open for
/// writing cannot be made read-only.
///
/// The first process of an earlier sandbox has made the memory that all of them
/// share private, and with it the files of `/proc` root's; the capabilities of those
/// processes keep their commands away from them as well.
fn put(name: &CStr, text: &CStr) -> Result<(), Errno> {
    let open = || call::openat(libc::AT_FDCWD, name, libc::O_WRONLY | libc::O_CLOEXEC);
    let mut file = open();
    for _ in 0..ATTEMPTS {
        if file != Err(Errno(libc::EACCES)) {
            break;
        }
        call::prctl(libc::PR_SET_DUMPABLE, 1)?;
        file = open();
    }
    let file = file?;
    let written = call::write(file, text.to_bytes());
    call::close(file);
    written.map(drop)
}

fn start_command(task: &Task) -> Result<(), Errno> {
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    let argument = std::ptr::from_ref(task).cast_mut().cast();
    let mut pidfd = -1;
    // SAFETY: only the command's process uses this stack, and this function is
    // suspended until that has called `execve` (CLONE_VFORK); `command` calls
    // only the `call` module.
    let process = unsafe {
        call::clone_sharing_memory(command, task.stack.upper(), flags, argument, &mut pidfd)
    }?;
    task.report.started(process);
    Ok(())
}

/// The command's process until its `execve`.
extern "C" fn command(argument: *mut c_void) -> i32 {
    // SAFETY: as for `start`; the first process is suspended meanwhile.
    let task = unsafe { &*argument.cast::<Task>() };
    if let Some(command) = &task.command {
        let (stage, error) = command.become_it();
        task.report.failed(stage, error);
    }
    call::exit(127)
}

/// What masks files and directories, as far as the plan has it.
fn masks(task: &Task) -> Masks {
    let [directory, file] = task.steps.masks.map_or([-1, -1], |(directory, file)| {
        [directory, file].map(|slot| held(&task.slots, slot))
    });
    Masks { directory, file }
}

/// Reaps, and does what the supervisor asks, until the command has ended.
fn serve(task: &Task, masks: Masks) {
    let command = task.report.process();
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
