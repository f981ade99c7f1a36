//! Sockets of a command that has no network of its own: every TCP connection is led
//! to the proxy, and only unix sockets listen.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use pinfold_policy::net::{Introduction, Secret};

use super::super::call;
use super::super::raw::Errno;
use super::{Not, Outcome, number, ours, owned};
use crate::seam::{Error, OpenDoors};

/// Where the proxy of a run is, and how it knows who has connected.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Door {
    address: SocketAddr,
    secret: Secret,
}

impl Door {
    /// Hands a listening socket out to the proxy.
    pub(in super::super) fn open(
        listener: &std::net::TcpListener,
        opened: &mut dyn FnMut(OpenDoors) -> bool,
    ) -> Result<Door, Error> {
        let cannot =
            |code| Error::System { attempted: String::from("open the door of the proxy"), code };
        let failed = |error: std::io::Error| cannot(error.raw_os_error().unwrap_or(libc::EIO));
        let mut secret = Secret::default();
        call::random(&mut secret).map_err(|error| cannot(error.0))?;
        let address = listener.local_addr().map_err(failed)?;
        let proxy = listener.try_clone().map_err(failed)?;
        let doors = OpenDoors { secret: Some(secret), ..OpenDoors::only(proxy) };
        if opened(doors) { Ok(Door { address, secret }) } else { Err(cannot(libc::ECANCELED)) }
    }

    /// Connects a socket of a process to the proxy, which is told where it should have
    /// gone. Landlock lets the process connect none.
    pub(super) fn connect(&self, process: i32, socket: i32, destination: SocketAddr) -> Outcome {
        let socket = taken(process, socket)?;
        let (family, protocol) = call::socket_family(socket.as_raw_fd()).map_err(|_| Not::Ours)?;
        ours(protocol == libc::IPPROTO_TCP)?;
        let door = match (family, self.address) {
            (libc::AF_INET6, SocketAddr::V4(door)) => {
                SocketAddr::from((door.ip().to_ipv6_mapped(), door.port()))
            }
            (_, door) => door,
        };
        let introduction = Introduction { secret: self.secret, destination };
        let connected = call::connect(socket.as_raw_fd(), door);
        number(
            connected.and_then(|()| call::send_now(socket.as_raw_fd(), &introduction.to_bytes())),
        )
    }
}

/// Lets a socket of a process listen if it is a unix socket. One of the internet's could be
/// reached from anywhere, at a port of the kernel's choice, which Landlock does not know of.
pub(super) fn listen(process: i32, socket: i32, backlog: i32) -> Outcome {
    let socket = taken(process, socket)?;
    match call::socket_family(socket.as_raw_fd()) {
        Ok((libc::AF_UNIX, _)) => number(call::listen(socket.as_raw_fd(), backlog)),
        Ok(_) => number(Err(Errno(libc::EACCES))),
        Err(error) => number(Err(error)),
    }
}

/// A socket of a process, whatever it puts at that number from now on.
pub(super) fn taken(process: i32, socket: i32) -> Result<OwnedFd, Not> {
    let process = super::super::facts::process_of(process);
    let descriptor = call::pidfd_open(process).map(owned).map_err(|_| Not::Ours)?;
    call::pidfd_getfd(descriptor.as_raw_fd(), socket).map(owned).map_err(|_| Not::Ours)
}
