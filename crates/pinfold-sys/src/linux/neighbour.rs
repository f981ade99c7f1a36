//! Who is at the other end of a socket.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use super::call;

/// Whether a process of the same user, outside of every sandbox that this process
/// is outside of, holds the other end of a unix socket: a command in a sandbox has
/// the same user, but not the same user namespace.
pub fn is_neighbour(socket: BorrowedFd<'_>) -> bool {
    let Ok(peer) = call::peer(socket.as_raw_fd()) else { return false };
    let (own, _) = call::identity();
    let namespace = |process: &str| -> Option<PathBuf> {
        fs::read_link(format!("/proc/{process}/ns/user")).ok()
    };
    let theirs = namespace(&peer.process.to_string());
    peer.user == own
        && theirs.is_some()
        && theirs == namespace("self")
        // Only now: the number may have come to mean another process meanwhile.
        && still_runs(socket)
}

/// Whether the process that connected still runs. Kernels before 6.5 cannot say;
/// there, a process that ends right after it has connected is believed.
fn still_runs(socket: BorrowedFd<'_>) -> bool {
    let Ok(descriptor) = call::peer_descriptor(socket.as_raw_fd()) else { return true };
    // SAFETY: the kernel has just made this descriptor for this process.
    let process = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut polled = [libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    call::ppoll(&mut polled, Some(now)) == Ok(0)
}
