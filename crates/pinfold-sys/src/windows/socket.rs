//! What a server of sessions listens on: a named pipe for the user. It has the name of the path
//! that a socket would have elsewhere, and is gone with the server.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_PIPE_BUSY, ERROR_PIPE_NOT_CONNECTED};

use super::call::{self, Descriptor, Outcome};
use super::pipe::{FOR_EVER, Pipe};
use crate::name;

/// How often a server is asked whose other end is taken, every 10 ms.
const TRIES: u32 = 100;

/// A pipe that is listened on.
#[derive(Debug)]
pub struct Listener {
    name: String,
    /// The end for the next client.
    next: Mutex<Option<Pipe>>,
}

/// A connection.
#[derive(Debug)]
pub struct Stream(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    pipe: Pipe,
    closed: AtomicBool,
}

fn failed(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// The name of the pipe for a path, which is one already or names a file that is not made.
fn pipe_name(path: &Path) -> String {
    const PIPES: &str = r"\\.\pipe\";
    let text = String::from_utf8_lossy(name::bytes(path.as_os_str())).into_owned();
    if text.to_ascii_lowercase().starts_with(PIPES) {
        return text;
    }
    // Names of pipes compare without case, as paths do, and hold no backslash.
    format!("{PIPES}pinfold-{}", text.replace('\\', "/"))
}

/// An end that only the user of this process may come to.
fn create(name: &str, first: bool) -> Outcome<Pipe> {
    let user = call::user_of(&call::own_token()?)?;
    Pipe::create(name, &Descriptor::parse(&format!("D:P(D;;GA;;;NU)(A;;GA;;;{user})"))?, first)
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// When there is such a pipe already, whoever made it; Wine makes another end of it.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Listener> {
        let name = pipe_name(path.as_ref());
        let first = create(&name, true).map_err(failed)?;
        Ok(Listener { name, next: Mutex::new(Some(first)) })
    }

    /// The connections, as they come.
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<Stream>> + '_ {
        std::iter::repeat_with(|| self.accept().map_err(failed))
    }

    fn accept(&self) -> Outcome<Stream> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = match next.take() {
            Some(pipe) => pipe,
            None => create(&self.name, false)?,
        };
        pipe.accept(&FOR_EVER)?;
        // Before this client is served, so that the name stays this server's.
        *next = create(&self.name, false).ok();
        Ok(Stream::over(pipe))
    }
}

impl Stream {
    fn over(pipe: Pipe) -> Stream {
        Stream(Arc::new(Ends { pipe, closed: AtomicBool::new(false) }))
    }

    /// Connects with a server of the same user, outside of every sandbox.
    ///
    /// # Errors
    /// When there is none, or another's.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Stream> {
        let name = pipe_name(path.as_ref());
        let mut opened = Pipe::open(&name);
        for _ in 0..TRIES {
            if opened.as_ref().err() != Some(&(ERROR_PIPE_BUSY as i32)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            opened = Pipe::open(&name);
        }
        let pipe = opened.map_err(failed)?;
        let server = pipe.server().map_err(failed)?;
        if !call::is_of_same_user(server) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Stream::over(pipe))
    }

    /// Another handle for it.
    ///
    /// # Errors
    /// Never.
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(Stream(self.0.clone()))
    }

    /// Ends everything that waits for the other side, and everything that would. What has been
    /// written can still be read there.
    ///
    /// # Errors
    /// Never.
    pub fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        self.0.closed.store(true, SeqCst);
        self.0.pipe.cancel();
        Ok(())
    }

    /// The process at the other end of a connection that came in.
    pub(super) fn client(&self) -> Option<u32> {
        self.0.pipe.client().ok()
    }

    fn open(&self) -> io::Result<&Pipe> {
        match self.0.closed.load(SeqCst) {
            true => Err(failed(ERROR_PIPE_NOT_CONNECTED as i32)),
            false => Ok(&self.0.pipe),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.open()?.read(buffer)
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.open()?.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsHandle for Stream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.pipe.as_handle()
    }
}

/// Whether there is a file of that name: a pipe leaves none.
pub fn exists(_path: &Path) -> bool {
    false
}

/// Lets nobody but the user connect, as from the beginning.
///
/// # Errors
/// Never.
pub fn make_private(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place for a pipe of a test's own.
    fn place(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("pinfold-{}-{name}", std::process::id()))
    }

    #[test]
    fn both_sides_write_and_read_at_once_and_many_come() {
        let place = place("both");
        let listener = Listener::bind(&place).unwrap();
        let server = std::thread::spawn(move || {
            for stream in listener.incoming().take(20) {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    // Nothing is read before everything is written: a pipe of one way at a
                    // time would stand still.
                    let mut writer = stream.try_clone().unwrap();
                    let writing = std::thread::spawn(move || writer.write_all(&[7; 300_000]));
                    let mut read = vec![0; 300_000];
                    stream.read_exact(&mut read).unwrap();
                    writing.join().unwrap().unwrap();
                    read.iter().all(|byte| *byte == 8)
                });
            }
        });
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let place = place.clone();
                std::thread::spawn(move || {
                    let mut stream = Stream::connect(&place).unwrap();
                    let mut writer = stream.try_clone().unwrap();
                    let writing = std::thread::spawn(move || writer.write_all(&[8; 300_000]));
                    let mut read = vec![0; 300_000];
                    stream.read_exact(&mut read).unwrap();
                    writing.join().unwrap().unwrap();
                    assert!(read.iter().all(|byte| *byte == 7));
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        server.join().unwrap();
    }

    #[test]
    fn a_side_that_is_shut_waits_no_longer_and_what_was_written_arrives() {
        let place = place("shut");
        let listener = Listener::bind(&place).unwrap();
        let client = std::thread::spawn({
            let place = place.clone();
            move || {
                let mut stream = Stream::connect(&place).unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all
            }
        });
        let mut stream = listener.incoming().next().unwrap().unwrap();
        stream.write_all(b"last words").unwrap();
        let mut reader = stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || reader.read(&mut [0; 10]));
        std::thread::sleep(Duration::from_millis(200));
        stream.shutdown(Shutdown::Both).unwrap();
        assert!(reading.join().unwrap().is_err());
        assert!(stream.write(b"x").is_err());
        drop(stream);
        assert_eq!(client.join().unwrap(), b"last words");
        drop(listener);
        assert!(Stream::connect(&place).is_err(), "the name is gone with its server");
    }
}
