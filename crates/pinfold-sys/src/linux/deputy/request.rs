//! What a call asks for, as far as somebody else can do it.

use std::net::SocketAddr;

use libc::c_long;

use super::super::attempts::{argument, read_path};
use super::super::call::{self, Told};
use super::super::filter::When;

/// A path as the process gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where it starts, when it does not start at the root.
    pub(super) start: Start,
    pub(super) path: Vec<u8>,
}

/// Where a relative path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// In the working directory.
    Working,
    /// In the directory that the process has open at this number.
    Open(i32),
}

/// How something is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) flags: i32,
    pub(super) mode: u32,
    /// `RESOLVE_*` of `openat2(2)`.
    pub(super) resolve: u64,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Open(Named, Opening),
    MakeDirectory(Named, u32),
    MakeNode(Named, u32),
    Symlink {
        target: Vec<u8>,
        name: Named,
    },
    Link {
        from: Named,
        follows: bool,
        to: Named,
    },
    Remove(Named, i32),
    Rename {
        from: Named,
        to: Named,
        flags: u32,
    },
    Truncate(Named, u64),
    Bind {
        socket: i32,
        name: Named,
    },
    /// Of a socket of the internet.
    BindPort(u16),
    Connect {
        socket: i32,
        destination: SocketAddr,
    },
    Listen {
        socket: i32,
        backlog: i32,
    },
}

/// The bits of `open(2)` that say that something is changed.
const CHANGES: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;

/// The calls that are about files; `reads` includes opening them to read.
pub(super) fn of_files(reads: bool) -> Vec<(c_long, When)> {
    let opens = |index| if reads { When::Always } else { When::Bits(index, CHANGES) };
    let mut calls = vec![(libc::SYS_openat, opens(2)), (libc::SYS_openat2, When::Always)];
    let others = [
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_symlinkat,
        libc::SYS_linkat,
        libc::SYS_unlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_truncate,
        libc::SYS_bind,
    ];
    calls.extend(others.map(|call| (call, When::Always)));
    calls.extend(older(opens(1)));
    calls
}

#[cfg(target_arch = "x86_64")]
fn older(opens: When) -> Vec<(c_long, When)> {
    let others = [
        libc::SYS_creat,
        libc::SYS_mkdir,
        libc::SYS_mknod,
        libc::SYS_symlink,
        libc::SYS_link,
        libc::SYS_unlink,
        libc::SYS_rmdir,
        libc::SYS_rename,
    ];
    let mut calls = vec![(libc::SYS_open, opens)];
    calls.extend(others.map(|call| (call, When::Always)));
    calls
}

#[cfg(target_arch = "aarch64")]
fn older(_opens: When) -> Vec<(c_long, When)> {
    Vec::new()
}

/// Whether a call wants to let a socket listen.
pub(super) fn is_listen(told: &Told) -> bool {
    c_long::from(told.number) == libc::SYS_listen
}

/// What a call asks for; nothing when it is for the kernel alone.
pub(super) fn read(told: &Told) -> Option<Request> {
    let call = Call(told);
    Some(match c_long::from(told.number) {
        libc::SYS_openat => Request::Open(call.at(0, 1)?, call.opening(2)),
        libc::SYS_openat2 => Request::Open(call.at(0, 1)?, call.opening_how(2, 3)?),
        libc::SYS_mkdirat => Request::MakeDirectory(call.at(0, 1)?, call.number(2)),
        libc::SYS_mknodat => Request::MakeNode(call.at(0, 1)?, call.number(2)),
        libc::SYS_symlinkat => Request::Symlink { target: call.text(0)?, name: call.at(1, 2)? },
        libc::SYS_linkat => {
            let flags = call.number(4) as i32;
            if flags & !libc::AT_SYMLINK_FOLLOW != 0 {
                return None;
            }
            Request::Link { from: call.at(0, 1)?, follows: flags != 0, to: call.at(2, 3)? }
        }
        libc::SYS_unlinkat => Request::Remove(call.at(0, 1)?, call.number(2) as i32),
        libc::SYS_renameat => {
            Request::Rename { from: call.at(0, 1)?, to: call.at(2, 3)?, flags: 0 }
        }
        libc::SYS_renameat2 => {
            Request::Rename { from: call.at(0, 1)?, to: call.at(2, 3)?, flags: call.number(4) }
        }
        libc::SYS_truncate => Request::Truncate(call.here(0)?, argument(told, 1)),
        libc::SYS_bind => match call.address(1) {
            Some(address) => Request::BindPort(address.port()),
            None => Request::Bind { socket: call.number(0) as i32, name: call.socket(1)? },
        },
        libc::SYS_connect => {
            Request::Connect { socket: call.number(0) as i32, destination: call.address(1)? }
        }
        libc::SYS_listen => {
            Request::Listen { socket: call.number(0) as i32, backlog: call.number(1) as i32 }
        }
        number => return read_older(number, &call),
    })
}

