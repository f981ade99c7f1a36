//! The first process of a session: starts the commands that the supervisor
//! sends, and notes their ends. Makes no allocation.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use super::call::{self, Patience};
use super::command::Command;
use super::fate::{Fate, Fates};
use super::init::{self, Task};
use super::perform::Masks;
use super::raw::Errno;
use super::shared::Stage;
use crate::seam::Size;

/// A command for a session. It stays where it is until it is known whether it runs, and
/// its fate until the first process has let go of it.
pub(crate) struct Spawn {
    pub(crate) directory: CString,
    pub(crate) command: Command,
    /// Its own terminal, instead of the descriptors that were sent along.
    pub(crate) terminal: Option<Size>,
    pub(crate) fate: Arc<Fate>,
}

/// What is sent to the first process with up to three descriptors.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) spawn: *const Spawn,
}

impl Order {
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.number.to_ne_bytes());
        bytes[8..].copy_from_slice(&(self.spawn as u64).to_ne_bytes());
        bytes
    }

    fn of(bytes: [u8; 16]) -> Order {
        let [a, b, c, d, ..] = bytes;
        let [.., s, t, u, v, w, x, y, z] = bytes;
        Order {
            number: u32::from_ne_bytes([a, b, c, d]),
            spawn: u64::from_ne_bytes([s, t, u, v, w, x, y, z]) as *const Spawn,
        }
    }
}

/// The number that the first process says when commands can be sent. Another is that of
/// an order, whose command's descriptor and, if it has one, terminal come along.
pub(crate) const READY: u32 = 0;

fn tell(task: &Task, number: u32, descriptors: &[i32]) {
    let _ = call::send_message(task.channel, &number.to_ne_bytes(), descriptors);
}

/// Carries out orders and reaps, until it is killed.
pub(crate) fn serve(task: &Task, masks: Masks) {
    // 1. Nothing of the supervisor stays open here: the end of a pipe that
    // another session's command waits for must not depend on this process.
    keep_only([
        task.supervisor,
        task.channel,
        task.telling,
        task.ruleset,
        masks.directory,
        masks.file,
    ]);
    // 2. What the supervisor ignores is not to be ignored by commands.
    for signal in 1..libc::SIGRTMIN() {
        call::default_signal(signal);
    }
    tell(task, READY, &[]);
    let mut fates = Fates::none();
    loop {
        let _ = call::sigtimedwait(init::WAKING, None);
        while let Ok(waited) = call::wait4(-1, libc::WNOHANG) {
            if waited.process == 0 {
                break;
            }
            fates.end(waited.process, waited.status);
        }
        init::cover(task, masks);
        while take_order(task, &mut fates) {}
    }
}

/// Closes every descriptor but these.
fn keep_only(mut kept: [i32; 6]) {
    kept.sort_unstable();
    let mut next = 0;
    for descriptor in kept.into_iter().filter(|descriptor| *descriptor >= 0) {
        let descriptor = descriptor as u32;
        if descriptor > next {
            let _ = call::close_range(next, descriptor - 1);
        }
        next = descriptor + 1;
    }
    let _ = call::close_range(next, u32::MAX);
}

/// Whether there was an order.
fn take_order(task: &Task, fates: &mut Fates) -> bool {
    let (mut bytes, mut standard) = ([0; 16], [-1; 3]);
    let Ok(received) =
        call::receive_message(task.channel, &mut bytes, &mut standard, Patience::OnlyNow)
    else {
        return false;
    };
    if received.length != bytes.len() {
        return false;
    }
    let order = Order::of(bytes);
    // SAFETY: the supervisor, whose memory this is, keeps it until it knows whether the
    // command runs.
    let spawn = unsafe { &*order.spawn };
    let fate = Arc::as_ptr(&spawn.fate);
    match start(task, spawn, standard) {
        Ok((process, [pidfd, driver])) => {
            let along = [pidfd, driver];
            let along = if driver < 0 { &along[..1] } else { &along[..] };
            tell(task, order.number, along);
            // SAFETY: the supervisor keeps it until it is let go of.
            unsafe { fates.begin(fate, process) };
            along.iter().for_each(|descriptor| call::close(*descriptor));
        }
        Err(failure) => Fates::fail(&spawn.fate, failure),
    }
    standard.iter().filter(|given| **given >= 0).for_each(|given| call::close(*given));
    true
}

/// What the command's process is given until its `execve`.
struct Begin<'a> {
    spawn: &'a Spawn,
    standard: [i32; 3],
}

/// Starts a process; its number, its descriptor and the driving end of its
/// terminal.
fn start(
    task: &Task,
    spawn: &Spawn,
    mut standard: [i32; 3],
) -> Result<(i32, [i32; 2]), (Stage, Errno)> {
    let stack = task.stack.as_ref().ok_or((Stage::Process, Errno(libc::ENOMEM)))?;
    let mut driver = -1;
    if let Some(size) = spawn.terminal {
        let [driving, seen] =
            call::open_terminal(c"/dev/ptmx", size).map_err(|error| (Stage::Standard, error))?;
        driver = driving;
        standard = [seen, seen, seen];
    }
    let begin = Begin { spawn, standard };
    let argument = std::ptr::from_ref(&begin).cast_mut().cast();
    let flags = libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd = -1;
    // SAFETY: only the command's process uses this stack, and this function is
    // suspended until that has called `execve` (CLONE_VFORK); `become_command`
    // calls only the `call` module.
    let started = unsafe {
        call::clone_sharing_memory(become_command, stack.upper(), flags, argument, &mut pidfd)
    };
    if spawn.terminal.is_some() {
        call::close(standard[0]);
    }
    let failed = match started {
        Ok(process) => match spawn.fate.report().failure() {
            None => return Ok((process, [pidfd, driver])),
            Some(failure) => {
                let _ = call::wait4(process, 0);
                call::close(pidfd);
                failure
            }
        },
        Err(error) => (Stage::Process, error),
    };
    if driver >= 0 {
        call::close(driver);
    }
    Err(failed)
}

/// The command's process until its `execve`.
extern "C" fn become_command(argument: *mut c_void) -> i32 {
    // SAFETY: the first process passes this and is suspended until `execve`.
    let begin = unsafe { &*argument.cast::<Begin<'_>>() };
    let spawn = begin.spawn;
    let (stage, error) = match prepare(begin) {
        Err(failed) => failed,
        Ok(()) => spawn.command.become_it(),
    };
    spawn.fate.report().failed(stage, error);
    call::exit(127)
}

fn prepare(begin: &Begin<'_>) -> Result<(), (Stage, Errno)> {
    let standard = |error| (Stage::Standard, error);
    if begin.spawn.terminal.is_some() {
        call::take_terminal(begin.standard[0]).map_err(standard)?;
    }
    // First out of the way: one may be where another has to go.
    let mut given = begin.standard;
    for descriptor in &mut given {
        if *descriptor < 3 {
            *descriptor = call::dup_above(*descriptor, 3).map_err(standard)?;
        }
    }
    for (number, descriptor) in given.into_iter().enumerate() {
        call::dup_onto(descriptor, number as i32).map_err(standard)?;
    }
    call::chdir(&begin.spawn.directory).map_err(|error| (Stage::Directory, error))
}
