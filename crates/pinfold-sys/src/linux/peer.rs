//! Which process inside is at the other end of a connection that was accepted outside.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use super::call;

/// Processes that are looked at.
const MOST: usize = 4096;

/// The number of the network that a socket is in, as `/proc` shows it; 0 where the
/// kernel does not tell.
pub fn network_of(socket: &TcpListener) -> u64 {
    let number = |file: String| fs::metadata(file).map_or(0, |found| found.ino());
    match call::network_namespace_of(socket.as_raw_fd()) {
        Ok(namespace) => {
            let found = number(format!("/proc/self/fd/{namespace}"));
            call::close(namespace);
            found
        }
        // It is told to whoever governs the network, which an ordinary user does not do with the host's.
        Err(_) => number(String::from("/proc/self/ns/net")),
    }
}

/// The process in this network, below this one, that has a connection from `from` to `to`
/// open; nothing when it cannot be found.
pub fn process_behind((from, to): (SocketAddr, SocketAddr), network: u64) -> Option<i32> {
    let mut family = Vec::new();
    descend(std::process::id(), &mut family);
    let inside = |process: &u32| {
        let found = fs::metadata(format!("/proc/{process}/ns/net"));
        found.is_ok_and(|found| found.ino() == network)
    };
    family.retain(inside);
    let socket = socket(*family.first()?, from.port(), to.port())?;
    let socket = format!("socket:[{socket}]");
    let holder = family.into_iter().find(|process| holds(*process, &socket));
    holder.and_then(|process| process.try_into().ok())
}

/// Adds the descendants of a process, from `/proc/PID/task/TID/children` of `proc(5)`.
fn descend(process: u32, found: &mut Vec<u32>) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
            if found.len() < MOST {
                found.push(child);
                descend(child, found);
            }
        }
    }
}

/// The number of a socket, by the ports of its two ends, from `/proc/PID/net/tcp`.
fn socket(process: u32, from: u16, to: u16) -> Option<u64> {
    let is_at = |end: Option<&str>, port: u16| {
        let found = end.and_then(|end| end.rsplit_once(':'));
        found.and_then(|(_, found)| u16::from_str_radix(found, 16).ok()) == Some(port)
    };
    ["tcp", "tcp6"].iter().find_map(|table| {
        let list = fs::read_to_string(format!("/proc/{process}/net/{table}")).ok()?;
        list.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let both = is_at(fields.next(), from) && is_at(fields.next(), to);
            // Behind both ends: state, queues, timer, retries, user, timeout.
            both.then(|| fields.nth(6)?.parse().ok()).flatten()
        })
    })
}

fn holds(process: u32, socket: &str) -> bool {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    open.filter_map(|open| fs::read_link(open.path()).ok()).any(|what| what.as_os_str() == socket)
}
