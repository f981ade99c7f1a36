//! Who is at the other end of a socket.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use super::call::{self, Patience};
use super::name::text;
use super::raw::Errno;
use super::socket::Stream;

/// Whether descriptors can be sent along.
pub const SENDS_DESCRIPTORS: bool = true;

/// Whether a process of the same user, outside of every sandbox that this process
/// is outside of, holds the other end of a unix socket: a command in a sandbox has
/// the same user, but not the same user namespace, or more system-call filters.
pub fn is_neighbour(socket: &Stream) -> bool {
    let socket = socket.as_fd().as_raw_fd();
    let Ok(peer) = call::peer(socket) else { return false };
    // A server changes neither for itself.
    static OWN: OnceLock<(Option<u64>, u32)> = OnceLock::new();
    let (own, _) = call::identity();
    let (namespace_here, filters_here) =
        OWN.get_or_init(|| (namespace_by_name("self"), filters("self")));
    // Kernels before 6.5 cannot say who it was; there, a process that ends right after it
    // has connected is believed.
    // SAFETY: the kernel has just made this descriptor for this process.
    let process =
        call::peer_descriptor(socket).ok().map(|peer| unsafe { OwnedFd::from_raw_fd(peer) });
    let number = peer.process.to_string();
    let theirs = match process.as_ref().map(namespace) {
        None | Some(Err(Errno(libc::ENOTTY | libc::EINVAL))) => namespace_by_name(&number),
        Some(found) => found.ok(),
    };
    peer.user == own
        && theirs.is_some()
        && theirs == *namespace_here
        && filters(&number) <= *filters_here
        // Only now: the number may have come to mean another process meanwhile.
        && process.is_none_or(|process| still_runs(&process))
}

/// The user namespace of a process, by its number among all of them.
fn namespace(process: &OwnedFd) -> Result<u64, Errno> {
    let namespace = call::user_namespace_of(process.as_raw_fd())?;
    let number = call::number_of_opened(namespace);
    call::close(namespace);
    number
}

/// The same by what `/proc` calls the process; nothing when it cannot be known.
fn namespace_by_name(process: &str) -> Option<u64> {
    call::number_of(&text(format!("/proc/{process}/ns/user"))).ok()
}

/// How many system-call filters a process has, of which it never loses one: every
/// sandbox adds some, also where there are no namespaces. Kernels before 5.9 say whether
/// there is any; about a process that nothing is known of, nothing is believed.
fn filters(process: &str) -> u32 {
    /// The usual length, so that it is read at once.
    const USUAL: usize = 4096;
    let mut status = Vec::with_capacity(USUAL);
    let read = fs::File::open(format!("/proc/{process}/status"))
        .and_then(|file| file.take(u64::MAX).read_to_end(&mut status));
    let value = |name: &str| {
        let mut lines = status.split(|byte| *byte == b'\n').rev();
        let value = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    };
    match read {
        Ok(_) => value("Seccomp_filters:").or_else(|| value("Seccomp:")).unwrap_or(u32::MAX),
        Err(_) => u32::MAX,
    }
}

fn still_runs(process: &OwnedFd) -> bool {
    let mut polled = [libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    call::ppoll(&mut polled, Some(now)) == Ok(0)
}

/// Sends bytes and, with the first of them, descriptors over a unix socket; how many
/// bytes have been taken.
///
/// # Errors
/// When the other end is gone.
pub fn send(socket: &Stream, bytes: &[u8], given: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let numbers: Vec<i32> = given.iter().map(AsRawFd::as_raw_fd).collect();
    let sent = call::send_message(socket.as_raw_fd(), bytes, &numbers);
    sent.map_err(|Errno(code)| io::Error::from_raw_os_error(code))
}

/// Reads a unix socket and keeps the descriptors that come along.
#[derive(Debug)]
pub struct Receiver<S> {
    socket: S,
    /// Descriptors that nobody has taken yet, at most [`MOST`].
    pub descriptors: VecDeque<OwnedFd>,
}

/// More than this is closed at once.
const MOST: usize = 16;

impl<S: AsFd> Receiver<S> {
    /// Reads this socket.
    pub fn new(socket: S) -> Receiver<S> {
        Receiver { socket, descriptors: VecDeque::new() }
    }
}

impl<S: AsFd> io::Read for Receiver<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut numbers = [-1; 3];
        let socket = self.socket.as_fd().as_raw_fd();
        let mut receive = |patience| call::receive_message(socket, buffer, &mut numbers, patience);
        let received = match receive(Patience::OnlyNow) {
            // Who waits in `poll(2)` is not woken, as a reader is, whenever the other end reads.
            Err(Errno(libc::EAGAIN)) => {
                let mut polled = [libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 }];
                let _ = call::ppoll(&mut polled, None);
                receive(Patience::Wait)
            }
            received => received,
        };
        let received = received.map_err(|Errno(code)| io::Error::from_raw_os_error(code))?;
        for number in numbers.into_iter().take(received.count) {
            // SAFETY: the kernel has just made this descriptor for this process.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            if self.descriptors.len() < MOST {
                self.descriptors.push_back(descriptor);
            }
        }
        Ok(received.length)
    }
}
