//! One TCP connection with what was read of it ahead.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Bytes per read of a body: larger than tokio's 8 KiB halves the cost of a
/// transferred byte.
const BLOCK: usize = 64 * 1024;

/// First room for a head; it grows where needed.
const FIRST_ROOM: usize = 4 * 1024;

/// A connection and the bytes that were read but not used yet.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) ahead: Ahead,
    idle: Duration,
}

/// Bytes that were read ahead.
#[derive(Default)]
pub(crate) struct Ahead {
    bytes: Vec<u8>,
    start: usize,
}

/// The reading side of a link.
pub(crate) struct Source<'l> {
    half: ReadHalf<'l>,
    ahead: &'l mut Ahead,
    idle: Duration,
}

impl Link {
    /// A connection on which a read that brings nothing for `idle` fails.
    pub(crate) fn new(stream: TcpStream, idle: Duration) -> Link {
        // Small messages must not wait for larger ones; a socket that refuses
        // works all the same.
        let _ = stream.set_nodelay(true);
        Link { stream, ahead: Ahead::default(), idle }
    }

    /// Both directions, to be used at the same time.
    pub(crate) fn split(&mut self) -> (Source<'_>, WriteHalf<'_>) {
        let (half, writer) = self.stream.split();
        (Source { half, ahead: &mut self.ahead, idle: self.idle }, writer)
    }

    /// Reads more; false at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        self.split().0.fill().await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether the other side has closed, or sent what nobody asked for.
    pub(crate) fn is_stale(&self) -> bool {
        let mut byte = [0];
        !self.ahead.is_empty()
            || !matches!(self.stream.try_read(&mut byte),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says goodbye so that the last bytes arrive: closing a socket with unread
    /// input would reset it.
    pub(crate) async fn finish(mut self) {
        let end = async {
            self.stream.shutdown().await?;
            let mut waste = [0; 4096];
            for _ in 0..64 {
                if self.stream.read(&mut waste).await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // Whether the client listens to the end is its own affair.
        let _ = tokio::time::timeout(Duration::from_secs(1), end).await;
    }
}

impl Ahead {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Takes the first `count` bytes off.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.bytes().iter().take(count).copied().collect();
        self.consume(count);
        taken
    }

    pub(crate) fn take_all(&mut self) -> Vec<u8> {
        self.take(self.bytes().len())
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }
}

impl Source<'_> {
    pub(crate) fn ahead(&mut self) -> &mut Ahead {
        self.ahead
    }

    /// Reads more; false at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        self.read_up_to(FIRST_ROOM).await
    }

    /// Reads a block of a body; false at the end of the stream.
    pub(crate) async fn fill_block(&mut self) -> io::Result<bool> {
        self.read_up_to(BLOCK).await
    }

    async fn read_up_to(&mut self, room: usize) -> io::Result<bool> {
        let Ahead { bytes, start } = &mut *self.ahead;
        if *start > 0 {
            bytes.drain(..*start);
            *start = 0;
        }
        bytes.reserve(room);
        match tokio::time::timeout(self.idle, self.half.read_buf(bytes)).await {
            Ok(count) => Ok(count? > 0),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
