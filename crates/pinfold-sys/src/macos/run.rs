//! Runs one command through `sandbox-exec`, which becomes the command itself.

use std::ffi::CString;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pinfold_policy::plan::macos::{PROXY_PORT, Seatbelt};

use super::call::{self, Start, Told, Watched};
use super::listen::Listener;
use super::watchdog::Watchdog;
use crate::plan::Plan;
use crate::portable::{HeadStart, door};
use crate::refusals::Sieve;
use crate::seam::{Ended, Error, Exceeded, Launch, OpenDoors, Status, Usage};
use crate::unix::loopback_door;

/// The program that puts a command into a sandbox. The absolute name is on purpose.
pub(super) const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

/// Signals that reach the command when they are sent to this process.
const PASSED_ON: [i32; 9] = [
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGWINCH,
    libc::SIGTSTP,
];

/// Those of them that a terminal sends to the command as well, when that is in the group
/// of this process. Who sent a signal cannot be asked here.
const OF_TERMINALS: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH, libc::SIGTSTP];

/// What `sandbox-exec` ends with when it cannot use the profile, or execute the program: those
/// of `sysexits.h` for usage, data and the system.
const FAILED: [i32; 3] = [64, 65, 71];

/// How often what is left of a command is looked for, at most.
const ROUNDS: usize = 1000;

/// Runs one command under a plan and waits for it. `opened` gets the door of a plan with
/// a proxy; the command starts when it says that it is served.
///
/// # Errors
/// Nothing has been run when this returns an error. What `sandbox-exec` itself refuses, it
/// also says on standard error.
pub fn run(
    plan: &Plan,
    launch: &Launch,
    _head_start: Option<HeadStart>,
    opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Ended, Error> {
    let mask = call::block_signals();
    let ended = running(plan, launch, opened, mask);
    // What came for the command is not for this process.
    while call::take_pending(&PASSED_ON).is_some() {}
    call::set_mask(&mask);
    ended
}

/// Opens a door on the host's own loopback, for plans that need one: the command has no
/// network but that.
///
/// # Errors
/// When no socket can be opened.
pub fn door(plan: &Plan) -> Result<Option<TcpListener>, Error> {
    match plan {
        Plan::Seatbelt(Seatbelt { proxy: true, .. }) => loopback_door().map(Some),
        Plan::Seatbelt(_) | Plan::Unconfined(_) => Ok(None),
    }
}

fn running(
    plan: &Plan,
    launch: &Launch,
    opened: &mut dyn FnMut(OpenDoors) -> bool,
    mask: libc::sigset_t,
) -> Result<Ended, Error> {
    let program = program(launch)?;
    let port = door::serve(launch.door.as_ref(), opened)?;
    let wall_time = match plan {
        Plan::Unconfined(wall_time) => *wall_time,
        Plan::Seatbelt(plan) => plan.wall_time,
    };
    let mut arguments = match plan {
        Plan::Unconfined(_) => Vec::new(),
        Plan::Seatbelt(plan) => of_sandbox_exec(plan, port),
    };
    let start_with = if arguments.is_empty() { program.clone() } else { text(SANDBOX_EXEC) };
    arguments.push(if arguments.is_empty() {
        launch.arguments.first().map_or(program.clone(), |name| text(name.as_slice()))
    } else {
        // It takes the name of the file for the name of the program, too.
        program
    });
    arguments.extend(launch.arguments.iter().skip(1).map(|word| text(word.as_slice())));
    let environment: Vec<CString> =
        launch.environment.iter().map(|entry| text(entry.as_slice())).collect();
    let queue = call::kqueue().map_err(system("watch processes"))?;
    for signal in PASSED_ON.into_iter().chain([libc::SIGCHLD]) {
        call::watch(&queue, Watched::Signal(signal)).map_err(system("watch for signals"))?;
    }
    let family = Arc::new(Mutex::new(Sieve::default()));
    let listener = match (&launch.witness, plan) {
        (Some(witness), Plan::Seatbelt(_)) => Some(Listener::start(witness, &family)),
        _ => None,
    };
    let shares_group = File::open("/dev/tty").is_ok();
    let deadline = wall_time.and_then(|time| Instant::now().checked_add(time));
    let command = call::posix_spawn(&Start {
        program: &start_with,
        arguments: &arguments,
        environment: &environment,
        directory: &text(launch.directory.as_bytes()),
        new_group: !shares_group,
        mask,
    })
    .map_err(|code| failure(launch, code))?;
    let watchdog = Watchdog::start(command, !shares_group);
    let running = Running { command, queue, family, listener: &listener, shares_group, deadline };
    running.adopt(&[command]);
    // Until now it has not run: everything that it starts is told of.
    let _ = call::kill(command, libc::SIGCONT);
    let Finished { waited, exceeded, executed } = running.until_end()?;
    running.end_what_is_left();
    drop(watchdog);
    if let Some(listener) = listener {
        listener.finish();
    }
    let confined = matches!(plan, Plan::Seatbelt(_));
    if confined && !executed && libc::WIFEXITED(waited.status) {
        let code = libc::WEXITSTATUS(waited.status);
        if FAILED.contains(&code) {
            return Err(Error::System {
                attempted: format!("confine the command: {SANDBOX_EXEC} ended with {code}"),
                code: libc::EPERM,
            });
        }
    }
    let used = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_usec).unwrap_or_default() * 1000)
    };
    let usage = Usage {
        user: used(waited.usage.ru_utime),
        system: used(waited.usage.ru_stime),
        // In bytes on this system.
        resident: u64::try_from(waited.usage.ru_maxrss).unwrap_or_default(),
    };
    let status = if libc::WIFSIGNALED(waited.status) {
        Status::Signaled(libc::WTERMSIG(waited.status))
    } else {
        Status::Exited(libc::WEXITSTATUS(waited.status))
    };
    Ok(Ended { status, exceeded, usage, appeared: Vec::new() })
}

