//! The supervisor: starts the first process of a sandbox, passes signals on,
//! watches the clock, and reports how the command ended.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString};
use std::sync::atomic::AtomicI32;
use std::time::{Duration, Instant};

use pinfold_policy::plan::linux::{NamespacePlan, Network, Plan};

use super::call::{self, LandlockRuleset};
use super::filter;
use super::init::{self, Command, Task, Vector, bit};
use super::perform::Cover;
use super::raw::Errno;
use super::shared::{Report, Request, Stage};
use super::steps::{self, Step, Terminal};
use super::watch::Watcher;
use crate::seam::{Ended, Error, Exceeded, Launch, Status, Usage};

/// Signals that reach the command when they are sent to the supervisor.
const PASSED_ON: [i32; 9] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGTSTP,
];

/// Room for the first process and for the command until its `execve`. Only
/// pages that are touched exist.
const STACK: usize = 128 * 1024;

/// From `asm-generic/resource.h`; C libraries disagree about the type.
const RLIMIT_DATA: u32 = 2;
const RLIMIT_NPROC: u32 = 6;

/// Landlock scopes: no signal and no abstract socket reaches outside.
const SCOPES: u64 = 0b11;

/// Runs one command under a plan and waits for it.
///
/// # Errors
/// Nothing has been run when this returns an error.
pub fn run(plan: &Plan, launch: &Launch) -> Result<Ended, Error> {
    match plan {
        Plan::Namespaces(plan) => namespaces(plan, launch),
        Plan::Landlock(_) | Plan::Unconfined => Err(Error::Closed {
            attempted: String::from("run without namespaces"),
            code: libc::ENOSYS,
        }),
    }
}

fn namespaces(plan: &NamespacePlan, launch: &Launch) -> Result<Ended, Error> {
    let began = Instant::now();
    // Nothing may interrupt between here and the loop that handles signals; the
    // first process starts with everything blocked as well.
    let signals = call::sigprocmask(!0);
    let ended = supervised(plan, launch, signals).map(|mut ended| {
        ended.duration = began.elapsed();
        ended
    });
    call::sigprocmask(signals);
    ended
}

fn supervised(plan: &NamespacePlan, launch: &Launch, signals: u64) -> Result<Ended, Error> {
    let controls_terminal = controlling_terminal();
    let terminal = if controls_terminal { standard_terminal() } else { None };
    let mut task = task(plan, launch, terminal)?;
    task.signals = signals;
    task.command.new_group = !controls_terminal;
    if controls_terminal {
        task.stopped = call::eventfd().map_err(system("make an event descriptor"))?;
    }
    let watched = PASSED_ON.iter().fold(0, |set, signal| set | bit(*signal));
    let signals = call::signalfd(watched).map_err(system("watch for signals"))?;
    let mut watcher = Watcher::start(&plan.watches, launch.kept.as_ref())
        .map_err(system("watch protected paths"))?;
    let first = start(&task, plan)?;
    let running = Loop {
        task: &task,
        first,
        signals,
        deadline: deadline(plan),
        shares_terminal: controls_terminal,
    };
    let exceeded = running.until_end(&mut watcher);
    let ended = finish(&task, first, exceeded, launch).map(|mut ended| {
        // What appeared in the last moment.
        watcher.handle(&|_, _| Ok(()));
        ended.appeared = std::mem::take(&mut watcher.appeared);
        ended
    });
    let opened = [signals, task.supervisor, task.command.ruleset, task.stopped, first.descriptor];
    for descriptor in opened.into_iter().filter(|descriptor| *descriptor >= 0) {
        call::close(descriptor);
    }
    ended
}

/// The first process as the supervisor sees it.
#[derive(Clone, Copy)]
struct First {
    process: i32,
    descriptor: i32,
}

fn start(task: &Task, plan: &NamespacePlan) -> Result<First, Error> {
    let mut flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_PIDFD
        | libc::SIGCHLD;
    if plan.network == Network::Own {
        flags |= libc::CLONE_NEWNET;
    }
    let argument = std::ptr::from_ref(task).cast_mut().cast();
    let mut descriptor = -1;
    // SAFETY: the first process is the only one that uses this stack.
    let stack = unsafe { &mut *task.first_stack.get() };
    // SAFETY: the task, with the stack, lives until the process has been waited
    // for: nothing returns between here and there.
    let process =
        unsafe { call::clone_sharing_memory(init::start, stack, flags, argument, &mut descriptor) }
            .map_err(|error| Error::Closed {
                attempted: String::from("create namespaces"),
                code: error.0,
            })?;
    Ok(First { process, descriptor })
}

