//! Terminals of commands: pseudo-consoles, `CreatePseudoConsole`.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::System::Console::{
    COORD, ClosePseudoConsole, CreatePseudoConsole, HPCON, ResizePseudoConsole,
};

use super::call::{self, Number, Outcome};
use crate::seam::Size;

/// A pseudo-console, until it is closed.
#[derive(Debug)]
pub(crate) struct Console(Mutex<Option<HPCON>>);

/// What is typed, and what is shown.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) input: File,
    pub(crate) output: File,
}

/// `S_OK` is 0; what fails is told by a number with a facility, whose low half is that of
/// the system.
fn succeeded(result: i32) -> Outcome<()> {
    if result >= 0 { Ok(()) } else { Err(result & 0xffff) }
}

/// Columns and rows; a terminal without any is no use.
fn coordinates(size: Size) -> COORD {
    let least = |count: u16, usual: u16| if count == 0 { usual } else { count };
    let limited = |count: u16| i16::try_from(count).unwrap_or(i16::MAX);
    COORD { X: limited(least(size.columns, 80)), Y: limited(least(size.rows, 24)) }
}

fn pipe() -> Outcome<(PipeReader, PipeWriter)> {
    std::io::pipe().map_err(|error| error.raw_os_error().unwrap_or_default() as Number)
}

/// The pipes of a terminal: what the program that draws has, and what its user has.
pub(crate) fn pipes() -> Outcome<([OwnedHandle; 2], Ends)> {
    let (their_input, input) = pipe()?;
    let (output, their_output) = pipe()?;
    // The system makes copies for the program that draws; Wine has it inherit them.
    let theirs =
        [call::inheritable(&their_input.into())?, call::inheritable(&their_output.into())?];
    let file = |end: OwnedHandle| File::from(end);
    Ok((theirs, Ends { input: file(input.into()), output: file(output.into()) }))
}

impl Console {
    /// Makes one that reads and writes these pipes.
    pub(crate) fn on(input: &OwnedHandle, output: &OwnedHandle, size: Size) -> Outcome<Console> {
        let mut console = 0;
        let (reads, writes) = (input.as_raw_handle(), output.as_raw_handle());
        // SAFETY: both handles are open, and are copied; one handle is written.
        succeeded(unsafe {
            CreatePseudoConsole(coordinates(size), reads, writes, 0, &mut console)
        })?;
        Ok(Console(Mutex::new(Some(console))))
    }

    /// Does something with it while it is open.
    pub(crate) fn with<T>(&self, act: impl FnOnce(HPCON) -> T) -> Option<T> {
        let console = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        console.map(act)
    }

    pub(crate) fn resize(&self, size: Size) -> Outcome<()> {
        // SAFETY: it is open as long as the lock is held.
        let resized =
            self.with(|console| unsafe { ResizePseudoConsole(console, coordinates(size)) });
        resized.map_or(Ok(()), succeeded)
    }

    /// Ends what is shown. On systems before Windows 11 that waits until all has been read.
    pub(crate) fn close(&self) {
        let console = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(console) = console {
            // SAFETY: it was open, and is closed once.
            unsafe { ClosePseudoConsole(console) };
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.close();
    }
}
