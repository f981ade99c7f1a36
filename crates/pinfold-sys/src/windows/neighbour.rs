//! Who is at the other end of a connection.

use std::collections::VecDeque;
use std::io::{self, Read};

use super::call;
use super::socket::Stream;
use crate::descriptor::{Borrowed, Owned};

/// Whether descriptors can be sent along: handles are put into a process instead, which a
/// server may not do with its clients.
pub const SENDS_DESCRIPTORS: bool = false;

/// Whether a process of the same user, outside of every sandbox, is at the other end.
pub fn is_neighbour(stream: &Stream) -> bool {
    stream.client().is_some_and(call::is_of_same_user)
}

/// Sends bytes and descriptors.
///
/// # Errors
/// Always.
pub fn send(_stream: &Stream, _bytes: &[u8], _given: &[Borrowed<'_>]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads a connection.
#[derive(Debug)]
pub struct Receiver<S> {
    stream: S,
    /// Descriptors that nobody has taken yet: none come.
    pub descriptors: VecDeque<Owned>,
}

impl<S> Receiver<S> {
    /// Reads this connection.
    pub fn new(stream: S) -> Receiver<S> {
        Receiver { stream, descriptors: VecDeque::new() }
    }
}

impl<S: Read> Read for Receiver<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}
