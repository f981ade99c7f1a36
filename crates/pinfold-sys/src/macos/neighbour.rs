//! Who is at the other end of a socket, on a system without such sockets.

use std::collections::VecDeque;
use std::io::{self, Read};

use super::socket::Stream;
use super::unsupported;
use crate::descriptor::{Borrowed, Owned};

/// Whether descriptors can be sent along.
pub const SENDS_DESCRIPTORS: bool = true;

/// Whether a process of the same user, outside of every sandbox, is at the other
/// end. Nobody is believed.
pub fn is_neighbour(_socket: &Stream) -> bool {
    false
}

/// Sends bytes and descriptors.
///
/// # Errors
/// Always.
pub fn send(_socket: &Stream, _bytes: &[u8], _given: &[Borrowed<'_>]) -> io::Result<usize> {
    Err(unsupported())
}

/// Reads a socket.
#[derive(Debug)]
pub struct Receiver<S> {
    socket: S,
    /// Descriptors that nobody has taken yet: none come.
    pub descriptors: VecDeque<Owned>,
}

impl<S> Receiver<S> {
    /// Reads this socket.
    pub fn new(socket: S) -> Receiver<S> {
        Receiver { socket, descriptors: VecDeque::new() }
    }
}

impl<S: Read> Read for Receiver<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}