/// The arguments up to the program: the text of the profile, and its parameters.
fn of_sandbox_exec(plan: &Seatbelt, port: Option<u16>) -> Vec<CString> {
    let mut arguments = vec![text(SANDBOX_EXEC), text("-p"), text(plan.text.as_str())];
    for (index, path) in plan.parameters.iter().enumerate() {
        let named = [format!("P{index}=").as_bytes(), path.as_bytes()].concat();
        arguments.extend([text("-D"), text(named)]);
    }
    if let Some(port) = port.filter(|_| plan.proxy) {
        arguments.extend([text("-D"), text(format!("{PROXY_PORT}={port}"))]);
    }
    arguments
}

/// The program that `execvp(3)` would find: `sandbox-exec` does not say why it could not
/// execute one. Whoever changes the file until then changes what the command is, as
/// without a sandbox; the profile holds for whatever that is.
fn program(launch: &Launch) -> Result<CString, Error> {
    let mut code = libc::ENOENT;
    for program in &launch.programs {
        let Ok(path) = launch.directory.join(program) else { continue };
        match std::fs::metadata(crate::name::path(&path)) {
            Ok(found) if found.is_dir() => code = libc::EACCES,
            Ok(_) if super::facts::accessible(&path, libc::X_OK) => {
                return Ok(text(path.as_bytes()));
            }
            Ok(_) => code = libc::EACCES,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) | None => {}
                Some(other) => code = other,
            },
        }
    }
    Err(Error::Execute { code })
}

fn failure(launch: &Launch, code: i32) -> Error {
    match std::fs::metadata(crate::name::path(&launch.directory)) {
        Ok(found) if found.is_dir() => Error::Execute { code },
        _ => Error::Directory { directory: launch.directory.clone(), code },
    }
}

/// How a command ended.
struct Finished {
    waited: call::Waited,
    /// The limit that ended it, if one did.
    exceeded: Option<Exceeded>,
    /// Whether `sandbox-exec` became the command.
    executed: bool,
}

struct Running<'r> {
    command: i32,
    queue: OwnedFd,
    family: Arc<Mutex<Sieve>>,
    listener: &'r Option<Listener>,
    shares_group: bool,
    deadline: Option<Instant>,
}

