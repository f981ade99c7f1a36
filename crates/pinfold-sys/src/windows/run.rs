//! Runs one command: a process in a job, under a restricted token.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pinfold_policy::plan::windows::block::environment_block;
use pinfold_policy::plan::windows::order::{Attempt, Order};
use pinfold_policy::plan::windows::quote::{QuoteError, command_line};
use pinfold_policy::plan::windows::{Confined, Entry, Job, Plan, Token, setup as steps, wide};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_EXE_FORMAT, ERROR_DIRECTORY, ERROR_FILENAME_EXCED_RANGE, ERROR_INVALID_PARAMETER,
    ERROR_LOGON_FAILURE,
};
use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_ACTIVE_PROCESS, JOB_OBJECT_LIMIT_JOB_MEMORY,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_UILIMIT_DESKTOP, JOB_OBJECT_UILIMIT_EXITWINDOWS,
    JOB_OBJECT_UILIMIT_GLOBALATOMS, JOB_OBJECT_UILIMIT_HANDLES, JOB_OBJECT_UILIMIT_READCLIPBOARD,
    JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS, JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_BASIC_UI_RESTRICTIONS,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectBasicAccountingInformation,
    JobObjectBasicUIRestrictions, JobObjectExtendedLimitInformation,
};

use super::call::{self, Number, Outcome, with_nul};
use super::confine::{Confinement, first_there};
use super::console::Console;
use super::runner::{self, RemoteTerminal, Runner};
use super::start::{Start, create_process};
use super::{relay, setup};
use crate::portable::{HeadStart, door};
use crate::seam::{Ended, Error, Exceeded, Launch, OpenDoors, Size, Status, Usage};

/// How long is waited at once.
const SLICE: Duration = Duration::from_secs(3600);

/// Who starts the commands of a plan, under what.
#[derive(Debug)]
enum Who {
    /// This process, with nothing but a job.
    Unconfined,
    /// This process.
    Caller(Confinement),
    /// The runner of a sandbox account.
    Account(Arc<Runner>, Token),
}

/// How often a key that interrupts is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What commands of a plan are started in.
#[derive(Debug)]
pub(crate) struct Prepared {
    who: Who,
    /// Ends what is in it when it is closed.
    pub(crate) job: OwnedHandle,
    pub(crate) bounds: Job,
    /// Variables that the plan adds.
    variables: BTreeMap<String, String>,
}

/// What a command is connected to.
pub(crate) enum Connection {
    /// Handles that it inherits; none for what is closed.
    Handles([Option<OwnedHandle>; 3]),
    /// A console that is typed into and shown on these pipes.
    Terminal([OwnedHandle; 2], Size),
}

/// The console of a command.
#[derive(Debug)]
pub(crate) enum Terminal {
    /// One of this process.
    Own(Arc<Console>),
    /// One of the runner, by its number.
    Remote(Arc<Runner>, u32),
}

impl Terminal {
    pub(crate) fn resize(&self, size: Size) -> Outcome<()> {
        match self {
            Terminal::Own(console) => console.resize(size),
            Terminal::Remote(runner, number) => runner.resize(*number, size),
        }
    }
}

pub(crate) fn system(attempted: &str) -> impl Fn(Number) -> Error + '_ {
    move |code| Error::System { attempted: attempted.into(), code }
}

/// Prepares everything but a command.
pub(crate) fn prepare(plan: &Plan) -> Result<Prepared, Error> {
    let open = |wall_time| Job { processes: None, memory: None, wall_time };
    let (who, bounds, variables) = match plan {
        Plan::Unconfined(wall_time) => (Who::Unconfined, open(*wall_time), BTreeMap::new()),
        Plan::Confined(confined) => {
            check_entries(&setup::entries(plan))?;
            (who(confined)?, confined.job, confined.environment.clone())
        }
    };
    let confined = !matches!(who, Who::Unconfined);
    let job = job(&bounds, confined).map_err(system("bound the command by a job"))?;
    Ok(Prepared { who, job, bounds, variables })
}

