//! Doing what another process asks for, and answering its call.

use std::ffi::CStr;
use std::net::SocketAddr;

use super::super::raw::{Errno, arguments, call};
use super::{Descriptor, Outcome, flag, numbers, path, pointer, ppoll, reads};

/// `seccomp(2)`: answers a call that waits, `SECCOMP_IOCTL_NOTIF_SEND`.
pub(crate) fn answer(listener: Descriptor, id: u64, result: Outcome<u64>) -> Outcome<()> {
    const SEND: usize = 0xc018_2101;
    // `struct seccomp_notif_resp`: the error and the flags share a word.
    let answer = match result {
        Ok(value) => [id, value, 0],
        Err(Errno(code)) => [id, 0, u64::from((-code) as u32)],
    };
    let given = [flag(listener), SEND, pointer(&answer)];
    reads(libc::SYS_ioctl, arguments(given)).map(drop)
}

/// Whether the call still waits: `SECCOMP_IOCTL_NOTIF_ID_VALID`. Until then, what was
/// read from its process was that of no other.
pub(crate) fn still_waits(listener: Descriptor, id: u64) -> bool {
    const ID_VALID: usize = 0x4008_2102;
    reads(libc::SYS_ioctl, arguments([flag(listener), ID_VALID, pointer(&id)])).is_ok()
}

/// Answers a call with a descriptor of its process's own for `source`:
/// `SECCOMP_IOCTL_NOTIF_ADDFD`, before Linux 5.14 in two steps.
pub(crate) fn answer_with_descriptor(
    listener: Descriptor,
    id: u64,
    (source, flags): (Descriptor, i32),
) -> Outcome<()> {
    /// `struct seccomp_notif_addfd`.
    #[repr(C)]
    struct Added {
        id: u64,
        flags: u32,
        source: u32,
        number: u32,
        number_flags: u32,
    }
    const ADD: usize = 0x4018_2103;
    const AND_SEND: u32 = 1 << 1;
    let number_flags = (flags & libc::O_CLOEXEC) as u32;
    let add = |how| {
        let added = Added { id, flags: how, source: source as u32, number: 0, number_flags };
        reads(libc::SYS_ioctl, arguments([flag(listener), ADD, pointer(&added)]))
    };
    match add(AND_SEND) {
        Err(Errno(libc::EINVAL)) => answer(listener, id, Ok(add(0)? as u64)),
        added => added.map(drop),
    }
}

/// `fchdir(2)`.
pub(crate) fn fchdir(directory: Descriptor) -> Outcome<()> {
    numbers(libc::SYS_fchdir, [flag(directory)]).map(drop)
}

/// The capabilities of this thread, `capget(2)`: effective, permitted and inheritable,
/// the low words before the high ones.
pub(crate) fn capabilities() -> Outcome<[u32; 6]> {
    let header = [super::CAPABILITY_VERSION_3, 0];
    let mut sets = [0u32; 6];
    let given = [pointer(&header), std::ptr::from_mut(&mut sets) as usize];
    // SAFETY: the kernel writes two structures of three words each.
    unsafe { call(libc::SYS_capget, arguments(given)) }?;
    Ok(sets)
}

/// Sets the capabilities of this thread: `capset(2)`.
pub(crate) fn set_capabilities(sets: &[u32; 6]) -> Outcome<()> {
    let header = [super::CAPABILITY_VERSION_3, 0];
    reads(libc::SYS_capset, arguments([pointer(&header), pointer(sets)])).map(drop)
}

/// `openat(2)` with a mode.
pub(crate) fn openat_mode(
    directory: Descriptor,
    name: &CStr,
    (flags, mode): (i32, u32),
) -> Outcome<Descriptor> {
    let given = [flag(directory), path(name), flags as u32 as usize, mode as usize];
    reads(libc::SYS_openat, arguments(given)).map(|fd| fd as Descriptor)
}

/// The type, `S_IFMT` of the mode, of what a name in a directory is; links are links.
pub(crate) fn kind_at(directory: Descriptor, name: &CStr) -> Outcome<u32> {
    // SAFETY: `stat` is integers only, all zero is a value of it.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    let place = std::ptr::from_mut(&mut found) as usize;
    let given = [flag(directory), path(name), place, libc::AT_SYMLINK_NOFOLLOW as usize];
    // SAFETY: the kernel writes one `stat`.
    unsafe { call(libc::SYS_newfstatat, arguments(given)) }?;
    Ok(found.st_mode & libc::S_IFMT)
}

/// Whether a directory shows processes: the type that `fstatfs(2)` tells.
pub(crate) fn is_of_processes(directory: Descriptor) -> Outcome<bool> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    // `struct statfs`, which begins with the type, is 120 bytes.
    let mut found = [0u64; 16];
    let given = [flag(directory), std::ptr::from_mut(&mut found) as usize];
    // SAFETY: the kernel writes one `struct statfs`.
    unsafe { call(libc::SYS_fstatfs, arguments(given)) }?;
    Ok(found[0] == PROC_SUPER_MAGIC)
}

/// `mknodat(2)` of what is no device.
pub(crate) fn mknodat(directory: Descriptor, name: &CStr, mode: u32) -> Outcome<()> {
    let given = [flag(directory), path(name), mode as usize, 0];
    reads(libc::SYS_mknodat, arguments(given)).map(drop)
}

