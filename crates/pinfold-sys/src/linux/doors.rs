//! The doors of a proxy: sockets that are made inside the command's network
//! namespace and served outside of it.
//!
//! Every address of that network leads to loopback, so whatever a program
//! connects to arrives at a door with its destination as the local address.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};

use pinfold_policy::plan::linux::{Capture, Doors};

use super::call::{self, Listen, Patience};
use super::deputy::Door;
use super::raw::Errno;
use crate::seam::OpenDoors;

const LOOPBACK: u32 = 0x7f00_0001;
const ANY: u32 = 0;
const NAMES_PORT: u16 = 53;

/// 192.0.0.8, which stands for "no address" by RFC 7600.
const DUMMY: u32 = 0xc000_0008;

/// The most descriptors in one message (`SCM_MAX_FD`).
const MOST: usize = 253;

/// Opens the doors and passes them out, in this order: proxy, names over UDP and
/// TCP, captured ports. Makes no allocation.
pub(crate) fn open(doors: &Doors, channel: i32) -> Result<(), Errno> {
    call::add_address_to_loopback(DUMMY)?;
    call::route_everything_to_loopback()?;
    let mut descriptors = [-1; MOST];
    descriptors[0] = call::listen_on(LOOPBACK, doors.proxy, Listen::Stream)?;
    descriptors[1] = call::listen_on(ANY, NAMES_PORT, Listen::Datagram)?;
    descriptors[2] = call::listen_on(ANY, NAMES_PORT, Listen::Stream)?;
    let mut count = 3;
    let captured = match &doors.capture {
        Capture::Ports(ports) => &ports[..],
        Capture::All(_) => &[],
    };
    for (slot, port) in descriptors[3..].iter_mut().zip(captured) {
        *slot = call::listen_on(ANY, *port, Listen::Stream)?;
        count += 1;
    }
    call::send_message(channel, &[0], &descriptors[..count])?;
    // The command may start only once somebody serves the doors.
    match call::read(channel, &mut [0]) {
        Ok(1) => Ok(()),
        Ok(_) => Err(Errno(libc::ECANCELED)),
        Err(error) => Err(error),
    }
}

/// What `open` has passed out; nothing when the first process failed before. `door` is where
/// connections are led to, if they are.
pub(crate) fn received(channel: i32, door: Option<&Door>) -> Option<OpenDoors> {
    let mut descriptors = [-1; MOST];
    let received =
        call::receive_message(channel, &mut [0], &mut descriptors, Patience::Wait).ok()?;
    let mut owned = descriptors[..received.count].iter().map(|descriptor| {
        // SAFETY: the kernel has just made this descriptor for this process.
        unsafe { OwnedFd::from_raw_fd(*descriptor) }
    });
    let (proxy, names, names_stream) = (owned.next()?, owned.next()?, owned.next()?);
    let doors = OpenDoors {
        proxy: TcpListener::from(proxy),
        names: Some(UdpSocket::from(names)),
        names_stream: Some(TcpListener::from(names_stream)),
        captured: owned.map(TcpListener::from).collect(),
        secret: door.map(Door::secret),
    };
    door.into_iter().for_each(|door| door.note(&doors));
    Some(doors)
}