impl Running<'_> {
    /// Watches processes, and what they start from now on.
    fn adopt(&self, processes: &[i32]) {
        let mut open = processes.to_vec();
        while !open.is_empty() {
            let (new, refusals) =
                self.family.lock().unwrap_or_else(PoisonError::into_inner).adopt(&open);
            if let Some(listener) = self.listener {
                refusals.into_iter().for_each(|attempt| listener.tell(attempt));
            }
            open.clear();
            for process in new {
                match call::watch(&self.queue, Watched::Process(process)) {
                    // What it has started before is found here, later forks are told.
                    Ok(()) => open.extend(call::proc_listchildpids(process)),
                    Err(_) => self.ended(process),
                }
            }
        }
    }

    fn ended(&self, process: i32) {
        self.family.lock().unwrap_or_else(PoisonError::into_inner).ended(process);
    }

    /// Waits for the end of the command.
    fn until_end(&self) -> Result<Finished, Error> {
        let (mut exceeded, mut became) = (None, false);
        loop {
            // A second look, lest one event is missed.
            const SLICE: Duration = Duration::from_millis(500);
            let left = self.deadline.filter(|_| exceeded.is_none());
            let left = left.map(|end| end.saturating_duration_since(Instant::now()));
            match call::next(&self.queue, Some(left.unwrap_or(SLICE).min(SLICE))) {
                Told::Forked(process) => self.adopt(&call::proc_listchildpids(process)),
                Told::Executed(process) => {
                    became |= process == self.command;
                    self.adopt(&call::proc_listchildpids(process));
                }
                Told::Ended { process, .. } if process != self.command => self.ended(process),
                Told::Ended { executed, .. } => became |= executed,
                Told::Signal(_) => self.pass_on(),
                Told::Nothing => {}
            }
            let waited = call::wait4(self.command, libc::WNOHANG | libc::WUNTRACED)
                .map_err(system("wait for the command"))?;
            if waited.process == self.command && libc::WIFSTOPPED(waited.status) {
                self.stop();
            } else if waited.process == self.command {
                self.ended(self.command);
                // What was told before its end, and not looked at yet.
                loop {
                    match call::next(&self.queue, Some(Duration::ZERO)) {
                        Told::Executed(process) => became |= process == self.command,
                        Told::Ended { process, executed } if process == self.command => {
                            became |= executed;
                        }
                        Told::Ended { process, .. } => self.ended(process),
                        Told::Forked(process) => self.adopt(&call::proc_listchildpids(process)),
                        Told::Signal(_) => self.pass_on(),
                        Told::Nothing => break,
                    }
                }
                return Ok(Finished { waited, exceeded, executed: became });
            }
            if exceeded.is_none() && self.deadline.is_some_and(|end| Instant::now() >= end) {
                exceeded = Some(Exceeded::WallTime);
                self.kill();
            }
        }
    }

    fn pass_on(&self) {
        while let Some(signal) = call::take_pending(&PASSED_ON) {
            if !(self.shares_group && OF_TERMINALS.contains(&signal)) {
                let _ = call::kill(self.command, signal);
            }
        }
    }

    /// The command has stopped, and so does this process, for the shell that waits for
    /// it. Going on, the command goes on too.
    fn stop(&self) {
        let _ = call::kill(call::getpid(), libc::SIGSTOP);
        let _ = call::kill(self.command, libc::SIGCONT);
    }

    fn kill(&self) {
        let _ = call::kill(self.command, libc::SIGKILL);
        if !self.shares_group {
            let _ = call::kill(-self.command, libc::SIGKILL);
        }
    }

    /// Kills what the command has left behind, as far as it is known.
    fn end_what_is_left(&self) {
        if !self.shares_group {
            let _ = call::kill(-self.command, libc::SIGKILL);
        }
        for _ in 0..ROUNDS {
            let alive = self.family.lock().unwrap_or_else(PoisonError::into_inner).alive();
            if alive.is_empty() {
                break;
            }
            for process in &alive {
                // Before it, what it has just started.
                self.adopt(&call::proc_listchildpids(*process));
                if call::kill(*process, libc::SIGKILL).is_err() {
                    self.ended(*process);
                }
            }
            while let Told::Ended { process, .. } =
                call::next(&self.queue, Some(Duration::from_millis(1)))
            {
                self.ended(process);
            }
        }
    }
}

/// A C string. Nothing that comes from a path, an argument or a variable can hold a NUL; one
/// that did would lose it.
fn text(bytes: impl Into<Vec<u8>>) -> CString {
    let mut bytes: Vec<u8> = bytes.into();
    bytes.retain(|byte| *byte != 0);
    CString::new(bytes).unwrap_or_default()
}

/// Names what was attempted when a function of the system fails.
fn system(attempted: &'static str) -> impl Fn(i32) -> Error {
    move |code| Error::System { attempted: attempted.into(), code }
}
