//! The calls that are told of, and what each is an attempt at.

use std::net::{IpAddr, SocketAddr};

use libc::c_long;

use super::call::{self, Told};
use super::filter::When;
use super::name::text;
use crate::seam::{Act, Attempt, Level, What};

/// A call that names a path.
#[derive(Clone, Copy)]
struct Call {
    number: c_long,
    /// The argument with the directory that the path starts from; -1 for the
    /// working directory.
    directory: i8,
    /// The argument with the path.
    path: u8,
    kind: Kind,
    level: Level,
    /// The argument with flags, of which `no_link` and `other` are looked at.
    flags: Option<u8>,
    /// The flag that keeps a link at the end from being followed.
    no_link: u32,
}

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Is(Act),
    /// What its flags say.
    Opens,
    /// As [`Kind::Opens`], with flags behind a pointer.
    OpensHow,
    /// A question: whether it can be written, when the argument has that bit.
    Asks,
    /// Removes a directory when it has `AT_REMOVEDIR`, and else anything but one.
    Unlinks,
    /// Gives what is at its other path, these arguments, this name.
    Names {
        directory: i8,
        path: u8,
        act: Act,
    },
}

const fn at(number: c_long, directory: i8, path: u8, kind: Kind) -> Call {
    Call { number, directory, path, kind, level: Level::Cheap, flags: None, no_link: 0 }
}

const fn flagged(call: Call, flags: u8, no_link: i32) -> Call {
    Call { flags: Some(flags), no_link: no_link as u32, ..call }
}

const fn from(call: Call, level: Level) -> Call {
    Call { level, ..call }
}

const fn is(act: Act) -> Kind {
    Kind::Is(act)
}

/// Flags that make an open one that changes something.
const WRITING: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;
const W_OK: u32 = libc::W_OK as u32;
const NO_FOLLOW: i32 = libc::AT_SYMLINK_NOFOLLOW;

/// `fchmodat2(2)`, which the libc crate does not have everywhere.
const FCHMODAT2: c_long = 452;

const MOVES: Kind = is(Act::Move);
const ARRIVES: Kind = Kind::Names { directory: 0, path: 1, act: Act::Arrive };

/// The calls of every architecture. Those that rename stand here twice, for the
/// name that goes and the one that comes.
const CALLS: &[Call] = &[
    flagged(at(libc::SYS_openat, 0, 1, Kind::Opens), 2, libc::O_NOFOLLOW),
    at(libc::SYS_openat2, 0, 1, Kind::OpensHow),
    at(libc::SYS_mkdirat, 0, 1, is(Act::MakeDirectory)),
    at(libc::SYS_mknodat, 0, 1, is(Act::Make)),
    at(libc::SYS_symlinkat, 1, 2, is(Act::Make)),
    at(libc::SYS_linkat, 2, 3, Kind::Names { directory: 0, path: 1, act: Act::Make }),
    flagged(at(libc::SYS_unlinkat, 0, 1, Kind::Unlinks), 2, 0),
    at(libc::SYS_renameat, 0, 1, MOVES),
    at(libc::SYS_renameat, 2, 3, ARRIVES),
    at(libc::SYS_renameat2, 0, 1, MOVES),
    at(libc::SYS_renameat2, 2, 3, ARRIVES),
    at(libc::SYS_fchmodat, 0, 1, is(Act::Change)),
    flagged(at(FCHMODAT2, 0, 1, is(Act::Change)), 3, NO_FOLLOW),
    flagged(at(libc::SYS_fchownat, 0, 1, is(Act::Change)), 4, NO_FOLLOW),
    flagged(at(libc::SYS_utimensat, 0, 1, is(Act::Change)), 3, NO_FOLLOW),
    at(libc::SYS_truncate, -1, 0, is(Act::Write)),
    at(libc::SYS_setxattr, -1, 0, is(Act::Change)),
    at(libc::SYS_lsetxattr, -1, 0, is(Act::Change)),
    at(libc::SYS_removexattr, -1, 0, is(Act::Change)),
    flagged(at(libc::SYS_faccessat, 0, 1, Kind::Asks), 2, 0),
    flagged(at(libc::SYS_faccessat2, 0, 1, Kind::Asks), 2, 0),
    from(at(libc::SYS_execve, -1, 0, is(Act::Execute)), Level::Opens),
    from(at(libc::SYS_execveat, 0, 1, is(Act::Execute)), Level::Opens),
    from(flagged(at(libc::SYS_newfstatat, 0, 1, is(Act::Look)), 3, NO_FOLLOW), Level::All),
    from(flagged(at(libc::SYS_statx, 0, 1, is(Act::Look)), 2, NO_FOLLOW), Level::All),
    from(at(libc::SYS_readlinkat, 0, 1, is(Act::Look)), Level::All),
    from(at(libc::SYS_chdir, -1, 0, is(Act::Look)), Level::All),
    from(at(libc::SYS_getxattr, -1, 0, is(Act::Look)), Level::All),
];

