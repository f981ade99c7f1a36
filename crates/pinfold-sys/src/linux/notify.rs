//! Tells of what a command attempts: its calls wait for a moment, are looked at,
//! and always go on. The mounts decide about them, before and after.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::thread::JoinHandle;

use libc::{c_long, sock_filter};

use super::call::{self, Patience, Told};
use super::filter::{self, When};
use super::supervise::system;
use crate::seam::{Act, Attempt, Error, Level, Witness};

/// A call that names a path.
#[derive(Clone, Copy)]
struct Call {
    number: c_long,
    /// The argument with the directory that the path starts from; -1 for the
    /// working directory.
    directory: i8,
    /// The argument with the path.
    path: u8,
    act: Act,
    when: When,
    level: Level,
}

const fn at(number: c_long, directory: i8, path: u8, act: Act) -> Call {
    Call { number, directory, path, act, when: When::Always, level: Level::Writes }
}

const fn told(call: Call, when: When) -> Call {
    Call { when, ..call }
}

const fn opening(call: Call) -> Call {
    Call { level: Level::Opens, ..call }
}

/// Flags that make an open one that writes.
const WRITING: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;
const W_OK: u32 = libc::W_OK as u32;

/// `fchmodat2(2)`, which the libc crate does not have everywhere.
const FCHMODAT2: c_long = 452;

/// The calls of every architecture. Those that rename stand here twice, for the
/// name that goes and the one that comes.
const CALLS: &[Call] = &[
    told(at(libc::SYS_openat, 0, 1, Act::Write), When::Bits(2, WRITING)),
    // Its flags are behind a pointer.
    at(libc::SYS_openat2, 0, 1, Act::Write),
    at(libc::SYS_mkdirat, 0, 1, Act::Make),
    at(libc::SYS_mknodat, 0, 1, Act::Make),
    at(libc::SYS_symlinkat, 1, 2, Act::Make),
    at(libc::SYS_linkat, 2, 3, Act::Make),
    at(libc::SYS_unlinkat, 0, 1, Act::Remove),
    at(libc::SYS_renameat, 0, 1, Act::Remove),
    at(libc::SYS_renameat, 2, 3, Act::Write),
    at(libc::SYS_renameat2, 0, 1, Act::Remove),
    at(libc::SYS_renameat2, 2, 3, Act::Write),
    at(libc::SYS_fchmodat, 0, 1, Act::Change),
    at(FCHMODAT2, 0, 1, Act::Change),
    at(libc::SYS_fchownat, 0, 1, Act::Change),
    at(libc::SYS_utimensat, 0, 1, Act::Change),
    at(libc::SYS_truncate, -1, 0, Act::Write),
    at(libc::SYS_setxattr, -1, 0, Act::Change),
    at(libc::SYS_lsetxattr, -1, 0, Act::Change),
    at(libc::SYS_removexattr, -1, 0, Act::Change),
    told(at(libc::SYS_faccessat, 0, 1, Act::Write), When::Bits(2, W_OK)),
    told(at(libc::SYS_faccessat2, 0, 1, Act::Write), When::Bits(2, W_OK)),
    opening(at(libc::SYS_execve, -1, 0, Act::Execute)),
    opening(at(libc::SYS_execveat, 0, 1, Act::Execute)),
];

/// The older calls of one architecture.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Call] = &[
    told(at(libc::SYS_open, -1, 0, Act::Write), When::Bits(1, WRITING)),
    at(libc::SYS_creat, -1, 0, Act::Write),
    at(libc::SYS_mkdir, -1, 0, Act::Make),
    at(libc::SYS_mknod, -1, 0, Act::Make),
    at(libc::SYS_symlink, -1, 1, Act::Make),
    at(libc::SYS_link, -1, 1, Act::Make),
    at(libc::SYS_unlink, -1, 0, Act::Remove),
    at(libc::SYS_rmdir, -1, 0, Act::Remove),
    at(libc::SYS_rename, -1, 0, Act::Remove),
    at(libc::SYS_rename, -1, 1, Act::Write),
    at(libc::SYS_chmod, -1, 0, Act::Change),
    at(libc::SYS_chown, -1, 0, Act::Change),
    at(libc::SYS_lchown, -1, 0, Act::Change),
    at(libc::SYS_utime, -1, 0, Act::Change),
    at(libc::SYS_utimes, -1, 0, Act::Change),
    told(at(libc::SYS_access, -1, 0, Act::Write), When::Bits(1, W_OK)),
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[Call] = &[];

