//! The `landlock` mechanism: a direct child that may touch what is listed, and
//! nothing else. What it leaves in the background ends with it.

use std::ffi::c_void;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use pinfold_policy::path::{AbsPath, Quoted};
use pinfold_policy::plan::linux::{Grant, GrantAccess, LandlockPlan, MountKind, Reach};
use pinfold_policy::profile::Limits;

use super::call::{self, LandlockRuleset};
use super::command::{Command, Confinement, Telling, Vector, two_stacks};
use super::deputy::{Door, Duties, Servers};
use super::fate::Arrivals;
use super::init::Task;
use super::name::{text, texts};
use super::notify::{self, Listener};
use super::orphans::Orphans;
use super::perform::Masks;
use super::raw::Errno;
use super::shared::{Report, Request, Stage};
use super::steps::Steps;
use super::supervise::{
    Process, Running, Way, controlling_terminal, deadline, decoded, reaped, system, watch_signals,
};
use super::{commands, direct, filter, limit};
use crate::seam::{Ended, Error, Launch, OpenDoors};

/// From `linux/landlock.h`: `LANDLOCK_ACCESS_FS_*`.
mod access {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const REFER: u64 = 1 << 13;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    pub(super) const IOCTL_DEV: u64 = 1 << 15;
    /// What a rule for anything but a directory can hold.
    pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
    /// What version 1 knows.
    pub(super) const FIRST: u64 = REFER - 1;
}

/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `LANDLOCK_ACCESS_NET_CONNECT_TCP`.
const BIND: u64 = 1;
const CONNECT: u64 = 2;

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const SCOPES: u64 = 0b11;

const RLIMIT_DATA: u32 = 2;
const RLIMIT_NPROC: u32 = 6;

/// Runs a command; `signals` are those to leave blocked for it, and `opened` gets the door.
pub(crate) fn run(
    plan: &LandlockPlan,
    launch: &Launch,
    (signals, opened): (u64, &mut dyn FnMut(OpenDoors) -> bool),
) -> Result<Ended, Error> {
    let shares_group = controlling_terminal();
    let mut task = direct::task(launch)?;
    task.command.signals = signals;
    task.command.new_group = !shares_group;
    task.command.confinement = Confinement::Own(filter::program(&plan.filter));
    task.command.limits = limits(&plan.limits);
    task.command.ends_with = call::getpid();
    let duties = duties(plan, launch.door.as_ref(), opened)?;
    let (listener, telling) = notify::listen(launch.witness.as_ref(), duties)?.unzip();
    let channel = telling.as_ref().map(|telling| telling.channel);
    task.command.told = telling.map(|telling| Telling { mark: launch.mark, ..telling });
    let orphans = Orphans::adopt().map_err(system("adopt the command's descendants"))?;
    task.command.ruleset = ruleset(plan)?;
    let signals = watch_signals()?;
    let started = direct::start(&task, launch);
    call::close(task.command.ruleset);
    // Or the end of the command would never show.
    channel.into_iter().for_each(call::close);
    let child = match started {
        Ok(child) => child,
        Err(error) => {
            call::close(signals);
            return Err(error);
        }
    };
    let deadline = deadline(&plan.limits);
    let running = Running { way: Way::Direct, child, signals, deadline, shares_group };
    let exceeded = running.until_end(&mut [], &mut |_, _| {});
    call::close(signals);
    call::close(child.descriptor);
    let (status, usage) = reaped(child)?;
    orphans.end();
    listener.into_iter().for_each(Listener::join);
    let status = decoded(status);
    Ok(Ended { status, exceeded, usage, appeared: Vec::new() })
}

