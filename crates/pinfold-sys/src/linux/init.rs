//! The first process of a sandbox: it sets everything up, starts the command,
//! and reaps until the command has ended. Its end ends every process inside.
//!
//! It shares its memory with the supervisor, runs on a stack of its own, makes
//! no allocation and no call into the C library, and holds the capabilities of
//! the new namespaces, which is what keeps the command from touching it.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

use super::call;
use super::perform::{self, Masks, Slots};
use super::raw::Errno;
use super::shared::{Report, Request, Stage};
use super::steps::Steps;

/// Signals that wake the first process: a child changed state, or the
/// supervisor has a request.
const WAKING: u64 = bit(libc::SIGCHLD) | bit(libc::SIGUSR1);

/// Everything the first process and the command need, worked out beforehand.
pub(crate) struct Task {
    /// `uid uid 1`, and the same for the group.
    pub(crate) identity: [CString; 2],
    pub(crate) steps: Steps,
    pub(crate) slots: Vec<AtomicI32>,
    pub(crate) own_network: bool,
    pub(crate) directory: CString,
    pub(crate) command: Command,
    /// Open on the supervisor; ready when that has died.
    pub(crate) supervisor: i32,
    /// The signals to leave blocked for the command.
    pub(crate) signals: u64,
    /// Written to when the command stops; -1 for none.
    pub(crate) stopped: i32,
    pub(crate) report: Report,
    pub(crate) request: Request,
    /// What the first process runs on, and what the command's runs on until its
    /// `execve`.
    pub(crate) first_stack: UnsafeCell<Vec<u8>>,
    pub(crate) command_stack: UnsafeCell<Vec<u8>>,
}

/// What is started, and with which restrictions.
pub(crate) struct Command {
    /// Candidates, tried in order as `execvp(3)` does.
    pub(crate) programs: Vec<CString>,
    pub(crate) arguments: Vector,
    pub(crate) environment: Vector,
    pub(crate) filter: Vec<libc::sock_filter>,
    /// A Landlock ruleset, or -1.
    pub(crate) ruleset: i32,
    pub(crate) new_group: bool,
    /// Resource, soft and hard bound.
    pub(crate) limits: Vec<(u32, u64, u64)>,
}

/// A null-terminated vector of C strings and what it points to.
pub(crate) struct Vector {
    pointers: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Vector {
    pub(crate) fn of(strings: Vec<CString>) -> Vector {
        let mut pointers = Vec::with_capacity(strings.len() + 1);
        pointers.extend(strings.iter().map(|string| string.as_ptr()));
        pointers.push(std::ptr::null());
        Vector { pointers, _strings: strings }
    }
}

pub(crate) const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Where the first process begins. `argument` is a [`Task`].
pub(crate) extern "C" fn start(argument: *mut c_void) -> i32 {
    // SAFETY: the supervisor passes a task and keeps it until this process,
    // which shares its memory, has ended; both only read it or use atomics.
    let task = unsafe { &*argument.cast::<Task>() };
    if let Err((stage, error)) = set_up(task) {
        task.report.failed(stage, error);
        call::exit(1);
    }
    serve(task);
    call::exit(0)
}

fn set_up(task: &Task) -> Result<(), (Stage, Errno)> {
    let at = |stage: Stage| move |error: Errno| (stage, error);
    // 1. Never outlive the supervisor, not even one that died just now.
    call::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize).map_err(at(Stage::Process))?;
    let mut polled = [libc::pollfd { fd: task.supervisor, events: libc::POLLIN, revents: 0 }];
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if call::ppoll(&mut polled, Some(now)) != Ok(0) {
        call::exit(1);
    }
    // 2. Become somebody: the same user and group as outside.
    identity(&task.identity).map_err(at(Stage::Identity))?;
    // 3. Files. Modes of mount points must not depend on the caller's umask.
    let umask = call::umask(0);
    perform::all(&task.steps.list, &task.slots)
        .map_err(|(index, error)| (Stage::Step(index), error))?;
    call::umask(umask);
    call::chdir(&task.directory).map_err(at(Stage::Directory))?;
    // 4. Network.
    if task.own_network {
        call::loopback_up().map_err(at(Stage::Loopback))?;
    }
    // 5. Out of reach: nothing of this process can be read, or traced.
    call::prctl(libc::PR_SET_DUMPABLE, 0).map_err(at(Stage::Process))?;
    start_command(task).map_err(at(Stage::Process))
}

