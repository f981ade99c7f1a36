//! The caller's console and a command of another account: that account cannot use the handles
//! of this console, so what is typed and shown is passed on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::thread::JoinHandle;

use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, CONSOLE_SCREEN_BUFFER_INFO, ENABLE_VIRTUAL_TERMINAL_INPUT,
    ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode, GetConsoleScreenBufferInfo, SetConsoleMode,
};

use super::call::{self, Outcome, done};
use super::console::{self, Ends};
use super::link::number;
use super::run::Connection;
use crate::seam::Size;

/// What passes things on until the command has ended.
pub(crate) struct Relay {
    shown: Vec<JoinHandle<()>>,
    _modes: Vec<Mode>,
}

/// The mode of a console, which comes back when this is dropped.
struct Mode {
    console: OwnedHandle,
    before: CONSOLE_MODE,
}

impl Drop for Mode {
    fn drop(&mut self) {
        // SAFETY: the handle is open.
        unsafe { SetConsoleMode(self.console.as_raw_handle(), self.before) };
    }
}

fn mode(handle: &OwnedHandle) -> Option<CONSOLE_MODE> {
    let mut mode = 0;
    // SAFETY: the handle is open; one number is written.
    done(unsafe { GetConsoleMode(handle.as_raw_handle(), &mut mode) }).ok()?;
    Some(mode)
}

fn is_console(handle: &Option<OwnedHandle>) -> bool {
    handle.as_ref().is_some_and(|handle| mode(handle).is_some())
}

/// Sets a console's mode for as long as the result lives.
fn with_mode(
    console: &OwnedHandle,
    wanted: impl Fn(CONSOLE_MODE) -> CONSOLE_MODE,
) -> Outcome<Mode> {
    let before = mode(console).unwrap_or_default();
    // SAFETY: the handle is open.
    done(unsafe { SetConsoleMode(console.as_raw_handle(), wanted(before)) })?;
    let console = console.try_clone().map_err(|error| number(&error))?;
    Ok(Mode { console, before })
}

fn size(console: &OwnedHandle) -> Size {
    let mut found = CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: the handle is open; one structure is written.
    unsafe { GetConsoleScreenBufferInfo(console.as_raw_handle(), &mut found) };
    let window = found.srWindow;
    let length =
        |from: i16, to: i16| u16::try_from(to.saturating_sub(from)).map_or(0, |all| all + 1);
    Size { rows: length(window.Top, window.Bottom), columns: length(window.Left, window.Right) }
}

/// What a command gets in place of these handles, and what passes things on. Files and pipes
/// it gets themselves; a console for input and output becomes one of its own; any other console
/// becomes a pipe.
pub(crate) fn connect(standard: [Option<OwnedHandle>; 3]) -> Outcome<(Connection, Option<Relay>)> {
    let [input, output, error] = standard;
    if let (Some(typed), Some(screen)) = (&input, &output)
        && is_console(&input)
        && is_console(&output)
    {
        let size = size(screen);
        let raw = with_mode(typed, |_| ENABLE_VIRTUAL_TERMINAL_INPUT)?;
        let drawn = with_mode(screen, |mode| mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING)?;
        let (theirs, Ends { input: keys, output: shown }) = console::pipes()?;
        let (typed, screen) = (copy(typed)?, copy(screen)?);
        pass(typed, keys)?;
        let shown = vec![pass(shown, screen)?];
        let relay = Relay { shown, _modes: vec![raw, drawn] };
        return Ok((Connection::Terminal(theirs, size), Some(relay)));
    }
    let mut relay = Relay { shown: Vec::new(), _modes: Vec::new() };
    let input = match input {
        Some(typed) if mode(&typed).is_some() => {
            let (reader, writer) = pipe()?;
            pass(File::from(typed), writer)?;
            Some(inherited(reader)?)
        }
        other => other,
    };
    let mut shown = |handle: Option<OwnedHandle>| -> Outcome<Option<OwnedHandle>> {
        match handle {
            Some(screen) if mode(&screen).is_some() => {
                let (reader, writer) = pipe()?;
                relay.shown.push(pass(reader, File::from(screen))?);
                Ok(Some(inherited(writer)?))
            }
            other => Ok(other),
        }
    };
    let handles = [input, shown(output)?, shown(error)?];
    Ok((Connection::Handles(handles), Some(relay)))
}

fn copy(handle: &OwnedHandle) -> Outcome<File> {
    handle.try_clone().map(File::from).map_err(|error| number(&error))
}

fn pipe() -> Outcome<(File, File)> {
    let (reader, writer) = io::pipe().map_err(|error| number(&error))?;
    let file = |end: OwnedHandle| File::from(end);
    Ok((file(reader.into()), file(writer.into())))
}

fn inherited(end: File) -> Outcome<OwnedHandle> {
    call::inheritable(&end.into())
}

/// Copies bytes until one side has come to its end.
fn pass(mut from: File, mut to: File) -> Outcome<JoinHandle<()>> {
    let copy = move || {
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let written = to.write_all(buffer.get(..length).unwrap_or_default());
            if written.is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name(String::from("pinfold-relay"));
    thread.spawn(copy).map_err(|error| number(&error))
}

impl Relay {
    /// Waits until all has been shown. What is typed is waited for no longer.
    pub(crate) fn finish(self) {
        for thread in self.shown {
            let _ = thread.join();
        }
    }
}
