//! Sandboxes that stay, on a system that has none yet.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::time::Duration;

use super::{Never, unsupported};
use crate::descriptor::Borrowed;
use crate::plan::Plan;
use crate::seam::{Closed, Error, Launch, Opened, Place, Size, Standard, Status};

/// A sandbox that stays: there is none.
#[derive(Debug)]
pub struct Session(Never);

/// A command in a session: there is none.
#[derive(Debug)]
pub struct Child {
    never: Never,
}

/// Refuses to start a session.
///
/// # Errors
/// Always.
pub fn start(_plan: &Plan, _place: Place, _opened: Opened) -> Result<Session, Error> {
    Err(Error::Unsupported {
        attempted: String::from("keep a sandbox between commands"),
        remedy: "use \"pinfold run\" for each command",
    })
}

impl Session {
    /// Starts a command.
    ///
    /// # Errors
    /// There is no session to start it in.
    pub fn spawn(&self, _launch: &Launch, _standard: Standard) -> Result<Child, Error> {
        match self.0 {}
    }

    /// Readable when nothing is left inside.
    pub fn descriptor(&self) -> Borrowed<'_> {
        match self.0 {}
    }

    /// Ends everything inside.
    pub fn kill(&self) {
        match self.0 {}
    }

    /// Ends everything inside, and waits for it.
    ///
    /// # Errors
    /// There is no session to stop.
    pub fn stop(self) -> Result<Closed, Error> {
        match self.0 {}
    }
}

impl Child {
    /// How it ended; nothing while it runs.
    pub fn status(&self) -> Option<Status> {
        match self.never {}
    }

    /// Waits until it has ended.
    pub fn wait(&self) -> Status {
        match self.never {}
    }

    /// Readable when it has ended.
    pub fn descriptor(&self) -> Borrowed<'_> {
        match self.never {}
    }

    /// Whether a process is it, or descends from it.
    pub fn includes(&self, _process: i32) -> bool {
        match self.never {}
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    /// There is no process to send it to.
    pub fn signal(&self, _number: i32) -> io::Result<()> {
        match self.never {}
    }

    /// Asks it to end.
    pub fn terminate(&self, _grace: Duration) {
        match self.never {}
    }

    /// Where its terminal is typed into, and what it shows, if it has one.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn ends_of_terminal(&self) -> io::Result<Option<(File, File)>> {
        match self.never {}
    }

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn resize(&self, _size: Size) -> io::Result<()> {
        match self.never {}
    }
}

/// Waits for what a session writes.
///
/// # Errors
/// Always: no session writes anything.
pub fn readable(
    _descriptors: &[Option<Borrowed<'_>>],
    _timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    Err(unsupported())
}

/// This program, by a name that works in every view of the files.
///
/// # Errors
/// When the system does not say where it is.
pub fn own_program() -> io::Result<OsString> {
    std::env::current_exe().map(OsString::from)
}