fn identity(maps: &[CString; 2]) -> Result<(), Errno> {
    put(c"/proc/self/setgroups", c"deny")?;
    put(c"/proc/self/uid_map", &maps[0])?;
    put(c"/proc/self/gid_map", &maps[1])
}

/// Writes a file of `/proc`. It must be closed at once: a mount that is open for
/// writing cannot be made read-only.
fn put(name: &CStr, text: &CStr) -> Result<(), Errno> {
    let file = call::openat(libc::AT_FDCWD, name, libc::O_WRONLY | libc::O_CLOEXEC)?;
    let written = call::write(file, text.to_bytes());
    call::close(file);
    written.map(drop)
}

fn start_command(task: &Task) -> Result<(), Errno> {
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    let argument = std::ptr::from_ref(task).cast_mut().cast();
    let mut pidfd = -1;
    // SAFETY: the command's process is the only one that uses this stack, and
    // this function is suspended until that has called `execve` (CLONE_VFORK).
    let stack = unsafe { &mut *task.command_stack.get() };
    // SAFETY: the stack and the task outlive the process that shares them, see
    // above; `command` calls only the `call` module.
    let process =
        unsafe { call::clone_sharing_memory(command, stack, flags, argument, &mut pidfd) }?;
    task.report.started(process);
    Ok(())
}

/// The command's process until its `execve`.
extern "C" fn command(argument: *mut c_void) -> i32 {
    // SAFETY: as for `start`; the first process is suspended meanwhile.
    let task = unsafe { &*argument.cast::<Task>() };
    let (stage, error) = become_command(task);
    task.report.failed(stage, error);
    call::exit(127)
}

/// Returns only when it fails.
fn become_command(task: &Task) -> (Stage, Errno) {
    let command = &task.command;
    match restrict(task) {
        Err(error) => (Stage::Restrict, error),
        Ok(()) => (Stage::Execute, execute(command)),
    }
}

fn restrict(task: &Task) -> Result<(), Errno> {
    let command = &task.command;
    if command.new_group {
        call::setpgid_self()?;
    }
    for (resource, soft, hard) in &command.limits {
        call::setrlimit(*resource, *soft, *hard)?;
    }
    // Without new privileges, even user 0 gets no capability back by execve.
    call::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    if command.ruleset >= 0 {
        call::landlock_restrict_self(command.ruleset)?;
    }
    call::close_from(3)?;
    call::drop_capabilities()?;
    call::sigprocmask(task.signals);
    if !command.filter.is_empty() {
        call::seccomp_filter(&command.filter)?;
    }
    Ok(())
}

/// Tries the candidates as `execvp(3)` does: the first that is there decides,
/// but one that may not be executed only when no other can.
fn execute(command: &Command) -> Errno {
    let mut result = Errno(libc::ENOENT);
    for program in &command.programs {
        // SAFETY: both vectors are built by `Vector::of`, which keeps the
        // strings they point to.
        let error = unsafe {
            call::execve(program, &command.arguments.pointers, &command.environment.pointers)
        };
        match error.0 {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => result = error,
            _ => return error,
        }
    }
    result
}

/// Reaps, and does what the supervisor asks, until the command has ended.
fn serve(task: &Task) {
    let command = task.report.process();
    let [directory, file] = task.steps.masks.map_or([-1, -1], |(directory, file)| {
        [directory, file].map(|slot| held(&task.slots, slot))
    });
    let masks = Masks { directory, file };
    if task.steps.masks.is_none() && task.stopped < 0 {
        let _ = call::close_from(0);
    } else {
        call::close(0);
        call::close(1);
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
    if let Some((path, how)) = request.cover() {
        let error = perform::cover(path, masks, how).err().map_or(0, |error| error.0);
        request.answered(error);
    }
}