/// The older calls of one architecture.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Call] = &[
    flagged(at(libc::SYS_open, -1, 0, Kind::Opens), 1, libc::O_NOFOLLOW),
    at(libc::SYS_creat, -1, 0, is(Act::Create)),
    at(libc::SYS_mkdir, -1, 0, is(Act::MakeDirectory)),
    at(libc::SYS_mknod, -1, 0, is(Act::Make)),
    at(libc::SYS_symlink, -1, 1, is(Act::Make)),
    at(libc::SYS_link, -1, 1, Kind::Names { directory: -1, path: 0, act: Act::Make }),
    at(libc::SYS_unlink, -1, 0, is(Act::Remove)),
    at(libc::SYS_rmdir, -1, 0, is(Act::RemoveDirectory)),
    at(libc::SYS_rename, -1, 0, MOVES),
    at(libc::SYS_rename, -1, 1, Kind::Names { directory: -1, path: 0, act: Act::Arrive }),
    at(libc::SYS_chmod, -1, 0, is(Act::Change)),
    at(libc::SYS_chown, -1, 0, is(Act::Change)),
    at(libc::SYS_lchown, -1, 0, is(Act::Change)),
    at(libc::SYS_utime, -1, 0, is(Act::Change)),
    at(libc::SYS_utimes, -1, 0, is(Act::Change)),
    flagged(at(libc::SYS_access, -1, 0, Kind::Asks), 1, 0),
    from(at(libc::SYS_stat, -1, 0, is(Act::Look)), Level::All),
    from(at(libc::SYS_lstat, -1, 0, is(Act::Look)), Level::All),
    from(at(libc::SYS_readlink, -1, 0, is(Act::Look)), Level::All),
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[Call] = &[];

/// Calls that never follow a link at the end of the path.
#[cfg(target_arch = "x86_64")]
const OF_LINKS: &[c_long] = &[
    libc::SYS_lsetxattr,
    libc::SYS_readlinkat,
    libc::SYS_lchown,
    libc::SYS_lstat,
    libc::SYS_readlink,
];
#[cfg(target_arch = "aarch64")]
const OF_LINKS: &[c_long] = &[libc::SYS_lsetxattr, libc::SYS_readlinkat];

fn calls() -> impl Iterator<Item = &'static Call> {
    CALLS.iter().chain(OLDER)
}

/// The calls that are told of at a level.
pub(crate) fn told(level: Level) -> Vec<(c_long, When)> {
    // What is connected to is behind a pointer; sending is told with an address only.
    let mut told: Vec<(c_long, When)> =
        vec![(libc::SYS_connect, When::Always), (libc::SYS_sendto, When::Bits(4, !0))];
    if level == Level::All {
        // Whether there is an address is behind a pointer too, and mostly there is none.
        told.push((libc::SYS_sendmsg, When::Always));
        // Whoever passes a listener on cannot wait for it.
        told.push((libc::SYS_sendmmsg, When::IsNot(3, call::OF_LISTENERS)));
    }
    for call in calls().filter(|call| call.level <= level) {
        if told.iter().any(|(number, _)| *number == call.number) {
            continue;
        }
        told.push((call.number, when(call, level)));
    }
    told
}

fn when(call: &Call, level: Level) -> When {
    let flags = u32::from(call.flags.unwrap_or_default());
    match call.kind {
        Kind::Opens if level < Level::Opens => When::Bits(flags, WRITING),
        Kind::Asks if level < Level::All => When::Bits(flags, W_OK),
        // A descriptor in place of the working directory is rare, and looking at
        // the path behind it is what costs.
        _ if level == Level::Cheap && call.directory >= 0 => {
            When::Is(call.directory as u32, libc::AT_FDCWD as u32)
        }
        _ => When::Always,
    }
}

/// What a call attempts; none that can fail only for reasons of its own.
pub(crate) fn attempts(told: &Told, mark: u64) -> Vec<Attempt> {
    let process = told.process as i32;
    let number = c_long::from(told.number);
    let what: Vec<What> = match number {
        libc::SYS_connect => destination(told, named(told, 1)).into_iter().collect(),
        libc::SYS_sendto => destination(told, named(told, 4)).into_iter().collect(),
        libc::SYS_sendmsg => of_messages(told, 1),
        libc::SYS_sendmmsg => of_messages(told, u64::from(argument(told, 2) as u32)),
        _ => calls()
            .filter(|call| call.number == number)
            .filter_map(|call| of_file(call, told))
            .collect(),
    };
    what.into_iter().map(|what| Attempt { what, process, mark }).collect()
}

