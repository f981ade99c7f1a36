//! Messages over a pipe, with a process that does something as somebody else.

use std::io::{self, Read, Write};
use std::os::windows::io::{AsHandle, OwnedHandle};

use pinfold_policy::plan::windows::frame::{self, Kind, Message};
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_DATA};

use super::call::{self, Descriptor, Number, Outcome};
use super::pipe::{Pipe, Until};

/// Milliseconds in which such a process has to say that it is there.
const PATIENCE: u32 = 15_000;

/// One end.
#[derive(Debug)]
pub(crate) struct Link {
    pipe: Pipe,
    received: Vec<u8>,
}

/// The error number in an error of the standard library.
pub(crate) fn number(error: &io::Error) -> Number {
    error.raw_os_error().unwrap_or(ERROR_INVALID_DATA as i32)
}

impl Link {
    /// The end of a process that was started with the name of the pipe.
    pub(crate) fn join(name: &str) -> Outcome<Link> {
        Ok(Link { pipe: Pipe::open(name)?, received: Vec::new() })
    }

    /// Makes a pipe, has a process started that is told its name, and waits until that very
    /// process has come.
    pub(crate) fn with(
        purpose: &str,
        sddl: &str,
        start: impl FnOnce(&str) -> Outcome<OwnedHandle>,
    ) -> Outcome<(Link, OwnedHandle)> {
        let name = super::pipe::unique(purpose);
        let pipe = Pipe::create(&name, &Descriptor::parse(sddl)?, true)?;
        let process = start(&name)?;
        let other = Some(process.as_handle());
        pipe.accept(&Until { other, milliseconds: PATIENCE })?;
        if pipe.client()? != call::process_id(&process)? {
            return Err(ERROR_ACCESS_DENIED as i32);
        }
        Ok((Link { pipe, received: Vec::new() }, process))
    }

    pub(crate) fn send(&mut self, kind: Kind, payload: Vec<u8>) -> Outcome<()> {
        let bytes =
            frame::encode(&Message { kind, payload }).map_err(|_| ERROR_INVALID_DATA as i32)?;
        (&self.pipe).write_all(&bytes).map_err(|error| number(&error))
    }

    /// The next message; nothing when the other end is gone.
    pub(crate) fn receive(&mut self) -> Outcome<Option<Message>> {
        loop {
            match frame::decode(&self.received) {
                Err(_) => return Err(ERROR_INVALID_DATA as i32),
                Ok(Some((message, length))) => {
                    self.received.drain(..length);
                    return Ok(Some(message));
                }
                Ok(None) => {}
            }
            let mut buffer = vec![0; 64 * 1024];
            let length = (&self.pipe).read(&mut buffer).map_err(|error| number(&error))?;
            if length == 0 {
                return Ok(None);
            }
            self.received.extend_from_slice(&buffer[..length]);
        }
    }

    /// What the other end says to a message: its payload, when it could do it.
    pub(crate) fn ask(&mut self, kind: Kind, payload: Vec<u8>) -> Outcome<Vec<u8>> {
        self.send(kind, payload)?;
        match self.receive()? {
            Some(Message { kind: Kind::Failed, payload }) => {
                let code = payload.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes));
                Err(code.filter(|code| *code != 0).unwrap_or(ERROR_INVALID_DATA as i32))
            }
            Some(Message { payload, .. }) => Ok(payload),
            None => Err(windows_sys::Win32::Foundation::ERROR_BROKEN_PIPE as i32),
        }
    }

    /// Answers.
    pub(crate) fn answer(&mut self, kind: Kind, result: Outcome<Vec<u8>>) -> Outcome<()> {
        match result {
            Ok(payload) => self.send(kind, payload),
            Err(code) => self.send(Kind::Failed, code.to_le_bytes().to_vec()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A link with a thread of this process that serves it.
    pub(crate) fn with_thread(
        serve: impl FnOnce(Link) -> Outcome<()> + Send + 'static,
    ) -> (Link, OwnedHandle) {
        let caller = call::user_of(&call::own_token().unwrap()).unwrap();
        let sddl = format!("D:P(A;;GA;;;{caller})");
        Link::with("test", &sddl, |name| {
            let name = name.to_owned();
            std::thread::spawn(move || serve(Link::join(&name).unwrap()));
            // The process that always means the own one.
            call::duplicate(-1isize as _)
        })
        .unwrap()
    }

    #[test]
    fn whoever_is_not_the_process_that_was_started_is_turned_away() {
        let caller = call::user_of(&call::own_token().unwrap()).unwrap();
        let sddl = format!("D:P(A;;GA;;;{caller})");
        let mut other = None;
        let met = Link::with("test", &sddl, |name| {
            let name = name.to_owned();
            std::thread::spawn(move || Link::join(&name).and_then(|mut link| link.receive()));
            let mut command = std::process::Command::new("cmd.exe");
            // It waits for a line.
            let command = command.args(["/c", "set /p x="]).stdin(std::process::Stdio::piped());
            let child = other.insert(command.spawn().unwrap());
            call::duplicate(std::os::windows::io::AsRawHandle::as_raw_handle(child))
        });
        assert_eq!(met.unwrap_err(), ERROR_ACCESS_DENIED as i32);
        let mut other = other.unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_process_that_ends_without_a_word_is_waited_for_no_longer() {
        let began = std::time::Instant::now();
        let met = Link::with("test", "D:P(A;;GA;;;WD)", |_| {
            let mut command = std::process::Command::new("cmd.exe");
            let mut child = command.args(["/c", "exit"]).spawn().unwrap();
            let process = call::duplicate(std::os::windows::io::AsRawHandle::as_raw_handle(&child));
            child.wait().unwrap();
            process
        });
        assert!(met.is_err());
        assert!(began.elapsed().as_millis() < u128::from(PATIENCE) - 1000);
    }
}
