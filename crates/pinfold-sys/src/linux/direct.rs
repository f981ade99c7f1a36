//! A command as a direct child, without a first process in between.

use std::ffi::{CString, c_void};
use std::time::Duration;

use super::call::{self, Stack};
use super::command::{Command, Confinement, Vector, stack};
use super::name::{text, texts};
use super::orphans::Orphans;
use super::shared::{Report, Stage};
use super::supervise::{
    Process, Running, Way, controlling_terminal, decoded, from_now, reaped, system, watch_signals,
};
use crate::seam::{Ended, Error, Launch};

/// What the child needs until its `execve`.
pub(crate) struct Task {
    pub(crate) directory: CString,
    pub(crate) command: Command,
    pub(crate) report: Report,
    stack: Stack,
}

/// Runs a command without any confinement, for so long at most; `signals` stay blocked
/// for it.
pub(crate) fn run(
    launch: &Launch,
    wall_time: Option<Duration>,
    signals: u64,
) -> Result<Ended, Error> {
    let shares_group = controlling_terminal();
    let mut task = task(launch)?;
    task.command.signals = signals;
    task.command.new_group = !shares_group;
    // Only a limit that ends the command ends what it has left behind.
    let orphans = wall_time.map(|_| Orphans::adopt()).transpose();
    let orphans = orphans.map_err(system("adopt the command's descendants"))?;
    let signals = watch_signals()?;
    let child = start(&task, launch)?;
    let deadline = wall_time.and_then(from_now);
    let running = Running { way: Way::Direct, child, signals, deadline, shares_group };
    let exceeded = running.until_end(&mut [], &mut |_, _| {});
    call::close(signals);
    call::close(child.descriptor);
    let (status, usage) = reaped(child)?;
    match orphans {
        Some(orphans) if exceeded.is_some() => orphans.end(),
        Some(orphans) => orphans.release(),
        None => {}
    }
    let status = decoded(status);
    Ok(Ended { status, exceeded, usage, appeared: Vec::new() })
}

/// The task of a child without restrictions.
pub(crate) fn task(launch: &Launch) -> Result<Task, Error> {
    Ok(Task {
        directory: text(launch.directory.as_bytes()),
        command: Command {
            programs: texts(&launch.programs),
            arguments: Vector::of(texts(&launch.arguments)),
            environment: Vector::of(texts(&launch.environment)),
            confinement: Confinement::Nothing,
            told: None,
            ruleset: -1,
            ends_with: 0,
            new_group: true,
            signals: 0,
            limits: Vec::new(),
            mark: None,
        },
        report: Report::default(),
        stack: stack()?,
    })
}

/// Starts the child and returns once it has executed the program.
pub(crate) fn start(task: &Task, launch: &Launch) -> Result<Process, Error> {
    let flags = libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let argument = std::ptr::from_ref(task).cast_mut().cast();
    let mut descriptor = -1;
    // SAFETY: only the child uses this stack, and this function is suspended until the child has called `execve`
    // (CLONE_VFORK), so task and stack are alive until then.
    let started = unsafe {
        call::clone_sharing_memory(begin, task.stack.lower(), flags, argument, &mut descriptor)
    };
    let number = started.map_err(|error| Error::System {
        attempted: String::from("start a process"),
        code: error.0,
    })?;
    let child = Process { number, descriptor };
    match task.report.failure() {
        None => Ok(child),
        Some((stage, error)) => {
            reaped(child)?;
            call::close(descriptor);
            Err(failure(stage, error.0, launch))
        }
    }
}

extern "C" fn begin(argument: *mut c_void) -> i32 {
    // SAFETY: the parent passes a task and is suspended until `execve`.
    let task = unsafe { &*argument.cast::<Task>() };
    let (stage, error) = match call::chdir(&task.directory) {
        Err(error) => (Stage::Directory, error),
        Ok(()) => task.command.become_it(),
    };
    task.report.failed(stage, error);
    call::exit(127)
}

fn failure(stage: Stage, code: i32, launch: &Launch) -> Error {
    match stage {
        Stage::Execute => Error::Execute { code },
        Stage::Directory => Error::Directory { directory: launch.directory.clone(), code },
        _ => Error::System { attempted: String::from("restrict the command"), code },
    }
}