/// A name in an open directory.
pub(crate) type At<'n> = (Descriptor, &'n CStr);

/// `linkat(2)` of the name itself, be it a link.
pub(crate) fn linkat(from: At<'_>, to: At<'_>) -> Outcome<()> {
    let given = [flag(from.0), path(from.1), flag(to.0), path(to.1), 0];
    reads(libc::SYS_linkat, arguments(given)).map(drop)
}

/// `unlinkat(2)`.
pub(crate) fn unlinkat(directory: Descriptor, name: &CStr, flags: i32) -> Outcome<()> {
    reads(libc::SYS_unlinkat, arguments([flag(directory), path(name), flag(flags)])).map(drop)
}

/// `renameat2(2)`.
pub(crate) fn renameat2(from: At<'_>, to: At<'_>, flags: u32) -> Outcome<()> {
    let given = [flag(from.0), path(from.1), flag(to.0), path(to.1), flags as usize];
    reads(libc::SYS_renameat2, arguments(given)).map(drop)
}

/// `ftruncate(2)`.
pub(crate) fn ftruncate(file: Descriptor, length: u64) -> Outcome<()> {
    numbers(libc::SYS_ftruncate, [flag(file), length as usize]).map(drop)
}

/// Sets the flags of an open file that can be set: `F_SETFL` of `fcntl(2)`.
pub(crate) fn set_file_flags(file: Descriptor, flags: i32) -> Outcome<()> {
    let given = [flag(file), libc::F_SETFL as usize, flags as u32 as usize];
    numbers(libc::SYS_fcntl, given).map(drop)
}

/// `bind(2)` to a name in the working directory.
pub(crate) fn bind_here(socket: Descriptor, name: &CStr) -> Outcome<()> {
    let mut address = [0u8; 2 + 108];
    let family = (libc::AF_UNIX as libc::sa_family_t).to_ne_bytes();
    let bytes = name.to_bytes_with_nul();
    let length = family.len() + bytes.len();
    address[..family.len()].copy_from_slice(&family);
    let Some(room) = address.get_mut(family.len()..length) else {
        return Err(Errno(libc::ENAMETOOLONG));
    };
    room.copy_from_slice(bytes);
    reads(libc::SYS_bind, arguments([flag(socket), pointer(&address), length])).map(drop)
}

/// `connect(2)` to an IPv4 or IPv6 address, which waits for so long at most, whether the
/// socket waits or not; `EALREADY` when that was too short.
pub(crate) fn connect(socket: Descriptor, to: SocketAddr, patience: libc::timespec) -> Outcome<()> {
    let flags = numbers(libc::SYS_fcntl, [flag(socket), libc::F_GETFL as usize])? as i32;
    let waits = flags & libc::O_NONBLOCK == 0;
    if waits {
        set_file_flags(socket, flags | libc::O_NONBLOCK)?;
    }
    let mut connected = begin_to_connect(socket, to);
    if connected == Err(Errno(libc::EINPROGRESS)) {
        let mut polled = [libc::pollfd { fd: socket, events: libc::POLLOUT, revents: 0 }];
        let _ = ppoll(&mut polled, Some(patience));
        connected = begin_to_connect(socket, to);
    }
    if waits {
        set_file_flags(socket, flags)?;
    }
    connected
}

/// Whether a socket, or any open file, waits.
pub(crate) fn waits(file: Descriptor) -> bool {
    let flags = numbers(libc::SYS_fcntl, [flag(file), libc::F_GETFL as usize]);
    flags.is_ok_and(|flags| flags as i32 & libc::O_NONBLOCK == 0)
}

fn begin_to_connect(socket: Descriptor, to: SocketAddr) -> Outcome<()> {
    let mut address = [0u8; 28];
    let port = to.port().to_be_bytes();
    let (family, host, at): (_, &[u8], _) = match &to {
        SocketAddr::V4(to) => (libc::AF_INET, &to.ip().octets(), 4),
        SocketAddr::V6(to) => (libc::AF_INET6, &to.ip().octets(), 8),
    };
    address[..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    address[2..4].copy_from_slice(&port);
    address[at..at + host.len()].copy_from_slice(host);
    let length = if to.is_ipv4() { 16 } else { 28 };
    reads(libc::SYS_connect, arguments([flag(socket), pointer(&address), length])).map(drop)
}

/// `listen(2)`.
pub(crate) fn listen(socket: Descriptor, backlog: i32) -> Outcome<()> {
    numbers(libc::SYS_listen, [flag(socket), flag(backlog)]).map(drop)
}

/// Sends all of a few bytes at once, or nothing.
pub(crate) fn send_now(socket: Descriptor, bytes: &[u8]) -> Outcome<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let given = [flag(socket), bytes.as_ptr() as usize, bytes.len(), flag(flags), 0, 0];
    match reads(libc::SYS_sendto, given) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(Errno(libc::ECONNABORTED)),
        Err(error) => Err(error),
    }
}

/// `getrandom(2)`.
pub(crate) fn random(bytes: &mut [u8]) -> Outcome<()> {
    let given = [bytes.as_mut_ptr() as usize, bytes.len(), 0];
    // SAFETY: the kernel writes at most as many bytes as the slice has.
    match unsafe { call(libc::SYS_getrandom, arguments(given)) } {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(Errno(libc::EAGAIN)),
        Err(error) => Err(error),
    }
}
