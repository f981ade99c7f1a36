//! Sandboxes that stay: each command is in a job of its own, inside that of the session.
//! They share what confines them; there is no first process.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::call;
use super::console::{self, Ends};
use super::plan::Plan;
use super::run::{self, Connection, Prepared, Terminal, system};
use crate::portable::door;
use crate::seam::{Closed, Error, Exceeded, Launch, Opened, Place, Size, Standard, Status};

/// How often a pipe is looked at: the system does not wait for pipes together with others.
const LOOK: Duration = Duration::from_millis(2);

/// A sandbox that stays. Dropping it ends everything inside.
#[derive(Debug)]
pub struct Session {
    inside: Arc<Inside>,
    /// Ends it when its time is over.
    clock: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inside {
    prepared: Prepared,
    /// Set when everything inside has been ended.
    over: OwnedHandle,
    exceeded: AtomicBool,
}

/// A command in a session.
#[derive(Debug)]
pub struct Child {
    process: OwnedHandle,
    job: OwnedHandle,
    terminal: Option<(Terminal, Ends)>,
}

/// Starts a sandbox without a command.
///
/// # Errors
/// When something has to be prepared that was not, or the system refuses an ingredient.
pub fn start(plan: &Plan, place: Place, opened: Opened) -> Result<Session, Error> {
    let prepared = run::prepare(plan)?;
    door::serve(place.door.as_ref(), opened)?;
    let over = call::event().map_err(system("make an event"))?;
    let wall_time = prepared.bounds.wall_time;
    let inside = Arc::new(Inside { prepared, over, exceeded: AtomicBool::new(false) });
    let clock = match wall_time {
        None => None,
        Some(time) => Some(clock(inside.clone(), time)?),
    };
    Ok(Session { inside, clock })
}

/// Ends a session after so long.
fn clock(inside: Arc<Inside>, time: Duration) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name(String::from("pinfold-session"));
    let run = move || {
        if run::wait(inside.over.as_handle(), Some(Instant::now() + time)).is_some() {
            inside.exceeded.store(true, SeqCst);
            inside.end();
        }
    };
    thread.spawn(run).map_err(|error| Error::System {
        attempted: String::from("start a thread"),
        code: error.raw_os_error().unwrap_or_default(),
    })
}

impl Inside {
    fn end(&self) {
        call::terminate_job(&self.prepared.job);
        call::set_event(&self.over);
    }
}

impl Session {
    /// Starts a command.
    ///
    /// # Errors
    /// When it cannot be started, or the session has ended.
    pub fn spawn(&self, launch: &Launch, standard: Standard) -> Result<Child, Error> {
        if call::wait(self.inside.over.as_handle(), 0) {
            return Err(Error::Unprepared {
                attempted: String::from("use a session that has ended"),
                remedy: "start another one",
            });
        }
        let job = call::create_job().map_err(system("make a job for the command"))?;
        let (connection, ends) = match standard {
            Standard::Descriptors(given) => {
                let given = given.map(|handle| call::inheritable(&handle).ok());
                (Connection::Handles(given), None)
            }
            Standard::Terminal(size) => {
                let (theirs, ends) = console::pipes().map_err(system("make a console"))?;
                (Connection::Terminal(theirs, size), Some(ends))
            }
        };
        let (process, terminal) = self.inside.prepared.start(launch, connection, Some(&job))?;
        Ok(Child { process, job, terminal: terminal.zip(ends) })
    }

    /// Readable when nothing is left inside.
    pub fn descriptor(&self) -> BorrowedHandle<'_> {
        self.inside.over.as_handle()
    }

    /// Ends everything inside, without waiting for it.
    pub fn kill(&self) {
        self.inside.end();
    }

    /// Ends everything inside.
    ///
    /// # Errors
    /// Never.
    pub fn stop(mut self) -> Result<Closed, Error> {
        self.end();
        let exceeded = self.inside.exceeded.load(SeqCst).then_some(Exceeded::WallTime);
        let usage = run::usage(&self.inside.prepared.job);
        Ok(Closed { exceeded, usage, appeared: Vec::new() })
    }

    fn end(&mut self) {
        self.inside.end();
        if let Some(clock) = self.clock.take() {
            let _ = clock.join();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

impl Child {
    /// How it ended; nothing while it runs.
    pub fn status(&self) -> Option<Status> {
        call::wait(self.process.as_handle(), 0).then(|| self.ended())
    }

    /// Waits until it has ended.
    pub fn wait(&self) -> Status {
        call::wait(self.process.as_handle(), u32::MAX);
        self.ended()
    }

    fn ended(&self) -> Status {
        Status::Exited(call::exit_status(&self.process).map_or(-1, |status| status as i32))
    }

    /// Readable when it has ended.
    pub fn descriptor(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }

    /// Whether a process is it, or descends from it: that is not asked here.
    pub fn includes(&self, _process: i32) -> bool {
        false
    }

    /// Ends it and its descendants, which is what the signals 9 and 15 ask for.
    ///
    /// # Errors
    /// For every other signal: the system has none.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        match number {
            9 | 15 => {
                call::terminate_job(&self.job);
                Ok(())
            }
            _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    /// Ends it and its descendants, at once: nothing asks a program without a window or a
    /// console to end.
    pub fn terminate(&self, _grace: Duration) {
        call::terminate_job(&self.job);
        call::wait(self.process.as_handle(), u32::MAX);
    }

    /// Where its terminal is typed into, and what it shows, if it has one.
    ///
    /// # Errors
    /// When there is no handle left.
    pub fn ends_of_terminal(&self) -> io::Result<Option<(File, File)>> {
        let Some((_, ends)) = &self.terminal else { return Ok(None) };
        Ok(Some((ends.input.try_clone()?, ends.output.try_clone()?)))
    }

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// When it has none.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let (terminal, _) = self.terminal.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        terminal.resize(size).map_err(io::Error::from_raw_os_error)
    }
}

/// Waits until one of `descriptors` is readable, has ended or has lost its other end, at most
/// for `timeout`; which are.
///
/// # Errors
/// Never.
pub fn readable(
    descriptors: &[Option<BorrowedHandle<'_>>],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let ready = |handle: &Option<BorrowedHandle<'_>>| handle.is_some_and(call::is_ready);
        let found: Vec<bool> = descriptors.iter().map(ready).collect();
        if found.contains(&true) || deadline.is_some_and(|end| Instant::now() >= end) {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
}

/// This program, by a name that works in every view of the files.
///
/// # Errors
/// When the system does not say where it is.
pub fn own_program() -> io::Result<OsString> {
    std::env::current_exe().map(OsString::from)
}