#[cfg(target_arch = "x86_64")]
fn read_older(number: c_long, call: &Call<'_>) -> Option<Request> {
    Some(match number {
        libc::SYS_open => Request::Open(call.here(0)?, call.opening(1)),
        libc::SYS_creat => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
            Request::Open(call.here(0)?, Opening { flags, mode: call.number(1), resolve: 0 })
        }
        libc::SYS_mkdir => Request::MakeDirectory(call.here(0)?, call.number(1)),
        libc::SYS_mknod => Request::MakeNode(call.here(0)?, call.number(1)),
        libc::SYS_symlink => Request::Symlink { target: call.text(0)?, name: call.here(1)? },
        libc::SYS_link => Request::Link { from: call.here(0)?, follows: false, to: call.here(1)? },
        libc::SYS_unlink => Request::Remove(call.here(0)?, 0),
        libc::SYS_rmdir => Request::Remove(call.here(0)?, libc::AT_REMOVEDIR),
        libc::SYS_rename => Request::Rename { from: call.here(0)?, to: call.here(1)?, flags: 0 },
        _ => return None,
    })
}

#[cfg(target_arch = "aarch64")]
fn read_older(_number: c_long, _call: &Call<'_>) -> Option<Request> {
    None
}

/// The arguments of a call, by their index.
struct Call<'t>(&'t Told);

impl Call<'_> {
    fn number(&self, index: u8) -> u32 {
        argument(self.0, index) as u32
    }

    fn text(&self, index: u8) -> Option<Vec<u8>> {
        read_path(self.0.process as i32, argument(self.0, index))
    }

    fn at(&self, directory: u8, path: u8) -> Option<Named> {
        let start = match self.number(directory) as i32 {
            libc::AT_FDCWD => Start::Working,
            number => Start::Open(number),
        };
        self.named(start, path)
    }

    fn here(&self, path: u8) -> Option<Named> {
        self.named(Start::Working, path)
    }

    fn named(&self, start: Start, path: u8) -> Option<Named> {
        let path = self.text(path).filter(|path| !path.is_empty())?;
        Some(Named { start, path })
    }

    fn opening(&self, index: u8) -> Opening {
        Opening { flags: self.number(index) as i32, mode: self.number(index + 1), resolve: 0 }
    }

    /// `struct open_how`, of which a longer one is for a later kernel.
    fn opening_how(&self, index: u8, length: u8) -> Option<Opening> {
        let mut how = [0u8; 24];
        if argument(self.0, length) != how.len() as u64 {
            return None;
        }
        let process = self.0.process as i32;
        let read = call::read_memory(process, argument(self.0, index), &mut how).ok()?;
        let word = |at: usize| {
            let bytes = how.get(at..).and_then(|rest| rest.first_chunk());
            u64::from_ne_bytes(*bytes.unwrap_or(&[0; 8]))
        };
        let opening = Opening { flags: word(0) as i32, mode: word(8) as u32, resolve: word(16) };
        // Flags that no kernel knows are an error, which is the kernel's to tell.
        (read == how.len() && word(0) <= i32::MAX as u64).then_some(opening)
    }

    /// The family of an address, and the rest of it.
    fn address_in<'b>(&self, index: u8, buffer: &'b mut [u8]) -> Option<(i32, &'b [u8])> {
        let length = (self.number(index + 1) as usize).min(buffer.len());
        let buffer = buffer.get_mut(..length)?;
        let process = self.0.process as i32;
        let read = call::read_memory(process, argument(self.0, index), buffer).ok()?;
        let (family, rest) = buffer.get(..read)?.split_first_chunk::<2>()?;
        Some((i32::from(u16::from_ne_bytes(*family)), rest))
    }

    /// An address of the internet: `struct sockaddr_in` or, with the flow before the
    /// address, `struct sockaddr_in6`.
    fn address(&self, index: u8) -> Option<SocketAddr> {
        let mut buffer = [0u8; 28];
        let (family, rest) = self.address_in(index, &mut buffer)?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let port = u16::from_be_bytes(*port);
        match family {
            libc::AF_INET => Some(SocketAddr::from((*rest.first_chunk::<4>()?, port))),
            libc::AF_INET6 => Some(SocketAddr::from((*rest.get(4..)?.first_chunk::<16>()?, port))),
            _ => None,
        }
    }

    /// The name of a unix socket in the file tree.
    fn socket(&self, index: u8) -> Option<Named> {
        let mut buffer = [0u8; 2 + 108];
        let (family, name) = self.address_in(index, &mut buffer)?;
        if family != libc::AF_UNIX {
            return None;
        }
        let path = name.split(|byte| *byte == 0).next().filter(|path| !path.is_empty())?;
        Some(Named { start: Start::Working, path: path.to_vec() })
    }
}
