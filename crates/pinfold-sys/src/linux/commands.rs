//! The first process of a session: starts the commands that the supervisor
//! sends, and notes their ends. Makes no allocation.

use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::call::{self, Patience, Stack};
use super::command::{self, Command};
use super::fate::{Fate, Fates};
use super::init::{self, Task};
use super::perform::Masks;
use super::raw::Errno;
use super::shared::Stage;
use crate::seam::Size;

/// A command for a session. It stays where it is until it is known whether it runs.
pub(crate) struct Spawn {
    pub(crate) directory: CString,
    pub(crate) command: Command,
    /// Its own terminal, instead of the descriptors that were sent along.
    pub(crate) terminal: Option<Size>,
}

/// What is sent with up to three descriptors.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) spawn: *const Spawn,
    /// It stays where it is until the first process has let go of it.
    pub(crate) fate: *const Fate,
}

impl Order {
    const LENGTH: usize = 24;

    pub(crate) fn bytes(self) -> [u8; Order::LENGTH] {
        let mut bytes = [0; Order::LENGTH];
        let words = [u64::from(self.number), self.spawn as u64, self.fate as u64];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
        bytes
    }

    fn of(bytes: [u8; Order::LENGTH]) -> Order {
        let mut words = [0; 3];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let [number, spawn, fate] = words;
        Order { number: number as u32, spawn: spawn as *const Spawn, fate: fate as *const Fate }
    }
}

/// The number that the first process says when commands can be sent. Another is that of
/// an order, whose command's descriptor and, if it has one, terminal come along.
pub(crate) const READY: u32 = 0;

fn tell(task: &Task, number: u32, descriptors: &[i32]) {
    let _ = call::send_message(task.channel, &number.to_ne_bytes(), descriptors);
}

/// A process that takes orders and is confined as the commands are, so that none of them
/// need be: to make a filter takes as long as to start a small program (measured). Its
/// children are the first process's (`CLONE_PARENT`). A command can end it; the first
/// process then does the same, with a filter for each.
pub(crate) struct Starter {
    filter: Vec<libc::sock_filter>,
    /// It runs on the lower half, what it starts on the upper.
    stack: Stack,
    state: Arc<AtomicU32>,
}

/// It is about to confine itself.
const BEGINS: u32 = 0;
const SERVES: u32 = 1;
const GONE: u32 = 2;

impl Starter {
    pub(crate) fn with(filter: Vec<libc::sock_filter>, stack: Stack) -> Starter {
        Starter { filter, stack, state: Arc::new(AtomicU32::new(BEGINS)) }
    }

    /// Says whether it takes orders, also when this value is gone.
    pub(crate) fn state(&self) -> StarterState {
        StarterState(self.state.clone())
    }

    /// In the first process: starts it and waits until it serves; its number, or 0.
    fn start(&self, task: &Task) -> i32 {
        let argument = std::ptr::from_ref(task).cast_mut().cast();
        let mut pidfd = -1;
        // SAFETY: only the starter uses this stack; that and the task stay until the first
        // process has ended, with which every process inside does; `serve_orders` calls only
        // the `call` module.
        let process = unsafe {
            let stack = self.stack.lower();
            call::clone_sharing_memory(serve_orders, stack, libc::SIGCHLD, argument, &mut pidfd)
        };
        let Ok(process) = process else {
            self.becomes(GONE);
            return 0;
        };
        call::futex_wait_while(&self.state, BEGINS);
        process
    }

    fn becomes(&self, state: u32) {
        self.state.store(state, SeqCst);
        call::futex_wake(&self.state);
    }
}

/// Whether a [`Starter`] takes orders.
#[derive(Clone, Debug)]
pub(crate) struct StarterState(Arc<AtomicU32>);

impl StarterState {
    pub(crate) fn serves(&self) -> bool {
        self.0.load(SeqCst) == SERVES
    }
}

/// The process of a [`Starter`]. `argument` is a [`Task`].
extern "C" fn serve_orders(argument: *mut c_void) -> i32 {
    // SAFETY: the first process passes this; the task stays until that has ended.
    let task = unsafe { &*argument.cast::<Task>() };
    let Some(starter) = &task.starter else { call::exit(1) };
    keep_only(&mut [task.channel, task.telling, task.ruleset]);
    if command::confine(&starter.filter).is_err() {
        starter.becomes(GONE);
        call::exit(1);
    }
    starter.becomes(SERVES);
    while take_order(task, Some(starter)) {}
    call::exit(0)
}