/// The filter for a level.
pub(crate) fn program(level: Level) -> Vec<sock_filter> {
    let mut calls: Vec<(c_long, When)> = Vec::new();
    for call in CALLS.iter().chain(OLDER).filter(|call| call.level <= level) {
        if calls.iter().any(|(number, _)| *number == call.number) {
            continue;
        }
        let from_working = call.directory < 0;
        let when = match (level, call.when) {
            (Level::Opens, When::Bits(..)) if call.act == Act::Write => When::Always,
            (Level::Cheap, When::Always) if !from_working => {
                When::Is(call.directory as u32, libc::AT_FDCWD as u32)
            }
            (_, when) => when,
        };
        calls.push((call.number, when));
    }
    filter::telling(calls.into_iter())
}

/// A thread that hears of calls.
pub(crate) struct Listener {
    thread: JoinHandle<()>,
}

impl Listener {
    /// Waits until nobody is left who could call.
    pub(crate) fn join(self) {
        let _ = self.thread.join();
    }
}

/// Starts to listen; also the descriptor to pass a listener on by.
pub(crate) fn listen(witness: &Witness) -> Result<(Listener, i32), Error> {
    let [outer, inner] = call::socketpair().map_err(system("make a channel"))?;
    let witness = witness.clone();
    let thread = std::thread::Builder::new().name(String::from("pinfold-witness"));
    let thread = thread.spawn(move || hear(outer, &witness)).map_err(|error| {
        call::close(outer);
        call::close(inner);
        let code = error.raw_os_error().unwrap_or(libc::EAGAIN);
        Error::System { attempted: String::from("start a thread"), code }
    })?;
    Ok((Listener { thread }, inner))
}

fn hear(channel: i32, witness: &Witness) {
    let (mut bytes, mut descriptors) = ([0; 4], [-1]);
    let received = call::receive_message(channel, &mut bytes, &mut descriptors, Patience::Wait);
    call::close(channel);
    match received {
        Ok(received) if received.count == 1 => {
            let [listener] = descriptors;
            attend(listener, witness);
            call::close(listener);
        }
        Ok(received) if received.length == bytes.len() => {
            let code = i32::from_ne_bytes(bytes);
            let attempted = String::from("hear of what the command attempts");
            (witness.tell)(Err(Error::System { attempted, code }));
        }
        // The command was never started.
        _ => {}
    }
}

/// Tells of calls until nobody is left who could make one.
fn attend(listener: i32, witness: &Witness) {
    loop {
        let mut polled = [libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 }];
        let _ = call::ppoll(&mut polled, None);
        if polled[0].revents & libc::POLLIN == 0 {
            if polled[0].revents & (libc::POLLHUP | libc::POLLERR) != 0 {
                return;
            }
            continue;
        }
        // One that was killed meanwhile has nothing to tell.
        let Ok(told) = call::next_told(listener) else { continue };
        for call in CALLS.iter().chain(OLDER) {
            if call.number == c_long::from(told.number)
                && let Some(attempt) = attempt(call, &told)
            {
                (witness.tell)(Ok(attempt));
            }
        }
        let _ = call::let_go_on(listener, told.id);
    }
}

fn attempt(call: &Call, told: &Told) -> Option<Attempt> {
    let argument = |index: usize| told.arguments.get(index).copied();
    let process = i32::try_from(told.process).ok()?;
    let path = read_path(process, argument(usize::from(call.path))?)?;
    let act = act(call, told)?;
    if path.first() == Some(&b'/') {
        return Some(Attempt { act, path, process });
    }
    let from = match usize::try_from(call.directory).ok().and_then(argument) {
        Some(number) if number as i32 != libc::AT_FDCWD => {
            format!("/proc/{process}/fd/{}", number as i32)
        }
        _ => format!("/proc/{process}/cwd"),
    };
    let mut whole = fs::read_link(from).ok()?.into_os_string().into_vec();
    if !path.is_empty() {
        whole.push(b'/');
        whole.extend(path);
    }
    Some(Attempt { act, path: whole, process })
}

/// What a call is for; an open reads or writes.
fn act(call: &Call, told: &Told) -> Option<Act> {
    let argument = |index: u32| told.arguments.get(index as usize).map(|value| *value as u32);
    let process = i32::try_from(told.process).ok()?;
    if call.number == libc::SYS_openat2 {
        let mut flags = [0; 8];
        call::read_memory(process, *told.arguments.get(2)?, &mut flags).ok()?;
        let writes = u64::from_ne_bytes(flags) as u32 & WRITING != 0;
        return Some(if writes { Act::Write } else { Act::Read });
    }
    match call.when {
        When::Bits(index, bits) if argument(index)? & bits == 0 => Some(Act::Read),
        _ => Some(call.act),
    }
}

/// Reads a C string of another process, at most as long as a path can be.
fn read_path(process: i32, address: u64) -> Option<Vec<u8>> {
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
