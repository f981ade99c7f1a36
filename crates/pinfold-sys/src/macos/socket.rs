//! Sockets with a name, on a system whose server of sessions has none yet.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;

use super::{Never, unsupported};

/// A socket that is listened on: there is none.
#[derive(Debug)]
pub struct Listener(Never);

/// A connection: there is none.
#[derive(Debug)]
pub struct Stream(pub(crate) Never);

impl Listener {
    /// Refuses to listen.
    ///
    /// # Errors
    /// Always.
    pub fn bind(_path: impl AsRef<Path>) -> io::Result<Listener> {
        Err(unsupported())
    }

    /// The connections.
    pub fn incoming(&self) -> std::iter::Empty<io::Result<Stream>> {
        match self.0 {}
    }
}

impl Stream {
    /// Refuses to connect.
    ///
    /// # Errors
    /// Always.
    pub fn connect(_path: impl AsRef<Path>) -> io::Result<Stream> {
        Err(unsupported())
    }

    /// Another handle for it.
    ///
    /// # Errors
    /// There is no connection.
    pub fn try_clone(&self) -> io::Result<Stream> {
        match self.0 {}
    }

    /// Closes it.
    ///
    /// # Errors
    /// There is no connection.
    pub fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        match self.0 {}
    }
}

impl Read for Stream {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Read for &Stream {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for Stream {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// Whether there is a socket of that name.
pub fn exists(_path: &Path) -> bool {
    false
}

/// Lets nobody but the user connect.
///
/// # Errors
/// Always: there is no socket.
pub fn make_private(_path: &Path) -> io::Result<()> {
    Err(unsupported())
}