fn of_file(call: &Call, told: &Told) -> Option<What> {
    let path = absolute(told, call.directory, call.path)?;
    let flags = call.flags.map_or(0, |index| argument(told, index) as u32);
    let follows = flags & call.no_link == 0 && !OF_LINKS.contains(&call.number);
    let mut source = None;
    let (act, follows) = match call.kind {
        Kind::Is(act) => (act, follows),
        Kind::Opens => (opening(flags), follows),
        Kind::OpensHow => {
            let mut how = [0; 8];
            call::read_memory(told.process as i32, argument(told, 2), &mut how).ok()?;
            let flags = u64::from_ne_bytes(how) as u32;
            (opening(flags), flags & libc::O_NOFOLLOW as u32 == 0)
        }
        Kind::Asks if flags & W_OK != 0 => (Act::Ask, true),
        Kind::Asks => (Act::Look, true),
        Kind::Unlinks if flags & libc::AT_REMOVEDIR as u32 != 0 => (Act::RemoveDirectory, false),
        Kind::Unlinks => (Act::Remove, false),
        Kind::Names { directory, path, act } => {
            source = Some(absolute(told, directory, path)?);
            (act, false)
        }
    };
    let of_name = matches!(
        act,
        Act::Make
            | Act::MakeDirectory
            | Act::Arrive
            | Act::Move
            | Act::Remove
            | Act::RemoveDirectory
    );
    Some(What::File { act, path, follows: follows && !of_name, source })
}

/// What opening with these flags is.
fn opening(flags: u32) -> Act {
    let has = |flag: i32| flags & flag as u32 == flag as u32;
    let writes = flags & (libc::O_WRONLY | libc::O_RDWR | libc::O_TRUNC) as u32 != 0;
    if has(libc::O_TMPFILE) {
        Act::Unnamed
    } else if has(libc::O_PATH) {
        Act::Look
    } else if has(libc::O_CREAT | libc::O_EXCL) {
        Act::Make
    } else if has(libc::O_CREAT) {
        if writes { Act::Create } else { Act::Ensure }
    } else if writes {
        Act::Write
    } else {
        Act::Read
    }
}

pub(super) fn argument(told: &Told, index: u8) -> u64 {
    told.arguments.get(usize::from(index)).copied().unwrap_or_default()
}

/// A path among the arguments, made absolute; nothing when it is empty, and what is
/// meant a descriptor, which is open already.
fn absolute(told: &Told, directory: i8, path: u8) -> Option<Vec<u8>> {
    let process = told.process as i32;
    let path = read_path(process, argument(told, path))?;
    if path.is_empty() || path.first() == Some(&b'/') {
        return Some(path).filter(|path| !path.is_empty());
    }
    let descriptor = u8::try_from(directory).ok().map(|index| argument(told, index) as i32);
    from_here(process, descriptor.filter(|number| *number != libc::AT_FDCWD), &path)
}

/// A relative path below a directory that a process has open, or its working one.
fn from_here(process: i32, descriptor: Option<i32>, path: &[u8]) -> Option<Vec<u8>> {
    let from = match descriptor {
        Some(number) => format!("/proc/{process}/fd/{number}"),
        None => format!("/proc/{process}/cwd"),
    };
    let mut whole = vec![0; libc::PATH_MAX as usize];
    let length = call::readlinkat(libc::AT_FDCWD, &text(from), &mut whole).ok()?;
    whole.truncate(length);
    whole.push(b'/');
    whole.extend(path);
    Some(whole)
}

/// Reads a C string of another process, at most as long as a path can be.
pub(super) fn read_path(process: i32, address: u64) -> Option<Vec<u8>> {
    const PAGE: u64 = 4096;
    if address == 0 {
        return None;
    }
    let mut path = Vec::new();
    while path.len() < libc::PATH_MAX as usize {
        let address = address + path.len() as u64;
        let mut piece = [0; 256];
        // Not beyond the end of the page: the next one may not be there.
        let length = (PAGE - address % PAGE).min(piece.len() as u64) as usize;
        let piece = piece.get_mut(..length)?;
        let length = call::read_memory(process, address, piece).ok()?;
        let piece = piece.get(..length).filter(|piece| !piece.is_empty())?;
        match piece.iter().position(|byte| *byte == 0) {
            Some(end) => {
                path.extend_from_slice(piece.get(..end)?);
                return Some(path);
            }
            None => path.extend_from_slice(piece),
        }
    }
    None
}