/// Prepares whoever starts the commands of a plan.
fn who(plan: &Confined) -> Result<Who, Error> {
    let Some(user) = steps::user(plan.account) else {
        let made = Confinement::of(&plan.token);
        return Ok(Who::Caller(made.map_err(system("confine the command"))?));
    };
    let nothing = Job { processes: None, memory: None, wall_time: None };
    let job = job(&nothing, false).map_err(system("bound the runner by a job"))?;
    let runner = Runner::start(user, job).map_err(|code| match code as u32 {
        ERROR_LOGON_FAILURE => Error::Unprepared {
            attempted: format!("run a command as {user}: the account has another password"),
            remedy: "run \"pinfold setup --accounts\" again",
        },
        _ => Error::System { attempted: format!("run a command as {user}"), code },
    })?;
    Ok(Who::Account(Arc::new(runner), plan.token.clone()))
}

impl Prepared {
    /// Whether commands are started by a process that has no part in this one's console.
    fn is_elsewhere(&self) -> bool {
        matches!(self.who, Who::Account(..))
    }

    /// Starts a command, which is in this job as well, if there is one; the command and its
    /// console.
    pub(crate) fn start(
        &self,
        launch: &Launch,
        connection: Connection,
        job: Option<&OwnedHandle>,
    ) -> Result<(OwnedHandle, Option<Terminal>), Error> {
        let given = launch.environment.iter().filter_map(|entry| {
            // A name may begin with an equals sign.
            let end = entry.iter().skip(1).position(|byte| *byte == b'=')? + 1;
            Some((wide::units(entry.get(..end)?), wide::units(entry.get(end + 1..)?)))
        });
        let added = self.variables.iter();
        let added = added
            .map(|(name, value)| (wide::units(name.as_bytes()), wide::units(value.as_bytes())));
        let environment = environment_block(&given.chain(added).collect::<Vec<_>>())
            .map_err(|_| Error::Execute { code: ERROR_INVALID_PARAMETER as i32 })?;
        let jobs: Vec<&OwnedHandle> = [&self.job].into_iter().chain(job).collect();
        let (attempts, otherwise) = attempts(launch);
        let directory = wide::units(launch.directory.as_bytes());
        let order = Order {
            token: Token { flags: 0, restricting: Vec::new() },
            attempts,
            otherwise,
            directory,
            environment,
            standard: [0; 3],
            jobs: Vec::new(),
            terminal: None,
        };
        let started = match &self.who {
            Who::Unconfined => start_here(&order, connection, &jobs, None),
            Who::Caller(confinement) => start_here(&order, connection, &jobs, Some(confinement)),
            Who::Account(runner, token) => {
                start_there(runner, Order { token: token.clone(), ..order }, connection, &jobs)
            }
        };
        started.map_err(|code| match code as u32 {
            ERROR_DIRECTORY => Error::Directory { directory: launch.directory.clone(), code },
            _ => Error::Execute { code },
        })
    }
}

/// Starts a command from this process.
fn start_here(
    order: &Order,
    connection: Connection,
    jobs: &[&OwnedHandle],
    confinement: Option<&Confinement>,
) -> Outcome<(OwnedHandle, Option<Terminal>)> {
    let (standard, console) = match connection {
        Connection::Handles(handles) => (handles, None),
        Connection::Terminal([input, output], size) => {
            ([None, None, None], Some(Arc::new(Console::on(&input, &output, size)?)))
        }
    };
    let directory = with_nul(order.directory.clone());
    let process = first_there(&order.attempts, order.otherwise, |attempt| {
        create_process(Start {
            program: &with_nul(attempt.program.clone()),
            line: with_nul(attempt.line.clone()),
            directory: &directory,
            environment: &order.environment,
            standard: &standard,
            jobs,
            token: confinement.map(|confinement| &confinement.token),
            desktop: confinement.map(|confinement| confinement.desktop.as_str()),
            console: console.as_deref(),
        })
    })?;
    if let Some(console) = &console {
        runner::close_with(console.clone(), &process)?;
    }
    Ok((process, console.map(Terminal::Own)))
}

