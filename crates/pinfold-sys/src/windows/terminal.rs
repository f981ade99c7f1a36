//! The caller's own console, when keys go to a command elsewhere.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::sync::OnceLock;

use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, CONSOLE_SCREEN_BUFFER_INFO, ENABLE_VIRTUAL_TERMINAL_INPUT,
    ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode, GetConsoleScreenBufferInfo,
    SetConsoleCtrlHandler, SetConsoleMode,
};
use windows_sys::Win32::System::Threading::ResetEvent;
use windows_sys::core::BOOL;

use super::call::{self, Outcome, done};
use super::link::number;
use crate::descriptor::Borrowed;
use crate::seam::Size;

/// The change of a terminal's size, as [`Signals::wait`] would tell it: it does not here.
pub const RESIZED: i32 = 28;

/// What a command is asked to end by.
const TERMINATE: i32 = 15;

/// The mode of a console, which comes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Mode {
    console: OwnedHandle,
    before: CONSOLE_MODE,
}

impl Drop for Mode {
    fn drop(&mut self) {
        // SAFETY: the handle is open.
        unsafe { SetConsoleMode(self.console.as_raw_handle(), self.before) };
    }
}

/// The mode of a console; nothing for what is none.
pub(crate) fn mode(handle: &impl AsHandle) -> Option<CONSOLE_MODE> {
    let mut mode = 0;
    let handle = handle.as_handle().as_raw_handle();
    // SAFETY: the handle is open; one number is written.
    done(unsafe { GetConsoleMode(handle, &mut mode) }).ok()?;
    Some(mode)
}

fn with_mode(
    console: &impl AsHandle,
    wanted: impl Fn(CONSOLE_MODE) -> CONSOLE_MODE,
) -> Outcome<Mode> {
    let before = mode(console).unwrap_or_default();
    let console = console.as_handle().try_clone_to_owned().map_err(|error| number(&error))?;
    // SAFETY: the handle is open.
    done(unsafe { SetConsoleMode(console.as_raw_handle(), wanted(before)) })?;
    Ok(Mode { console, before })
}

/// Makes a console pass every key on as a terminal does, as long as the result lives.
pub(crate) fn raw_input(console: &impl AsHandle) -> Outcome<Mode> {
    with_mode(console, |_| ENABLE_VIRTUAL_TERMINAL_INPUT)
}

/// Makes a console draw what a terminal would.
pub(crate) fn drawn_output(console: &impl AsHandle) -> Outcome<Mode> {
    with_mode(console, |mode| mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING)
}

/// A console that passes every key on; it is as before when this is dropped.
#[derive(Debug)]
pub struct Raw {
    _modes: [Mode; 2],
}

fn failed(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// Makes a console pass every key on, and that of standard output draw what a terminal would.
///
/// # Errors
/// When one of them is none.
pub fn raw(console: impl AsHandle) -> io::Result<Raw> {
    let input = raw_input(&console).map_err(failed)?;
    let output = drawn_output(&io::stdout()).map_err(failed)?;
    Ok(Raw { _modes: [input, output] })
}

/// The size of the console at standard output: the one that is typed at has none.
///
/// # Errors
/// When it is none.
pub fn size<T>(_console: T) -> io::Result<Size> {
    size_of_screen(&io::stdout()).map_err(failed)
}

pub(crate) fn size_of_screen(screen: &impl AsHandle) -> Outcome<Size> {
    let mut found = CONSOLE_SCREEN_BUFFER_INFO::default();
    let handle = screen.as_handle().as_raw_handle();
    // SAFETY: the handle is open; one structure is written.
    done(unsafe { GetConsoleScreenBufferInfo(handle, &mut found) })?;
    let window = found.srWindow;
    let length = |from: i16, to: i16| {
        u16::try_from(to.saturating_sub(from)).map_or(0, |all| all.saturating_add(1))
    };
    Ok(Size { rows: length(window.Top, window.Bottom), columns: length(window.Left, window.Right) })
}

/// Set by the keys that interrupt.
static INTERRUPTED: OnceLock<OwnedHandle> = OnceLock::new();

/// Keys that interrupt, read instead of acted on.
#[derive(Debug)]
pub struct Signals(&'static OwnedHandle);

/// Takes the keys that interrupt (Ctrl-C, Ctrl-Break) from this process.
///
/// # Errors
/// When there is no handle left.
pub fn signals() -> io::Result<Signals> {
    unsafe extern "system" fn handled(_kind: u32) -> BOOL {
        INTERRUPTED.get().map(call::set_event);
        1
    }
    if INTERRUPTED.get().is_none() {
        let _ = INTERRUPTED.set(call::event().map_err(failed)?);
        // SAFETY: the handler sets an event, which is never closed.
        done(unsafe { SetConsoleCtrlHandler(Some(handled), 1) }).map_err(failed)?;
    }
    INTERRUPTED.get().map(Signals).ok_or_else(|| io::ErrorKind::Other.into())
}

impl Signals {
    /// Readable when a key was pressed.
    pub fn descriptor(&self) -> Borrowed<'_> {
        self.0.as_handle()
    }

    /// Waits for the next key; what the command is asked for by it.
    ///
    /// # Errors
    /// Never.
    pub fn wait(&mut self) -> io::Result<i32> {
        call::wait(self.0.as_handle(), u32::MAX);
        // SAFETY: the handle is open.
        unsafe { ResetEvent(self.0.as_raw_handle()) };
        Ok(TERMINATE)
    }
}