/// Memory whose pages exist only once they are written.
fn vec_without_pages(size: usize) -> Vec<u8> {
    vec![0; size]
}

fn task(plan: &NamespacePlan, launch: &Launch, terminal: Option<Terminal>) -> Result<Task, Error> {
    let steps = steps::steps(plan, terminal);
    let slots = (0..steps.slots).map(|_| AtomicI32::new(-1)).collect();
    let (user, group) = call::identity();
    let scopes = LandlockRuleset { scoped: SCOPES, ..LandlockRuleset::default() };
    Ok(Task {
        identity: [user, group].map(|id| text(format!("{id} {id} 1"))),
        slots,
        own_network: plan.network == Network::Own,
        directory: text(launch.directory.as_bytes()),
        command: Command {
            programs: texts(&launch.programs),
            arguments: Vector::of(texts(&launch.arguments)),
            environment: Vector::of(texts(&launch.environment)),
            filter: filter::program(&plan.filter),
            // Kernels before 6.12 have no scopes; the namespaces still hold.
            ruleset: call::landlock_create_ruleset(&scopes).unwrap_or(-1),
            new_group: true,
            limits: limits(plan),
        },
        supervisor: call::pidfd_open(call::getpid()).map_err(system("watch the supervisor"))?,
        signals: 0,
        stopped: -1,
        report: Report::default(),
        request: Request::new(!plan.watches.is_empty()),
        first_stack: UnsafeCell::new(vec_without_pages(STACK)),
        command_stack: UnsafeCell::new(vec_without_pages(STACK)),
        steps,
    })
}

fn limits(plan: &NamespacePlan) -> Vec<(u32, u64, u64)> {
    let mut limits = Vec::new();
    if let Some(processes) = plan.limits.processes {
        // Counted within the user namespace, where the first process is one too.
        let bound = u64::from(processes) + 1;
        limits.push((RLIMIT_NPROC, bound, bound));
    }
    if let Some(memory) = plan.limits.memory {
        limits.push((RLIMIT_DATA, memory, memory));
    }
    limits
}

fn deadline(plan: &NamespacePlan) -> Option<Instant> {
    plan.limits.wall_time.and_then(|time| Instant::now().checked_add(time))
}

/// Waits and passes on until the first process has ended.
struct Loop<'a> {
    task: &'a Task,
    first: First,
    signals: i32,
    deadline: Option<Instant>,
    shares_terminal: bool,
}

impl Loop<'_> {
    fn until_end(&self, watcher: &mut Watcher<'_>) -> Option<Exceeded> {
        let mut exceeded = None;
        let mut polled = [self.first.descriptor, self.signals, self.task.stopped, watcher.inotify]
            .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        loop {
            let ready = call::ppoll(&mut polled, self.remaining());
            if polled[0].revents != 0 {
                break;
            }
            if ready == Ok(0) && exceeded.is_none() {
                exceeded = Some(Exceeded::WallTime);
                let _ = call::pidfd_send_signal(self.first.descriptor, libc::SIGKILL);
            }
            if polled[1].revents != 0 {
                self.pass_on();
            }
            if polled[2].revents != 0 {
                self.stop();
            }
            if polled[3].revents != 0 {
                watcher.handle(&|path, how| self.cover(path, how));
            }
        }
        exceeded
    }

    fn remaining(&self) -> Option<libc::timespec> {
        let left = self.deadline?.saturating_duration_since(Instant::now());
        Some(libc::timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }

    /// Reads what was sent and lets the first process send it on.
    fn pass_on(&self) {
        let mut any = false;
        while let Some((signal, from_kernel)) = call::read_signal(self.signals) {
            // What the terminal sends to the whole group has reached the
            // command already.
            if from_kernel && self.shares_terminal && signal != libc::SIGCONT {
                continue;
            }
            self.task.request.add_signal(signal);
            any = true;
        }
        if any {
            self.wake();
        }
    }

    /// Has the first process cover what is at `path`.
    fn cover(&self, path: &CStr, how: Cover) -> Result<(), Errno> {
        self.task.request.ask(path, how)?;
        self.wake();
        self.task.request.wait()
    }

    fn wake(&self) {
        let _ = call::pidfd_send_signal(self.first.descriptor, libc::SIGUSR1);
    }

    /// The command has stopped, and so does its supervisor, for the shell that
    /// waits for it. Going on, the command goes on too.
    fn stop(&self) {
        let mut count = [0; 8];
        let _ = call::read(self.task.stopped, &mut count);
        let _ = call::kill(call::getpid(), libc::SIGSTOP);
        self.task.request.add_signal(libc::SIGCONT);
        self.wake();
    }
}

