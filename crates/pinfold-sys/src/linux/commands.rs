//! The first process of a session: starts the commands that the supervisor
//! sends, and tells of their ends. Makes no allocation.

use std::ffi::{CString, c_void};

use super::call::{self, Patience};
use super::command::Command;
use super::init::{self, Task};
use super::perform::Masks;
use super::raw::Errno;
use super::shared::{Report, Stage};
use crate::seam::Size;

/// A command for a session. It stays where it is until its start is answered.
pub(crate) struct Spawn {
    pub(crate) directory: CString,
    pub(crate) command: Command,
    /// Its own terminal, instead of the descriptors that were sent along.
    pub(crate) terminal: Option<Size>,
    pub(crate) report: Report,
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

/// What the first process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Commands can be sent.
    Ready,
    /// An order has become a process; its descriptor and, if it has one, its
    /// terminal come along.
    Started { number: u32, process: i32 },
    /// An order could not be carried out.
    Failed { number: u32, stage: Stage, error: Errno },
    /// A process has ended, one of an order or one that was left behind.
    Ended { process: i32, status: i32 },
}

impl Record {
    fn words(self) -> [u32; 4] {
        match self {
            Record::Ready => [0, 0, 0, 0],
            Record::Started { number, process } => [1, number, process as u32, 0],
            Record::Failed { number, stage, error } => [2, number, stage.code(), error.0 as u32],
            Record::Ended { process, status } => [3, process as u32, status as u32, 0],
        }
    }

    /// The record in a message; none when it is not one.
    pub(crate) fn of(bytes: &[u8]) -> Option<Record> {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        let [kind, first, second, third] = words;
        Some(match kind {
            0 => Record::Ready,
            1 => Record::Started { number: first, process: second as i32 },
            2 => Record::Failed {
                number: first,
                stage: Stage::of_code(second)?,
                error: Errno(third as i32),
            },
            3 => Record::Ended { process: first as i32, status: second as i32 },
            _ => return None,
        })
    }
}

fn tell(task: &Task, record: Record, descriptors: &[i32]) {
    let mut bytes = [0; 16];
    for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(record.words()) {
        *place = word.to_ne_bytes();
    }
    let _ = call::send_message(task.channel, &bytes, descriptors);
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
    tell(task, Record::Ready, &[]);
    loop {
        let _ = call::sigtimedwait(init::WAKING, None);
        while let Ok(waited) = call::wait4(-1, libc::WNOHANG) {
            if waited.process == 0 {
                break;
            }
            tell(task, Record::Ended { process: waited.process, status: waited.status }, &[]);
        }
        init::cover(task, masks);
        while take_order(task) {}
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
fn take_order(task: &Task) -> bool {
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
    // SAFETY: the supervisor, whose memory this is, keeps it until the answer.
    let spawn = unsafe { &*order.spawn };
    match start(task, spawn, standard) {
        Ok((process, [pidfd, driver])) => {
            let along = [pidfd, driver];
            let along = if driver < 0 { &along[..1] } else { &along[..] };
            tell(task, Record::Started { number: order.number, process }, along);
            along.iter().for_each(|descriptor| call::close(*descriptor));
        }
        Err((stage, error)) => {
            tell(task, Record::Failed { number: order.number, stage, error }, &[]);
        }
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
        call::clone_sharing_memory(become_command, task.stack.upper(), flags, argument, &mut pidfd)
    };
    if spawn.terminal.is_some() {
        call::close(standard[0]);
    }
    let failed = match started {
        Ok(process) => match spawn.report.failure() {
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
    spawn.report.failed(stage, error);
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
