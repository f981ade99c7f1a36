//! Sockets, routes, and passing descriptors between processes.

use super::super::raw::{Errno, arguments, call};
use super::{Descriptor, Outcome, close, flag, numbers, pointer, reads};

/// What kind of socket listens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    Stream,
    Datagram,
}

/// Two connected sockets.
pub(crate) fn socketpair() -> Outcome<[Descriptor; 2]> {
    let mut pair = [-1; 2];
    let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as usize;
    let pair_pointer = std::ptr::from_mut(&mut pair) as usize;
    let given = [libc::AF_UNIX as usize, kind, 0, pair_pointer];
    // SAFETY: the kernel writes two descriptors.
    unsafe { call(libc::SYS_socketpair, arguments(given)) }?;
    Ok(pair)
}

/// `struct ucred`: who connected a unix socket.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Peer {
    pub(crate) process: i32,
    pub(crate) user: u32,
    _group: u32,
}

/// The process at the other end: `SO_PEERCRED` of `unix(7)`.
pub(crate) fn peer(socket: Descriptor) -> Outcome<Peer> {
    let mut peer = Peer::default();
    option(socket, libc::SO_PEERCRED, &mut peer).map(|()| peer)
}

/// A descriptor of the process at the other end: `SO_PEERPIDFD` of Linux 6.5.
pub(crate) fn peer_descriptor(socket: Descriptor) -> Outcome<Descriptor> {
    const SO_PEERPIDFD: i32 = 77;
    let mut descriptor = -1;
    option(socket, SO_PEERPIDFD, &mut descriptor).map(|()| descriptor)
}

/// `SOCK_STREAM` or another: `SO_TYPE` of `socket(7)`.
pub(crate) fn socket_kind(socket: Descriptor) -> Outcome<i32> {
    let mut kind = 0;
    option(socket, libc::SO_TYPE, &mut kind).map(|()| kind)
}

/// `AF_INET` or another, and `IPPROTO_TCP` or another: `SO_DOMAIN` and `SO_PROTOCOL` of
/// `socket(7)`.
pub(crate) fn socket_family(socket: Descriptor) -> Outcome<(i32, i32)> {
    let (mut family, mut protocol) = (0, 0);
    option(socket, libc::SO_DOMAIN, &mut family)?;
    option(socket, libc::SO_PROTOCOL, &mut protocol)?;
    Ok((family, protocol))
}

/// A number of the network that a socket is in: `SO_NETNS_COOKIE` of Linux 5.14.
pub(crate) fn network_of(socket: Descriptor) -> Outcome<u64> {
    const SO_NETNS_COOKIE: i32 = 71;
    let mut number = 0;
    option(socket, SO_NETNS_COOKIE, &mut number).map(|()| number)
}

/// A descriptor of the network namespace of a socket: `SIOCGSKNS` of `ioctl(2)`.
pub(crate) fn network_namespace_of(socket: Descriptor) -> Outcome<Descriptor> {
    const SIOCGSKNS: usize = 0x894c;
    let given = [flag(socket), SIOCGSKNS];
    numbers(libc::SYS_ioctl, given).map(|descriptor| descriptor as Descriptor)
}

/// `getsockopt(2)` into a value of plain integers.
fn option<T: Copy>(socket: Descriptor, name: i32, value: &mut T) -> Outcome<()> {
    let mut length = size_of::<T>() as u32;
    let given = [
        flag(socket),
        libc::SOL_SOCKET as usize,
        flag(name),
        std::ptr::from_mut(value) as usize,
        std::ptr::from_mut(&mut length) as usize,
    ];
    // SAFETY: the kernel writes at most `length` bytes, and the length.
    unsafe { call(libc::SYS_getsockopt, arguments(given)) }.map(drop)
}