/// The address among the arguments, and its length, which follows it.
fn named(told: &Told, index: u8) -> (u64, u32) {
    (argument(told, index), argument(told, index + 1) as u32)
}

/// The destinations of `count` messages, each a `struct msghdr`, which begins with its address
/// and its length; if there are several, their lengths stand between them.
fn of_messages(told: &Told, count: u64) -> Vec<What> {
    /// `struct mmsghdr`, in bytes.
    const EACH: usize = 64;
    /// Messages of one call that are looked at.
    const MOST: u64 = 64;
    let mut headers = [0; EACH * MOST as usize];
    let wanted = EACH * count.min(MOST) as usize;
    let headers = headers.get_mut(..wanted).unwrap_or_default();
    let read = call::read_memory(told.process as i32, argument(told, 1), headers);
    let read = headers.get(..read.unwrap_or_default()).unwrap_or_default();
    let mut named: Vec<(u64, u32)> = read
        .chunks(EACH)
        .filter_map(|header| {
            let (address, length) = header.split_first_chunk()?;
            Some((u64::from_ne_bytes(*address), u32::from_ne_bytes(*length.first_chunk()?)))
        })
        .collect();
    // Many to one place are told once.
    named.dedup();
    named.into_iter().filter_map(|named| destination(told, named)).collect()
}

/// What is at an address of this length, which may be none.
fn destination(told: &Told, (address, length): (u64, u32)) -> Option<What> {
    /// `struct sockaddr_un` with a path that has no room for its NUL.
    const LONGEST: usize = 2 + 108;
    if address == 0 {
        return None;
    }
    let process = told.process as i32;
    let mut bytes = [0; LONGEST];
    let bytes = bytes.get_mut(..(length as usize).min(LONGEST))?;
    let read = call::read_memory(process, address, bytes).ok()?;
    let bytes = bytes.get(..read)?;
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_UNIX => unix_socket(process, rest),
        family => {
            let address = internet(family, rest)?;
            Some(What::Address { address, datagrams: sends_datagrams(told) })
        }
    }
}

fn unix_socket(process: i32, name: &[u8]) -> Option<What> {
    match name {
        [] => None,
        [0, name @ ..] => Some(What::AbstractSocket(name.to_vec())),
        [b'/', ..] => Some(What::Socket(until_nul(name).to_vec())),
        name => from_here(process, None, until_nul(name)).map(What::Socket),
    }
}

fn until_nul(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// `struct sockaddr_in` and `struct sockaddr_in6` after the family.
fn internet(family: i32, rest: &[u8]) -> Option<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let address = match family {
        libc::AF_INET => IpAddr::from(*rest.first_chunk::<4>()?),
        libc::AF_INET6 => IpAddr::from(*rest.get(4..)?.first_chunk::<16>()?),
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(*port)))
}

/// Whether the socket, the first argument, is anything but a stream.
fn sends_datagrams(told: &Told) -> bool {
    let process = super::facts::process_of(told.process as i32);
    let Ok(pidfd) = call::pidfd_open(process) else { return false };
    let socket = call::pidfd_getfd(pidfd, argument(told, 0) as i32);
    call::close(pidfd);
    let Ok(socket) = socket else { return false };
    let kind = call::socket_kind(socket);
    call::close(socket);
    kind.is_ok_and(|kind| kind != libc::SOCK_STREAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_an_open_is_for() {
        for (flags, expected) in [
            (libc::O_RDONLY, Act::Read),
            (libc::O_RDONLY | libc::O_DIRECTORY, Act::Read),
            (libc::O_PATH | libc::O_NOFOLLOW, Act::Look),
            (libc::O_RDWR, Act::Write),
            (libc::O_WRONLY | libc::O_TRUNC, Act::Write),
            (libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, Act::Create),
            (libc::O_RDONLY | libc::O_CREAT, Act::Ensure),
            (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, Act::Make),
            (libc::O_RDWR | libc::O_TMPFILE, Act::Unnamed),
        ] {
            assert_eq!(opening(flags as u32), expected, "{flags:o}");
        }
    }

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        let read = |family: i32, rest: &[u8]| internet(family, rest).map(|found| found.to_string());
        assert_eq!(
            read(libc::AF_INET, &[0x01, 0xbb, 192, 0, 2, 1, 0, 0]).as_deref(),
            Some("192.0.2.1:443")
        );
        let mut six = vec![0, 80, 0, 0, 0, 0];
        six.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(read(libc::AF_INET6, &six).as_deref(), Some("[2001:db8::1]:80"));
        assert_eq!(read(libc::AF_INET6, &six[..10]), None);
        assert_eq!(read(libc::AF_NETLINK, &six), None);
    }
}
