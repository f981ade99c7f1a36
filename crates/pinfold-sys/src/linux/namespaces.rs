//! The `namespaces` mechanism as the supervisor sees it: works out the task of
//! the first process, starts it, and says what went wrong inside.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, AtomicU32};

use pinfold_policy::path::{AbsPath, Quoted};
use pinfold_policy::plan::linux::{NamespacePlan, Network};

use super::call::{self, LandlockRuleset};
use super::command::{Command, Confinement, Telling, Vector, two_stacks};
use super::commands::Starter;
use super::deputy::{Door, Duties, Servers};
use super::fate::Arrivals;
use super::head_start::HeadStart;
use super::init::Task;
use super::keeper::{CoverInside, Keeper};
use super::name::{text, texts};
use super::notify::{self, Listener};
use super::pattern::{Found, PatternWatcher};
use super::perform::{Cover, Covered};
use super::raw::Errno;
use super::shared::{Report, Request, Stage};
use super::steps::{self, Step, Terminal};
use super::supervise::{
    Process, Running, Source, Way, controlling_terminal, deadline, decoded, reaped, system,
    watch_signals,
};
use super::watch::{Told, Watcher};
use super::{doors, filter, limit};
use crate::seam::{Appeared, Ended, Error, Exceeded, Launch, OpenDoors};

/// From `asm-generic/resource.h`; C libraries disagree about the type.
const RLIMIT_DATA: u32 = 2;
const RLIMIT_NPROC: u32 = 6;

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const SCOPES: u64 = 0b11;

/// Runs a command; `signals` are those to leave blocked for it.
pub(crate) fn run(
    plan: &NamespacePlan,
    launch: &Launch,
    head_start: Option<HeadStart>,
    (signals, opened): (u64, &mut dyn FnMut(OpenDoors) -> bool),
) -> Result<Ended, Error> {
    let mut head_start = match head_start.filter(|begun| begun.suits(plan.network)) {
        Some(begun) => begun,
        None => HeadStart::of(plan.network)?,
    };
    let controls_terminal = controlling_terminal();
    let terminal = if controls_terminal { standard_terminal() } else { None };
    let mut task = task(plan, &launch.directory, terminal)?;
    task.supervisor = head_start.supervisor();
    let confinement = Confinement::InNamespace(filter::program(&plan.filter));
    let mut command = command(plan, launch, confinement);
    command.signals = signals;
    command.new_group = !controls_terminal;
    if controls_terminal || plan.network == Network::Host {
        command.ruleset = scopes();
    }
    let ruleset = command.ruleset;
    let door = Door::inside(plan.doors.as_ref())?;
    let duties = duties(plan, door.clone());
    let heard = notify::listen(launch.witness.as_ref(), duties)?;
    let (listener, telling) = heard.unzip();
    let listening = telling.as_ref().map(|telling| telling.channel);
    if plan.filter.user_namespaces {
        task.mounts = listener.as_ref().map(Listener::home);
    }
    command.told = telling.map(|telling| Telling { mark: launch.mark, ..telling });
    task.command = Some(command);
    if controls_terminal {
        task.stopped = call::eventfd().map_err(system("make an event descriptor"))?;
    }
    let signals = watch_signals()?;
    let keeper = Keeper { directory: launch.kept.as_ref() };
    let mut watcher = Watcher::start(&plan.watches, &keeper, Told::BySignals)
        .map_err(system("watch protected paths"))?;
    let mut patterns = PatternWatcher::new(&plan.patterns, Told::BySignals)
        .map_err(system("watch for new matches"))?;
    let channel = match &plan.doors {
        Some(_) => Some(call::socketpair().map_err(system("make a channel"))?),
        None => None,
    };
    task.doors = plan.doors.clone().zip(channel);
    let child = head_start.give(&task)?;
    if listening.is_some() || channel.is_some() {
        head_start.until_taken(child);
    }
    // Or the end of those inside would never show.
    listening.into_iter().for_each(call::close);
    if let Some([outer, inner]) = channel {
        call::close(inner);
        if doors::received(outer, door.as_ref()).is_some_and(opened) {
            let _ = call::write(outer, &[1]);
        }
        call::close(outer);
    }
    let running = Running {
        way: Way::First(&task),
        child,
        signals,
        deadline: deadline(&plan.limits),
        shares_group: controls_terminal,
    };
    let exceeded = wait(&running, &task, (&mut watcher, &mut patterns), &keeper);
    head_start.tell(&task.report);
    let ended = finish(&task, child, exceeded, &launch.directory).map(|mut ended| {
        let changed = running.pass_on();
        ended.appeared = last_moment(&mut watcher, &mut patterns, &keeper, &changed);
        ended
    });
    // What was attempted last is told as well.
    listener.into_iter().for_each(Listener::join);
    let opened = [signals, ruleset, task.stopped, child.descriptor];
    for descriptor in opened.into_iter().filter(|descriptor| *descriptor >= 0) {
        call::close(descriptor);
    }
    ended
}