/// A socket bound to an IPv4 address and port, listening if it is a stream.
pub(crate) fn listen_on(address: u32, port: u16, kind: Listen) -> Outcome<Descriptor> {
    const BACKLOG: usize = 1024;
    let number = match kind {
        Listen::Stream => libc::SOCK_STREAM,
        Listen::Datagram => libc::SOCK_DGRAM,
    };
    let kind_and_flags = (number | libc::SOCK_CLOEXEC) as usize;
    let socket = numbers(libc::SYS_socket, [libc::AF_INET as usize, kind_and_flags, 0])?;
    let bound = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: address.to_be() },
        sin_zero: [0; 8],
    };
    let given = [socket, pointer(&bound), size_of::<libc::sockaddr_in>()];
    reads(libc::SYS_bind, arguments(given))?;
    if kind == Listen::Stream {
        numbers(libc::SYS_listen, [socket, BACKLOG])?;
    }
    Ok(socket as Descriptor)
}

/// The index of the loopback interface, always the first.
const LOOPBACK_INDEX: u32 = 1;

/// `struct nlmsghdr` of `netlink(7)`.
#[repr(C)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

impl Header {
    fn new(length: usize, kind: u16) -> Header {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE) as u16;
        Header { length: length as u32, kind, flags, sequence: 1, port: 0 }
    }
}

/// `struct rtmsg` and one attribute of `rtnetlink(7)`.
#[repr(C)]
struct RouteRequest {
    header: Header,
    family: u8,
    destination_bits: u8,
    source_bits: u8,
    service: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    route: u8,
    route_flags: u32,
    attribute_length: u16,
    attribute: u16,
    interface: u32,
}

/// Makes every IPv4 address local, as `ip route add local 0.0.0.0/0 dev lo` does.
pub(crate) fn route_everything_to_loopback() -> Outcome<()> {
    netlink(&RouteRequest {
        header: Header::new(size_of::<RouteRequest>(), libc::RTM_NEWROUTE),
        family: libc::AF_INET as u8,
        destination_bits: 0,
        source_bits: 0,
        service: 0,
        table: libc::RT_TABLE_LOCAL,
        protocol: libc::RTPROT_BOOT,
        scope: libc::RT_SCOPE_HOST,
        route: libc::RTN_LOCAL,
        route_flags: 0,
        attribute_length: 8,
        attribute: libc::RTA_OIF,
        interface: LOOPBACK_INDEX,
    })
}

/// `struct ifaddrmsg` and one attribute of `rtnetlink(7)`.
#[repr(C)]
struct AddressRequest {
    header: Header,
    family: u8,
    prefix: u8,
    flags: u8,
    scope: u8,
    interface: u32,
    attribute_length: u16,
    attribute: u16,
    address: u32,
}

/// Gives loopback an address that does not look like loopback. Without one,
/// resolvers take the network for down and return no address of a name.
pub(crate) fn add_address_to_loopback(address: u32) -> Outcome<()> {
    netlink(&AddressRequest {
        header: Header::new(size_of::<AddressRequest>(), libc::RTM_NEWADDR),
        family: libc::AF_INET as u8,
        prefix: 32,
        flags: 0,
        scope: libc::RT_SCOPE_UNIVERSE,
        interface: LOOPBACK_INDEX,
        attribute_length: 8,
        attribute: libc::IFA_LOCAL,
        address: address.to_be(),
    })
}