fn finish(
    task: &Task,
    first: First,
    exceeded: Option<Exceeded>,
    launch: &Launch,
) -> Result<Ended, Error> {
    let (waited, usage) =
        call::wait4_usage(first.process).map_err(system("wait for the command"))?;
    if let Some((stage, error)) = task.report.failure() {
        return Err(failure(task, stage, error, launch));
    }
    let status = match task.report.status() {
        Some(status) => status,
        // The first process was killed before it saw the command end.
        None => waited.status,
    };
    Ok(Ended {
        status: decoded(status),
        exceeded,
        duration: Duration::ZERO,
        usage: used(&usage),
        appeared: Vec::new(),
    })
}

fn failure(task: &Task, stage: Stage, error: Errno, launch: &Launch) -> Error {
    let code = error.0;
    let attempted = match stage {
        Stage::Execute => return Error::Execute { code },
        Stage::Directory => {
            return Error::Directory { directory: launch.directory.clone(), code };
        }
        Stage::Step(index) => {
            return task.steps.list.get(index).map_or(
                Error::System { attempted: String::from("set up mounts"), code },
                |step| step_failure(step, code),
            );
        }
        Stage::Identity => "map the user into a user namespace",
        Stage::Loopback => "turn on loopback in a network namespace",
        Stage::Process => "start the first process of the sandbox",
        Stage::Restrict => "restrict the command",
    };
    match stage {
        Stage::Identity | Stage::Loopback => Error::Closed { attempted: attempted.into(), code },
        _ => Error::System { attempted: attempted.into(), code },
    }
}

fn step_failure(step: &Step, code: i32) -> Error {
    let named = |what: &str, path: &CString| {
        format!("{what} {}", pinfold_policy::path::Quoted(path.as_bytes()))
    };
    match step {
        Step::Open { path, .. } | Step::OpenUnder { path, .. } => {
            Error::Path { attempted: named("open the mount point", path), code }
        }
        Step::Scratch { .. } => closed("mount a tmpfs in a user namespace", code),
        Step::Seal { .. } => closed("make mounts read-only in a user namespace", code),
        Step::Mount { path, .. } => closed(&named("mount a fresh", path), code),
        Step::CloneAt { path, .. } | Step::AttachAt { path, .. } => {
            Error::System { attempted: named("mount", path), code }
        }
        Step::MakeDirectory { path, .. }
        | Step::MakeFile { path, .. }
        | Step::MakeLink { path, .. } => {
            Error::System { attempted: named("make the mount point", path), code }
        }
        Step::Pivot { .. } => closed("change the root directory", code),
        Step::Clone { .. } | Step::Attach { .. } | Step::ReadOnly { .. } | Step::Close { .. } => {
            Error::System { attempted: String::from("mount a tree of the host"), code }
        }
    }
}

fn closed(attempted: &str, code: i32) -> Error {
    Error::Closed { attempted: attempted.into(), code }
}

fn decoded(status: i32) -> Status {
    if libc::WIFSIGNALED(status) {
        Status::Signaled(libc::WTERMSIG(status))
    } else {
        Status::Exited(libc::WEXITSTATUS(status))
    }
}

fn used(usage: &libc::rusage) -> Usage {
    let time =
        |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        resident: usage.ru_maxrss as u64 * 1024,
    }
}

/// Whether there is a terminal that signals and job control come from.
fn controlling_terminal() -> bool {
    match call::openat(libc::AT_FDCWD, c"/dev/tty", libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOCTTY)
    {
        Ok(descriptor) => {
            call::close(descriptor);
            true
        }
        Err(_) => false,
    }
}

fn standard_terminal() -> Option<Terminal> {
    (0..3)
        .find(|descriptor| call::is_terminal(*descriptor))
        .map(|descriptor| Terminal { descriptor })
}

fn system(attempted: &'static str) -> impl Fn(Errno) -> Error {
    move |error| Error::System { attempted: attempted.into(), code: error.0 }
}

fn texts(all: &[Vec<u8>]) -> Vec<CString> {
    all.iter().map(|bytes| text(bytes.as_slice())).collect()
}

fn text(bytes: impl Into<Vec<u8>>) -> CString {
    let mut bytes: Vec<u8> = bytes.into();
    bytes.retain(|byte| *byte != 0);
    CString::new(bytes).unwrap_or_default()
}