/// What appeared, and what appeared in the last moment, when nothing is left
/// inside.
pub(crate) fn last_moment(
    watcher: &mut Watcher<'_>,
    patterns: &mut PatternWatcher,
    keeper: &Keeper<'_>,
    changed: &[i32],
) -> Vec<Appeared> {
    let over: CoverInside<'_> = &|_, _| Err(Errno(libc::ENOENT));
    if !changed.is_empty() || watcher.descriptor() >= 0 {
        watcher.handle(changed, over);
    }
    let mut appeared = std::mem::take(&mut watcher.appeared);
    if patterns.descriptor() >= 0 {
        patterns.handle(&mut Found { keeper, cover: over, appeared: &mut appeared });
    }
    appeared
}

/// A ruleset that keeps signals and abstract sockets inside, or -1: kernels
/// before 6.12 have none. The namespaces do the same, but for a process group
/// that is shared with the caller and a network that is the host's.
pub(crate) fn scopes() -> i32 {
    let scopes = LandlockRuleset { scoped: SCOPES, ..LandlockRuleset::default() };
    call::landlock_create_ruleset(&scopes).unwrap_or(-1)
}

pub(crate) fn wait(
    running: &Running<'_>,
    task: &Task,
    (watcher, patterns): (&mut Watcher<'_>, &mut PatternWatcher),
    keeper: &Keeper<'_>,
) -> Option<Exceeded> {
    let inotify = [watcher.descriptor(), patterns.descriptor()];
    let cover: CoverInside<'_> = &|path, how| cover(running, task, path, how);
    let mut found = Vec::new();
    if patterns.descriptor() >= 0 {
        patterns.begin(&mut Found { keeper, cover, appeared: &mut found });
    }
    let watcher = RefCell::new(watcher);
    let mut stopped = |running: &Running<'_>| {
        let _ = call::read(task.stopped, &mut [0; 8]);
        running.stop();
    };
    let mut appeared = |_: &Running<'_>| watcher.borrow_mut().handle(&[], cover);
    let mut matched = |_: &Running<'_>| {
        patterns.handle(&mut Found { keeper, cover, appeared: &mut found });
    };
    let sources = &mut [
        Source { descriptor: task.stopped, ready: &mut stopped },
        Source { descriptor: inotify[0], ready: &mut appeared },
        Source { descriptor: inotify[1], ready: &mut matched },
    ];
    let exceeded = running.until_end(sources, &mut |_, changed| {
        watcher.borrow_mut().handle(changed, cover);
    });
    watcher.borrow_mut().appeared.append(&mut found);
    exceeded
}

/// Has the first process cover what is at `path`.
fn cover(running: &Running<'_>, task: &Task, path: &CStr, how: Cover) -> Result<Covered, Errno> {
    task.request.ask(path, how)?;
    running.wake();
    task.request.wait(|| running.child.has_ended())
}

/// What is done for the commands of a plan whose connections are led to `door`.
pub(crate) fn duties(plan: &NamespacePlan, door: Option<Door>) -> Duties {
    let servers = if plan.servers { Servers::All } else { Servers::Unix };
    Duties { files: None, door, servers }
}

/// The task of a first process, as yet without a command.
pub(crate) fn task(
    plan: &NamespacePlan,
    directory: &AbsPath,
    terminal: Option<Terminal>,
) -> Result<Task, Error> {
    let steps = steps::steps(plan, terminal.as_ref());
    let slots = (0..steps.slots).map(|_| AtomicI32::new(-1)).collect();
    Ok(Task {
        slots,
        directory: text(directory.as_bytes()),
        command: None,
        channel: -1,
        telling: -1,
        mounts: None,
        ruleset: -1,
        doors: None,
        supervisor: -1,
        stopped: -1,
        report: Report::default(),
        ready: AtomicU32::new(0),
        arrivals: Arrivals::default(),
        starter: None,
        request: Request::new(!plan.watches.is_empty() || !plan.patterns.is_empty()),
        stack: None,
        steps,
    })
}

/// What starts the commands of a session.
pub(crate) fn starter(plan: &NamespacePlan) -> Result<Starter, Error> {
    Ok(Starter::with(filter::program(&plan.filter), two_stacks()?))
}

/// A command of a session: what starts it is confined.
pub(crate) fn command_of_session(plan: &NamespacePlan, launch: &Launch) -> Command {
    let confinement = Confinement::Inherited;
    // Besides the first process, what starts the commands is counted.
    Command { limits: limits(plan, 2), ..command(plan, launch, confinement) }
}