/// Sends one request to the kernel's routing and reads the answer.
fn netlink<T>(request: &T) -> Outcome<()> {
    let kind = (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as usize;
    let socket = numbers(libc::SYS_socket, [libc::AF_NETLINK as usize, kind, 0])?;
    let given = [socket, pointer(request), size_of::<T>(), 0, 0, 0];
    let done = reads(libc::SYS_sendto, given).and_then(|_| acknowledged(socket));
    close(socket as Descriptor);
    done
}

/// Reads the answer to a request: `struct nlmsgerr` behind its header.
fn acknowledged(socket: usize) -> Outcome<()> {
    let mut answer = [0i32; 64];
    let given = [socket, std::ptr::from_mut(&mut answer) as usize, size_of_val(&answer), 0, 0, 0];
    // SAFETY: the kernel writes at most what it is told the buffer holds.
    unsafe { call(libc::SYS_recvfrom, given) }?;
    match answer[4] {
        0 => Ok(()),
        error => Err(Errno(-error)),
    }
}

/// Room for `struct cmsghdr` and 253 descriptors, aligned as the kernel wants.
const CONTROL_WORDS: usize = 2 + 127;

/// Sends bytes and descriptors as one message; how many bytes a stream has taken.
pub(crate) fn send_message(
    channel: Descriptor,
    bytes: &[u8],
    descriptors: &[Descriptor],
) -> Outcome<usize> {
    with_message(bytes, descriptors, |message| {
        let given = [flag(channel), pointer(message), libc::MSG_NOSIGNAL as usize];
        reads(libc::SYS_sendmsg, arguments(given))
    })
}

/// The flags that listeners are sent with, and hardly anything else: `MSG_CONFIRM` is for those
/// who look after the hardware addresses of a network, and means nothing to a unix socket.
pub(crate) const OF_LISTENERS: u32 = (libc::MSG_NOSIGNAL | libc::MSG_CONFIRM) as u32;

/// The same with `sendmmsg(2)` and the flags [`OF_LISTENERS`], for a process whose other
/// messages wait until what it sends here has arrived.
pub(crate) fn send_listener(
    channel: Descriptor,
    bytes: &[u8],
    listener: Descriptor,
) -> Outcome<usize> {
    with_message(bytes, &[listener], |message| {
        // `struct mmsghdr`, of which the kernel writes the last word.
        let mut several = [0; 8];
        several[..7].copy_from_slice(message);
        let several = std::ptr::from_mut(&mut several) as usize;
        let given = [flag(channel), several, 1, OF_LISTENERS as usize];
        // SAFETY: the kernel reads one message, and writes how much of it was sent.
        unsafe { call(libc::SYS_sendmmsg, arguments(given)) }
    })
}

/// Makes a `struct msghdr` of bytes and descriptors.
fn with_message<T>(
    bytes: &[u8],
    descriptors: &[Descriptor],
    send: impl FnOnce(&[usize; 7]) -> T,
) -> T {
    let mut control = [0u64; CONTROL_WORDS];
    let length = match descriptors.len() {
        0 => 0,
        _ => 16 + size_of_val(descriptors),
    };
    control[0] = length as u64;
    control[1] = u64::from(libc::SCM_RIGHTS as u32) << 32 | u64::from(libc::SOL_SOCKET as u32);
    for (index, pair) in descriptors.chunks(2).enumerate() {
        let second = pair.get(1).map_or(0, |second| u64::from(*second as u32) << 32);
        control[2 + index] = u64::from(pair[0] as u32) | second;
    }
    let part = [bytes.as_ptr() as usize, bytes.len()];
    send(&[0, 0, pointer(&part), 1, pointer(&control), length, 0])
}

/// How much of a message was received.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    /// Bytes; none when the other end is gone.
    pub(crate) length: usize,
    /// Descriptors.
    pub(crate) count: usize,
}

/// Whether to wait for a message.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    Wait,
    OnlyNow,
}

/// Receives a message of bytes and descriptors.
pub(crate) fn receive_message(
    channel: Descriptor,
    bytes: &mut [u8],
    descriptors: &mut [Descriptor],
    patience: Patience,
) -> Outcome<Received> {
    let mut control = [0u64; CONTROL_WORDS];
    let part = [bytes.as_mut_ptr() as usize, bytes.len()];
    let control_pointer = std::ptr::from_mut(&mut control) as usize;
    let mut message =
        [0, 0, pointer(&part), 1, control_pointer, size_of::<[u64; CONTROL_WORDS]>(), 0];
    let message_pointer = std::ptr::from_mut(&mut message) as usize;
    let flags = match patience {
        Patience::Wait => libc::MSG_CMSG_CLOEXEC,
        Patience::OnlyNow => libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT,
    };
    let given = [flag(channel), message_pointer, flags as usize];
    // SAFETY: the kernel writes the bytes, the control buffer and the message.
    let length = unsafe { call(libc::SYS_recvmsg, arguments(given)) }?;
    let count = (control[0] as usize).saturating_sub(16) / size_of::<Descriptor>();
    for index in 0..count {
        let number = (control[2 + index / 2] >> (32 * (index % 2))) as u32 as Descriptor;
        match descriptors.get_mut(index) {
            Some(descriptor) => *descriptor = number,
            None => close(number),
        }
    }
    Ok(Received { length, count: count.min(descriptors.len()) })
}
