//! The caller's console and a command of another account: that account cannot use the handles
//! of this console, so what is typed and shown is passed on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::OwnedHandle;
use std::thread::JoinHandle;

use super::call::{self, Outcome};
use super::console::{self, Ends};
use super::link::number;
use super::run::Connection;
use super::terminal::{self, Mode};

/// What passes things on until the command has ended.
pub(crate) struct Relay {
    shown: Vec<JoinHandle<()>>,
    _modes: Vec<Mode>,
}

fn is_console(handle: &Option<OwnedHandle>) -> bool {
    handle.as_ref().is_some_and(|handle| terminal::mode(handle).is_some())
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
        let size = terminal::size_of_screen(screen)?;
        let raw = terminal::raw_input(typed)?;
        let drawn = terminal::drawn_output(screen)?;
        let (theirs, Ends { input: keys, output: shown }) = console::pipes()?;
        let (typed, screen) = (copy(typed)?, copy(screen)?);
        pass(typed, keys)?;
        let shown = vec![pass(shown, screen)?];
        let relay = Relay { shown, _modes: vec![raw, drawn] };
        return Ok((Connection::Terminal(theirs, size), Some(relay)));
    }
    let mut relay = Relay { shown: Vec::new(), _modes: Vec::new() };
    let input = match input {
        Some(typed) if terminal::mode(&typed).is_some() => {
            let (reader, writer) = pipe()?;
            pass(File::from(typed), writer)?;
            Some(inherited(reader)?)
        }
        other => other,
    };
    let mut shown = |handle: Option<OwnedHandle>| -> Outcome<Option<OwnedHandle>> {
        match handle {
            Some(screen) if terminal::mode(&screen).is_some() => {
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
