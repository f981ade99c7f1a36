//! Sockets of a command: TCP connections are led to the proxy, and where the command may
//! not listen, only unix sockets do.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pinfold_policy::net::{Introduction, Secret};
use pinfold_policy::plan::linux::{Capture, Doors};

use super::super::call;
use super::super::raw::Errno;
use super::{Not, Outcome, Servers, number, ours, owned};
use crate::seam::{Error, OpenDoors};

/// Loopback answers before the call returns, if it does not wait for somebody.
const AT_ONCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The proxy accepts at once, but when very many connect.
const MOMENT: libc::timespec = libc::timespec { tv_sec: 2, tv_nsec: 0 };

/// Where the proxy of a run is, and how it knows who has connected.
#[derive(Clone, Debug)]
pub(in super::super) struct Door {
    address: SocketAddr,
    secret: Secret,
    /// The network of the command's own that it is in, if it has one.
    own: Option<Own>,
}

/// A network of the command's own: loopback is its own, too.
#[derive(Clone, Debug)]
struct Own {
    /// The ports at which loopback is the host's if nothing inside listens.
    of_host: Vec<(u16, u16)>,
    /// Its number, 0 for not known: a process may have made another.
    number: Arc<AtomicU64>,
}

impl Door {
    /// Hands a listening socket on the host's loopback out to the proxy.
    pub(in super::super) fn open(
        listener: &std::net::TcpListener,
        opened: &mut dyn FnMut(OpenDoors) -> bool,
    ) -> Result<Door, Error> {
        let failed = |error: std::io::Error| cannot(error.raw_os_error().unwrap_or(libc::EIO));
        let secret = fresh_secret()?;
        let address = listener.local_addr().map_err(failed)?;
        let proxy = listener.try_clone().map_err(failed)?;
        let doors = OpenDoors { secret: Some(secret), ..OpenDoors::only(proxy) };
        if opened(doors) {
            Ok(Door { address, secret, own: None })
        } else {
            Err(cannot(libc::ECANCELED))
        }
    }

    /// The door of a plan with a network of the command's own, if all is led there.
    pub(in super::super) fn inside(doors: Option<&Doors>) -> Result<Option<Door>, Error> {
        let Some(Doors { proxy, capture: Capture::All(of_host) }) = doors else { return Ok(None) };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *proxy));
        let own = Own { of_host: of_host.clone(), number: Arc::default() };
        Ok(Some(Door { address, secret: fresh_secret()?, own: Some(own) }))
    }

    pub(in super::super) fn secret(&self) -> Secret {
        self.secret
    }

    /// Notes the network that these doors were opened in.
    pub(in super::super) fn note(&self, doors: &OpenDoors) {
        if let Some(own) = &self.own {
            let number = call::network_of(doors.proxy.as_raw_fd()).unwrap_or_default();
            own.number.store(number, SeqCst);
        }
    }

    /// Connects a socket of a process to the proxy, which is told where it should have
    /// gone. By itself the process gets nowhere: Landlock lets it connect none, or there is
    /// nothing in its network.
    pub(super) fn connect(&self, process: i32, socket: i32, destination: SocketAddr) -> Outcome {
        let ip = destination.ip().to_canonical();
        let is_here = (ip.is_loopback() || ip.is_unspecified())
            && SocketAddr::new(ip, destination.port()) != self.address;
        if let Some(own) = self.own.as_ref().filter(|_| is_here) {
            ours(own.may_be_the_hosts(destination.port()))?;
        }
        let socket = taken(process, socket)?;
        let (family, protocol) = call::socket_family(socket.as_raw_fd()).map_err(|_| Not::Ours)?;
        ours(protocol == libc::IPPROTO_TCP)?;
        if let Some(own) = &self.own {
            ours(own.has(&socket))?;
            let tried = || call::connect(socket.as_raw_fd(), destination, AT_ONCE);
            match is_here.then(tried) {
                None | Some(Err(Errno(libc::ECONNREFUSED))) => {}
                // Whoever listens inside is slow, for which one process need not stop all others.
                Some(Err(Errno(libc::EALREADY))) => {
                    ours(!call::waits(socket.as_raw_fd()))?;
                    return number(Err(Errno(libc::EINPROGRESS)));
                }
                Some(connected) => return number(connected),
            }
        }
        let door = match (family, self.address) {
            (libc::AF_INET6, SocketAddr::V4(door)) => {
                SocketAddr::from((door.ip().to_ipv6_mapped(), door.port()))
            }
            (_, door) => door,
        };
        let introduction = Introduction { secret: self.secret, destination };
        let connected = call::connect(socket.as_raw_fd(), door, MOMENT);
        number(
            connected.and_then(|()| call::send_now(socket.as_raw_fd(), &introduction.to_bytes())),
        )
    }
}

impl Own {
    fn may_be_the_hosts(&self, port: u16) -> bool {
        self.of_host.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Whether a socket is in this network, as far as the kernel tells.
    fn has(&self, socket: &OwnedFd) -> bool {
        let number = self.number.load(SeqCst);
        number == 0 || call::network_of(socket.as_raw_fd()) == Ok(number)
    }
}

fn cannot(code: i32) -> Error {
    Error::System { attempted: String::from("open the door of the proxy"), code }
}

fn fresh_secret() -> Result<Secret, Error> {
    let mut secret = Secret::default();
    call::random(&mut secret).map_err(|error| cannot(error.0))?;
    Ok(secret)
}

/// Lets a socket of a process listen if it is a unix socket. Without a network of the command's
/// own, one of the internet's could be reached from anywhere, at a port of the kernel's
/// choice, which Landlock does not know of.
pub(super) fn listen(process: i32, (socket, backlog): (i32, i32), servers: Servers) -> Outcome {
    let socket = taken(process, socket)?;
    match call::socket_family(socket.as_raw_fd()) {
        Ok((libc::AF_UNIX, _)) => {
            // Whoever connects is told who has let it listen: better the process itself.
            ours(servers == Servers::UnixByUs)?;
            number(call::listen(socket.as_raw_fd(), backlog))
        }
        Ok(_) => number(Err(Errno(libc::EACCES))),
        Err(error) => number(Err(error)),
    }
}

/// A socket of a thread, whatever it puts at that number from now on.
pub(super) fn taken(thread: i32, socket: i32) -> Result<OwnedFd, Not> {
    // Where the kernel knows processes only, the number of that has to be found.
    let descriptor = call::pidfd_open_thread(thread)
        .or_else(|_| call::pidfd_open(super::super::facts::process_of(thread)));
    let descriptor = descriptor.map(owned).map_err(|_| Not::Ours)?;
    call::pidfd_getfd(descriptor.as_raw_fd(), socket).map(owned).map_err(|_| Not::Ours)
}
