//! Runs one command: a process in a job, under a restricted token.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::time::{Duration, Instant};

use pinfold_policy::plan::windows::block::environment_block;
use pinfold_policy::plan::windows::quote::{QuoteError, command_line};
use pinfold_policy::plan::windows::{Account, Confined, Job, Plan, Token, wide};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_EXE_FORMAT, ERROR_BAD_PATHNAME, ERROR_DIRECTORY, ERROR_FILE_NOT_FOUND,
    ERROR_FILENAME_EXCED_RANGE, ERROR_INVALID_PARAMETER, ERROR_PATH_NOT_FOUND,
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

use super::call::{self, Descriptor, Desktop, Number, with_nul};
use super::console::Console;
use super::setup;
use super::start::{Start, create_process};
use crate::portable::HeadStart;
use crate::seam::{Ended, Error, Exceeded, Launch, OpenDoors, Status, Usage};

/// How long is waited at once.
const SLICE: Duration = Duration::from_secs(3600);

/// What commands of a plan are confined by, besides their jobs.
#[derive(Debug)]
struct Confinement {
    token: OwnedHandle,
    /// The name of its desktop, which is there as long as this is.
    desktop: String,
    _desktop: Desktop,
}

/// What commands of a plan are started in.
#[derive(Debug)]
pub(crate) struct Prepared {
    confinement: Option<Confinement>,
    /// Ends what is in it when it is closed.
    pub(crate) job: OwnedHandle,
    pub(crate) bounds: Job,
    /// Variables that the plan adds.
    variables: BTreeMap<String, String>,
}

pub(crate) fn system(attempted: &str) -> impl Fn(Number) -> Error + '_ {
    move |code| Error::System { attempted: attempted.into(), code }
}

/// Prepares everything but a command.
pub(crate) fn prepare(plan: &Plan) -> Result<Prepared, Error> {
    let open = |wall_time| Job { processes: None, memory: None, wall_time };
    let (confinement, bounds, variables) = match plan {
        Plan::Unconfined(wall_time) => (None, open(*wall_time), BTreeMap::new()),
        Plan::Confined(plan) => (Some(confine(plan)?), plan.job, plan.environment.clone()),
    };
    let job = job(&bounds, confinement.is_some()).map_err(system("bound the command by a job"))?;
    Ok(Prepared { confinement, job, bounds, variables })
}

impl Prepared {
    /// Starts a command, which is in this job as well, if there is one, and has this console
    /// for a terminal.
    pub(crate) fn start(
        &self,
        launch: &Launch,
        (standard, console): (&[Option<OwnedHandle>; 3], Option<&Console>),
        job: Option<&OwnedHandle>,
    ) -> Result<OwnedHandle, Error> {
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
        start(launch, self.confinement.as_ref(), &environment, (standard, &jobs, console))
    }
}