/// What is done for the commands of a plan; its door is handed out.
pub(crate) fn duties(
    plan: &LandlockPlan,
    door: Option<&TcpListener>,
    opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Duties, Error> {
    let door = door.map(|door| Door::open(door, opened)).transpose()?;
    // Where no socket can be made that could be reached, nobody need hear of it.
    let servers = if door.is_some() { Servers::UnixByUs } else { Servers::All };
    Ok(Duties { files: plan.deputy.clone(), door, servers })
}

/// The task of the first process of a session, which is confined itself.
pub(crate) fn first(plan: &LandlockPlan, directory: &AbsPath) -> Result<Task, Error> {
    Ok(Task {
        steps: Steps { list: Vec::new(), slots: 0, masks: None },
        slots: Vec::new(),
        directory: text(directory.as_bytes()),
        command: None,
        channel: -1,
        telling: -1,
        mounts: None,
        ruleset: ruleset(plan)?,
        doors: None,
        supervisor: call::pidfd_open(call::getpid()).map_err(system("watch the supervisor"))?,
        stopped: -1,
        report: Report::default(),
        request: Request::new(false),
        ready: AtomicU32::new(0),
        arrivals: Arrivals::default(),
        starter: None,
        stack: Some(two_stacks()?),
    })
}

/// A command of such a session: it has the first process's domain, so that commands reach
/// each other.
pub(crate) fn command(plan: &LandlockPlan, launch: &Launch) -> Command {
    let mut bounds = limits(&plan.limits);
    if let Some([soft, hard]) = limit::descriptors_of_commands() {
        bounds.push((limit::RLIMIT_NOFILE, soft, hard));
    }
    Command {
        programs: texts(&launch.programs),
        arguments: Vector::of(texts(&launch.arguments)),
        environment: Vector::of(texts(&launch.environment)),
        confinement: Confinement::Own(filter::program(&plan.filter)),
        told: None,
        ruleset: -1,
        ends_with: 0,
        new_group: true,
        signals: 0,
        limits: bounds,
        mark: None,
    }
}

/// How many sessions of this process have a first process that only private memory keeps
/// its commands away from.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// Whether there is one.
pub(crate) fn has_sessions() -> bool {
    SESSIONS.load(SeqCst) > 0
}

/// Counts a session as long as it is there.
pub(crate) struct Counted;

impl Counted {
    pub(crate) fn new() -> Counted {
        SESSIONS.fetch_add(1, SeqCst);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        SESSIONS.fetch_sub(1, SeqCst);
    }
}

/// Starts the first process of a session.
pub(crate) fn start_first(task: &Task) -> Result<Process, Error> {
    let argument = std::ptr::from_ref(task).cast_mut().cast();
    let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut descriptor = -1;
    let stack = task.stack.as_ref().ok_or(Errno(libc::ENOMEM)).map_err(system("map a stack"))?;
    // SAFETY: only the first process uses this stack; the task, with the stack, lives until the process has been waited
    // for: nothing returns between here and there.
    let process = unsafe {
        call::clone_sharing_memory(begin, stack.lower(), flags, argument, &mut descriptor)
    };
    let number = process.map_err(system("start the first process of the session"))?;
    Ok(Process { number, descriptor })
}

/// Where the first process begins. `argument` is a [`Task`].
extern "C" fn begin(argument: *mut c_void) -> i32 {
    // SAFETY: the supervisor passes a task and keeps it until this process,
    // which shares its memory, has ended; both only read it or use atomics.
    let task = unsafe { &*argument.cast::<Task>() };
    match confine_first(task) {
        Ok(()) => commands::serve(task, Masks { directory: -1, file: -1 }),
        Err((stage, error)) => task.report.failed(stage, error),
    }
    call::exit(1)
}

fn confine_first(task: &Task) -> Result<(), (Stage, Errno)> {
    let process = |error| (Stage::Process, error);
    // 1. Never outlive the supervisor, not even one that died just now, and adopt what
    //    commands leave behind.
    call::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize).map_err(process)?;
    let mut polled = [libc::pollfd { fd: task.supervisor, events: libc::POLLIN, revents: 0 }];
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if call::ppoll(&mut polled, Some(now)) != Ok(0) {
        call::exit(1);
    }
    call::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(process)?;
    call::chdir(&task.directory).map_err(|error| (Stage::Directory, error))?;
    // 2. One domain for all commands, which this process therefore is in as well.
    let restrict = |error| (Stage::Restrict, error);
    call::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(restrict)?;
    call::landlock_restrict_self(task.ruleset).map_err(restrict)?;
    call::drop_capabilities().map_err(restrict)?;
    // 3. Out of reach: nothing of the memory that it shares can be read, or traced.
    call::prctl(libc::PR_SET_DUMPABLE, 0).map_err(process)
}