/// A command of a process group of its own.
fn command(plan: &NamespacePlan, launch: &Launch, confinement: Confinement) -> Command {
    Command {
        programs: texts(&launch.programs),
        arguments: Vector::of(texts(&launch.arguments)),
        environment: Vector::of(texts(&launch.environment)),
        confinement,
        told: None,
        ruleset: -1,
        ends_with: 0,
        new_group: true,
        limits: limits(plan, 1),
        mark: None,
        signals: 0,
    }
}

/// The bounds of a command; so many processes are ours.
fn limits(plan: &NamespacePlan, ours: u64) -> Vec<(u32, u64, u64)> {
    let mut limits = Vec::new();
    if let Some(processes) = plan.limits.processes {
        // Counted within the user namespace.
        let bound = u64::from(processes) + ours;
        limits.push((RLIMIT_NPROC, bound, bound));
    }
    if let Some(memory) = plan.limits.memory {
        limits.push((RLIMIT_DATA, memory, memory));
    }
    if let Some([soft, hard]) = limit::descriptors_of_commands() {
        limits.push((limit::RLIMIT_NOFILE, soft, hard));
    }
    limits
}

pub(crate) fn finish(
    task: &Task,
    child: Process,
    exceeded: Option<Exceeded>,
    directory: &AbsPath,
) -> Result<Ended, Error> {
    let (end_of_first, usage) = reaped(child)?;
    if let Some((stage, error)) = task.report.failure() {
        return Err(failure(Some(task), stage, error, directory));
    }
    // Without a report, the first process was killed, and the command with it.
    let status = task.report.status().unwrap_or(end_of_first);
    Ok(Ended { status: decoded(status), exceeded, usage, appeared: Vec::new() })
}

/// Why a start failed; steps are those of the task.
pub(crate) fn failure(
    task: Option<&Task>,
    stage: Stage,
    error: Errno,
    directory: &AbsPath,
) -> Error {
    let code = error.0;
    let attempted = match stage {
        Stage::Execute => return Error::Execute { code },
        Stage::Directory => {
            return Error::Directory { directory: directory.clone(), code };
        }
        Stage::Step(index) => {
            return task.and_then(|task| task.steps.list.get(index)).map_or(
                Error::System { attempted: String::from("set up mounts"), code },
                |step| step_failure(step, code),
            );
        }
        Stage::Identity => "map the user into a user namespace",
        Stage::Network => "create namespaces",
        Stage::Loopback => "turn on loopback in a network namespace",
        Stage::Doors => "open the doors of the proxy in a network namespace",
        Stage::Process => "start the first process of the sandbox",
        Stage::Standard => "open a terminal, or the standard descriptors, in the sandbox",
        Stage::Restrict => "restrict the command",
    };
    match stage {
        Stage::Identity | Stage::Network | Stage::Loopback => {
            Error::Closed { attempted: attempted.into(), code }
        }
        _ => Error::System { attempted: attempted.into(), code },
    }
}

fn step_failure(step: &Step, code: i32) -> Error {
    let named = |what: &str, path: &CString| format!("{what} {}", Quoted(path.as_bytes()));
    match step {
        Step::Open { path, .. }
        | Step::OpenUnder { path, .. }
        | Step::CloneUnder { name: path, .. }
        | Step::AttachUnder { name: path, .. } => {
            Error::Path { attempted: named("open the mount point", path), code }
        }
        Step::Scratch { .. } | Step::SealScratch => {
            closed("mount a tmpfs in a user namespace", code)
        }
        Step::Seal { .. } => closed("make mounts read-only in a user namespace", code),
        Step::Mount { path, .. } => closed(&named("mount a fresh", path), code),
        Step::CloneAt { path, .. } | Step::AttachAt { path, .. } | Step::Bind { to: path, .. } => {
            Error::System { attempted: named("mount", path), code }
        }
        Step::MakeDirectory { path, .. }
        | Step::MakeFile { path, .. }
        | Step::MakeLink { path, .. } => {
            Error::System { attempted: named("make the mount point", path), code }
        }
        Step::Pivot { .. } => closed("change the root directory", code),
        Step::Clone { .. }
        | Step::Attach { .. }
        | Step::ReadOnly { .. }
        | Step::ReadOnlyWhole { .. }
        | Step::Close { .. } => {
            Error::System { attempted: String::from("mount a tree of the host"), code }
        }
    }
}

fn closed(attempted: &str, code: i32) -> Error {
    Error::Closed { attempted: attempted.into(), code }
}

/// The terminal that a standard descriptor is open on, by the name of its device:
/// the descriptor itself belongs to another mount namespace.
fn standard_terminal() -> Option<Terminal> {
    let descriptor = (0..3).find(|descriptor| call::is_terminal(*descriptor))?;
    let device = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    device.starts_with("/dev").then(|| Terminal { device: text(device.as_os_str().as_bytes()) })
}