/// Has a command started by the runner of an account.
fn start_there(
    runner: &Arc<Runner>,
    order: Order,
    connection: Connection,
    jobs: &[&OwnedHandle],
) -> Outcome<(OwnedHandle, Option<Terminal>)> {
    let (standard, remote) = match connection {
        Connection::Handles(handles) => (handles, None),
        Connection::Terminal([input, output], size) => {
            let number = runner.next_terminal();
            ([None, None, None], Some(RemoteTerminal { number, size, input, output }))
        }
    };
    let [input, output, error] = &standard;
    let standard = [input.as_ref(), output.as_ref(), error.as_ref()];
    let connected = runner::Connected { standard, jobs, terminal: remote.as_ref() };
    let process = runner.run(order, &connected)?;
    let terminal = remote.map(|remote| Terminal::Remote(runner.clone(), remote.number));
    Ok((process, terminal))
}

/// Runs one command under a plan and waits for it.
///
/// # Errors
/// Nothing has been run when this returns an error.
pub fn run(
    plan: &Plan,
    launch: &Launch,
    _head_start: Option<HeadStart>,
    opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Ended, Error> {
    let prepared = prepare(plan)?;
    door::serve(launch.door.as_ref(), opened)?;
    let (connection, relay) = match prepared.is_elsewhere() {
        true => relay::connect(call::standard()).map_err(system("connect the command"))?,
        false => (Connection::Handles(call::standard()), None),
    };
    match prepared.is_elsewhere() {
        // The command is at no console, or at one of its own, and hears of nothing.
        true => call::notice_interrupts(),
        false => call::leave_interrupts(),
    }
    let began = Instant::now();
    // What the command writes to comes to its end with the command: nothing of it stays here.
    let (process, terminal) = prepared.start(launch, connection, None)?;
    let deadline = prepared.bounds.wall_time.map(|time| began + time);
    let exceeded = match prepared.is_elsewhere() {
        true => wait_or_interrupt(process.as_handle(), deadline),
        false => wait(process.as_handle(), deadline),
    };
    // What it has left behind ends with it.
    call::terminate_job(&prepared.job);
    call::wait(process.as_handle(), u32::MAX);
    drop(terminal);
    if let Some(relay) = relay {
        relay.finish();
    }
    let status = call::exit_status(&process).map_err(system("wait for the command"))?;
    Ok(Ended {
        status: Status::Exited(status as i32),
        exceeded,
        usage: usage(&prepared.job),
        appeared: Vec::new(),
    })
}

/// Opens the door on the host's own loopback, at the one port that the filters of the accounts
/// leave open.
///
/// # Errors
/// When something else uses that port, such as another run with host rules.
pub fn door(plan: &Plan) -> Result<Option<TcpListener>, Error> {
    let Plan::Confined(Confined { proxy_port: Some(port), .. }) = plan else { return Ok(None) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
    listener.map(Some).map_err(|error| Error::System {
        attempted: format!("listen on port {port} of loopback, which another run may use"),
        code: error.raw_os_error().unwrap_or_default(),
    })
}

/// The same for a command that is ended by the keys that interrupt.
fn wait_or_interrupt(process: BorrowedHandle<'_>, deadline: Option<Instant>) -> Option<Exceeded> {
    loop {
        let now = Instant::now();
        let next = now + LOOK;
        let until = deadline.map_or(next, |end| end.min(next));
        match wait(process, Some(until)) {
            None => return None,
            Some(_) if call::was_interrupted() => return None,
            Some(exceeded) if deadline.is_some_and(|end| now >= end) => return Some(exceeded),
            Some(_) => {}
        }
    }
}

/// Waits for the end of a process, or an event, or for a moment; the limit that was reached.
pub(crate) fn wait(process: BorrowedHandle<'_>, deadline: Option<Instant>) -> Option<Exceeded> {
    loop {
        let left = deadline.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
        let milliseconds = left.min(SLICE).as_nanos().div_ceil(1_000_000);
        if call::wait(process, u32::try_from(milliseconds).unwrap_or(u32::MAX - 1)) {
            return None;
        }
        if deadline.is_some_and(|end| Instant::now() >= end) {
            return Some(Exceeded::WallTime);
        }
    }
}

/// The candidates for a program and their command lines, up to one that has none; the error
/// of that one.
fn attempts(launch: &Launch) -> (Vec<Attempt>, Option<u32>) {
    let mut attempts = Vec::new();
    for program in &launch.programs {
        let place = launch.directory.join(program);
        let program = place.map_or_else(|_| program.clone(), |path| path.as_bytes().to_vec());
        let mut words: Vec<Vec<u16>> =
            launch.arguments.iter().map(|word| wide::units(word)).collect();
        let program = wide::units(&program);
        match words.first_mut() {
            Some(first) => first.clone_from(&program),
            None => words.push(program.clone()),
        }
        match command_line(&words) {
            Ok(line) => attempts.push(Attempt { program, line }),
            Err(why) => return (attempts, Some(quoted(why))),
        }
    }
    (attempts, None)
}

/// The error number that stands for a command line that cannot be written.
fn quoted(why: QuoteError) -> u32 {
    match why {
        QuoteError::Batch => ERROR_BAD_EXE_FORMAT,
        QuoteError::TooLong => ERROR_FILENAME_EXCED_RANGE,
        _ => ERROR_INVALID_PARAMETER,
    }
}

fn job(bounds: &Job, confined: bool) -> Result<OwnedHandle, Number> {
    let job = call::create_job()?;
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if let Some(processes) = bounds.processes {
        limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        limits.BasicLimitInformation.ActiveProcessLimit = processes;
    }
    if let Some(memory) = bounds.memory {
        limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        limits.JobMemoryLimit = usize::try_from(memory).unwrap_or(usize::MAX);
    }
    call::set_job(&job, JobObjectExtendedLimitInformation, &limits)?;
    if confined {
        // The user's windows, clipboard and settings are out of reach.
        let restrictions = JOBOBJECT_BASIC_UI_RESTRICTIONS {
            UIRestrictionsClass: JOB_OBJECT_UILIMIT_DESKTOP
                | JOB_OBJECT_UILIMIT_EXITWINDOWS
                | JOB_OBJECT_UILIMIT_GLOBALATOMS
                | JOB_OBJECT_UILIMIT_HANDLES
                | JOB_OBJECT_UILIMIT_READCLIPBOARD
                | JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS
                | JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
        };
        call::set_job(&job, JobObjectBasicUIRestrictions, &restrictions)?;
    }
    Ok(job)
}

/// The entries of the plan are made once, by the user: never for a single command.
fn check_entries(entries: &[Entry]) -> Result<(), Error> {
    match setup::missing(entries) {
        Ok(None) => Ok(()),
        Ok(Some(entry)) => Err(Error::Unprepared {
            attempted: format!("confine the command: {} has no entry for that", entry.path),
            remedy: "run \"pinfold setup\" with the same profile options once",
        }),
        Err((entry, code)) => {
            Err(Error::Path { attempted: format!("read the access of {}", entry.path), code })
        }
    }
}

pub(crate) fn usage(job: &OwnedHandle) -> Usage {
    let ticks = |count: i64| Duration::from_nanos(u64::try_from(count).unwrap_or_default() * 100);
    let times: JOBOBJECT_BASIC_ACCOUNTING_INFORMATION =
        call::query_job(job, JobObjectBasicAccountingInformation).unwrap_or_default();
    let limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION =
        call::query_job(job, JobObjectExtendedLimitInformation).unwrap_or_default();
    Usage {
        user: ticks(times.TotalUserTime),
        system: ticks(times.TotalKernelTime),
        resident: limits.PeakProcessMemoryUsed as u64,
    }
}