fn limits(limits: &Limits) -> Vec<(u32, u64, u64)> {
    let processes = limits.processes.map(|bound| (RLIMIT_NPROC, u64::from(bound)));
    let memory = limits.memory.map(|bound| (RLIMIT_DATA, bound));
    let bounds = processes.into_iter().chain(memory);
    bounds.map(|(resource, bound)| (resource, bound, bound)).collect()
}

/// What this kernel's Landlock can hold of a plan.
fn handled(plan: &LandlockPlan, version: u32) -> LandlockRuleset {
    let mut files = access::FIRST;
    for (since, right) in [(2, access::REFER), (3, access::TRUNCATE), (5, access::IOCTL_DEV)] {
        if version >= since {
            files |= right;
        }
    }
    // No rule adds a port: what is bounded is closed.
    let network = if plan.reach == Reach::Everything { 0 } else { BIND | CONNECT };
    LandlockRuleset {
        handled_access_fs: files,
        handled_access_net: if version >= 4 { network } else { 0 },
        scoped: if version >= 6 { SCOPES } else { 0 },
    }
}

/// Makes the ruleset of a plan.
fn ruleset(plan: &LandlockPlan) -> Result<i32, Error> {
    let version = call::landlock_version();
    let closed = |error: Errno| Error::Closed {
        attempted: String::from("confine with Landlock"),
        code: error.0,
    };
    if version == 0 {
        return Err(closed(Errno(libc::EOPNOTSUPP)));
    }
    let handled = handled(plan, version);
    let ruleset = call::landlock_create_ruleset(&handled).map_err(closed)?;
    match rules(plan, &handled, ruleset) {
        Ok(()) => Ok(ruleset),
        Err(error) => {
            call::close(ruleset);
            Err(error)
        }
    }
}

fn rules(plan: &LandlockPlan, handled: &LandlockRuleset, ruleset: i32) -> Result<(), Error> {
    for grant in &plan.grants {
        add(grant, handled, ruleset).map_err(|error| Error::Path {
            attempted: format!("give the command {}", Quoted(grant.path.as_bytes())),
            code: error.0,
        })?;
    }
    Ok(())
}

/// Adds a rule for what is there now. What has gone since is not given; what has
/// become something else is an error.
fn add(grant: &Grant, handled: &LandlockRuleset, ruleset: i32) -> Result<(), Errno> {
    let directory = grant.kind == MountKind::Directory;
    let kind = if directory { libc::O_DIRECTORY } else { 0 };
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW | kind;
    let path = text(grant.path.as_bytes());
    let opened = match call::openat2_no_links(libc::AT_FDCWD, &path, flags) {
        Err(Errno(libc::ENOENT | libc::EACCES)) => return Ok(()),
        // A host is free to make its devices links.
        Err(Errno(libc::ELOOP)) if is_the_hosts_to_have(grant.access) => return Ok(()),
        opened => opened?,
    };
    let added = match (directory, call::is_directory(opened)) {
        (_, Err(error)) => Err(error),
        (false, Ok(true)) => Err(Errno(libc::EISDIR)),
        _ => {
            let rights = rights(grant) & handled.handled_access_fs;
            call::landlock_add_path(ruleset, rights, opened)
        }
    };
    call::close(opened);
    added
}

/// Whether every plan has it, wherever the host has that.
fn is_the_hosts_to_have(access: GrantAccess) -> bool {
    matches!(access, GrantAccess::Device | GrantAccess::SharedMemory)
}

fn rights(grant: &Grant) -> u64 {
    let read = access::EXECUTE | access::READ_FILE | access::READ_DIR;
    let device = access::READ_FILE | access::WRITE_FILE | access::TRUNCATE | access::IOCTL_DEV;
    let rights = match grant.access {
        GrantAccess::Read => read,
        GrantAccess::Write | GrantAccess::SharedMemory => u64::MAX,
        GrantAccess::Device if grant.kind == MountKind::Directory => device | access::READ_DIR,
        GrantAccess::Device => device,
    };
    if grant.kind == MountKind::Directory { rights } else { rights & access::OF_FILES }
}