/// Runs one command under a plan and waits for it.
///
/// # Errors
/// Nothing has been run when this returns an error.
pub fn run(
    plan: &Plan,
    launch: &Launch,
    _head_start: Option<HeadStart>,
    _opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Ended, Error> {
    let prepared = prepare(plan)?;
    let standard = call::standard();
    call::leave_interrupts();
    let began = Instant::now();
    let process = prepared.start(launch, (&standard, None), None)?;
    // What the command writes to must come to its end with the command.
    drop(standard);
    let deadline = prepared.bounds.wall_time.map(|time| began + time);
    let exceeded = wait(process.as_handle(), deadline);
    // What it has left behind ends with it.
    call::terminate_job(&prepared.job);
    call::wait(process.as_handle(), u32::MAX);
    let status = call::exit_status(&process).map_err(system("wait for the command"))?;
    Ok(Ended {
        status: Status::Exited(status as i32),
        exceeded,
        usage: usage(&prepared.job),
        appeared: Vec::new(),
    })
}

/// Opens a door on the host's own loopback, for plans that need one: none is run yet.
///
/// # Errors
/// Never.
pub fn door(_plan: &Plan) -> Result<Option<TcpListener>, Error> {
    Ok(None)
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

/// The first candidate that is there decides.
fn start(
    launch: &Launch,
    confinement: Option<&Confinement>,
    environment: &[u16],
    (standard, jobs, console): (&[Option<OwnedHandle>; 3], &[&OwnedHandle], Option<&Console>),
) -> Result<OwnedHandle, Error> {
    let directory = with_nul(wide::units(launch.directory.as_bytes()));
    let mut error = ERROR_FILE_NOT_FOUND as i32;
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
        let line = command_line(&words).map_err(|why| Error::Execute { code: quoted(why) })?;
        let started = create_process(Start {
            program: &with_nul(program),
            line: with_nul(line),
            directory: &directory,
            environment,
            standard,
            jobs,
            token: confinement.map(|confinement| &confinement.token),
            desktop: confinement.map(|confinement| confinement.desktop.as_str()),
            console,
        });
        match started {
            Ok(process) => return Ok(process),
            Err(code) => error = code,
        }
        match error as u32 {
            ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND | ERROR_BAD_PATHNAME => {}
            ERROR_DIRECTORY => {
                return Err(Error::Directory { directory: launch.directory.clone(), code: error });
            }
            _ => break,
        }
    }
    Err(Error::Execute { code: error })
}

/// The error number that stands for a command line that cannot be written.
fn quoted(why: QuoteError) -> i32 {
    (match why {
        QuoteError::Batch => ERROR_BAD_EXE_FORMAT,
        QuoteError::TooLong => ERROR_FILENAME_EXCED_RANGE,
        _ => ERROR_INVALID_PARAMETER,
    }) as i32
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

/// Makes what confines a command, and makes sure of the entries that it depends on.
fn confine(plan: &Confined) -> Result<Confinement, Error> {
    if plan.account != Account::Caller {
        return Err(Error::Unsupported {
            attempted: String::from("run a command as a sandbox account"),
            remedy: "run it on Linux; \"pinfold explain\" shows what would be enforced here",
        });
    }
    check_entries(plan)?;
    let own = call::own_token().map_err(system("open this process's token"))?;
    let user = call::user_of(&own).map_err(system("find this process's user"))?;
    let logon = call::logon_of(&own).map_err(system("find this process's logon"))?;
    let token = restricted(&own, &plan.token, &user, logon.as_deref())
        .map_err(system("restrict the command's token"))?;
    let desktop = format!("pinfold-{}", std::process::id());
    let list = Descriptor::parse(&everything(&user, logon.as_deref()))
        .map_err(system("describe the command's desktop"))?;
    let made = Desktop::create(&desktop, &list).map_err(system("make a desktop"))?;
    Ok(Confinement { token, desktop, _desktop: made })
}

/// A list that grants everything to the system, the user and the logon session, which is
/// among the restricting identifiers.
fn everything(user: &str, logon: Option<&str>) -> String {
    let logon = logon.map_or(String::new(), |logon| format!("(A;;GA;;;{logon})"));
    format!("D:P(A;;GA;;;SY)(A;;GA;;;{user}){logon}")
}

fn restricted(
    own: &OwnedHandle,
    plan: &Token,
    user: &str,
    logon: Option<&str>,
) -> Result<OwnedHandle, Number> {
    let mut restricting = plan.restricting.clone();
    restricting.extend(logon.map(String::from));
    let token = call::restrict(own, plan.flags, &restricting)?;
    // Or the command could not even write to a pipe of its own.
    call::set_default_list(&token, &Descriptor::parse(&everything(user, logon))?)?;
    Ok(token)
}

/// The entries of the plan are made once, by the user: never for a single command.
fn check_entries(plan: &Confined) -> Result<(), Error> {
    for entry in &plan.entries {
        let there = setup::has(entry).map_err(|code| Error::Path {
            attempted: format!("read the access of {}", entry.path),
            code,
        })?;
        if !there {
            return Err(Error::Unprepared {
                attempted: format!("confine the command: {} has no entry for that", entry.path),
                remedy: "run \"pinfold setup\" with the same profile options once",
            });
        }
    }
    Ok(())
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