/// Reaps, and carries out orders where nobody else does, until it is killed.
pub(crate) fn serve(task: &Task, masks: Masks) {
    // 1. Nothing of the supervisor stays open here: the end of a pipe that
    // another session's command waits for must not depend on this process.
    keep_only(&mut [
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
    let mut starter = task.starter.as_ref().map_or(0, |starter| starter.start(task));
    tell(task, READY, &[]);
    let mut fates = Fates::of(&task.arrivals);
    loop {
        let _ = call::sigtimedwait(init::WAKING, None);
        while let Ok(waited) = call::wait4(-1, libc::WNOHANG | libc::WUNTRACED) {
            let stopped = libc::WIFSTOPPED(waited.status);
            match waited.process {
                0 => break,
                // What does not go on is of no use.
                process if process == starter && stopped => {
                    let _ = call::kill(starter, libc::SIGKILL);
                }
                process if process == starter => {
                    starter = 0;
                    // Before the orders that are left are looked at: who sends one later
                    // looks at this later.
                    task.starter.iter().for_each(|starter| starter.becomes(GONE));
                    fates.abandon();
                }
                _ if stopped => {}
                process => fates.end(process, waited.status),
            }
        }
        init::cover(task, masks);
        if starter == 0 {
            while take_order(task, None) {}
        }
    }
}

/// Closes every descriptor but these.
fn keep_only(kept: &mut [i32]) {
    kept.sort_unstable();
    let mut next = 0;
    for descriptor in kept.iter().filter(|descriptor| **descriptor >= 0) {
        let descriptor = *descriptor as u32;
        if descriptor > next {
            let _ = call::close_range(next, descriptor - 1);
        }
        next = descriptor + 1;
    }
    let _ = call::close_range(next, u32::MAX);
}

/// Whether there was an order. A starter waits for one.
fn take_order(task: &Task, starter: Option<&Starter>) -> bool {
    let (mut bytes, mut standard) = ([0; Order::LENGTH], [-1; 3]);
    let patience = if starter.is_some() { Patience::Wait } else { Patience::OnlyNow };
    let Ok(received) = call::receive_message(task.channel, &mut bytes, &mut standard, patience)
    else {
        return false;
    };
    if received.length != bytes.len() {
        return false;
    }
    let order = Order::of(bytes);
    // SAFETY: the supervisor, whose memory this is, keeps it until it is let go of.
    let fate = unsafe { &*order.fate };
    task.arrivals.announce(fate);
    if fate.take() {
        // SAFETY: the supervisor keeps it until it knows whether the command runs.
        let spawn = unsafe { &*order.spawn };
        match start(task, starter, (spawn, fate, standard)) {
            Ok([pidfd, driver]) => {
                let along = [pidfd, driver];
                let along = if driver < 0 { &along[..1] } else { &along[..] };
                tell(task, order.number, along);
                fate.runs();
                along.iter().for_each(|descriptor| call::close(*descriptor));
            }
            Err(failure) => fate.fails(failure),
        }
    }
    standard.iter().filter(|given| **given >= 0).for_each(|given| call::close(*given));
    true
}

/// What the command's process is given until its `execve`.
struct Begin<'a> {
    spawn: &'a Spawn,
    fate: &'a Fate,
    standard: [i32; 3],
    /// How it confines itself, where its parent is not confined.
    filter: Option<&'a [libc::sock_filter]>,
}

/// Starts a process; its descriptor and the driving end of its terminal. One that fails
/// is reaped like any other.
fn start(
    task: &Task,
    starter: Option<&Starter>,
    (spawn, fate, mut standard): (&Spawn, &Fate, [i32; 3]),
) -> Result<[i32; 2], (Stage, Errno)> {
    let (stack, parent) = match starter {
        Some(starter) => (Some(&starter.stack), libc::CLONE_PARENT),
        None => (task.stack.as_ref(), 0),
    };
    let stack = stack.ok_or((Stage::Process, Errno(libc::ENOMEM)))?.upper();
    let mut driver = -1;
    if let Some(size) = spawn.terminal {
        let [driving, seen] =
            call::open_terminal(c"/dev/ptmx", size).map_err(|error| (Stage::Standard, error))?;
        driver = driving;
        standard = [seen, seen, seen];
    }
    let filter = match starter {
        Some(_) => None,
        None => task.starter.as_ref().map(|starter| &*starter.filter),
    };
    let begin = Begin { spawn, fate, standard, filter };
    let argument = std::ptr::from_ref(&begin).cast_mut().cast();
    let flags = libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | parent;
    let mut pidfd = -1;
    // SAFETY: only the command's process uses this stack, and this function is
    // suspended until that has called `execve` (CLONE_VFORK); `become_command`
    // calls only the `call` module.
    let started =
        unsafe { call::clone_sharing_memory(become_command, stack, flags, argument, &mut pidfd) };
    if spawn.terminal.is_some() {
        call::close(standard[0]);
    }
    let failed = match started {
        Ok(_) => match fate.report().failure() {
            None => return Ok([pidfd, driver]),
            Some(failure) => {
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
    // SAFETY: its parent passes this and is suspended until `execve`, or has been killed,
    // and then nobody else uses its stack again.
    let begin = unsafe { &*argument.cast::<Begin<'_>>() };
    if !begin.fate.is_this_process() {
        call::exit(127);
    }
    let confined = begin.filter.map_or(Ok(()), command::confine);
    let confined = confined.map_err(|error| (Stage::Restrict, error));
    let (stage, error) = match confined.and_then(|()| prepare(begin)) {
        Err(failed) => failed,
        Ok(()) => begin.spawn.command.become_it(),
    };
    begin.fate.report().failed(stage, error);
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
