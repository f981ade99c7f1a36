//! The supervisor: passes signals on, watches the clock, and waits for the end
//! of what it started, whichever mechanism confines that.

use std::net::TcpListener;
use std::time::Duration;

use pinfold_policy::plan::linux::{LandlockPlan, Plan, Reach};
use pinfold_policy::profile::Limits;

use super::call;
use super::head_start::HeadStart;
use super::init::{Task, bit};
use super::raw::Errno;
use super::{direct, family, landlock, namespaces};
use crate::seam::{Ended, Error, Exceeded, Launch, OpenDoors, Status, Usage};
use crate::unix::loopback_door;

/// Signals that reach the command when they are sent to the supervisor.
const PASSED_ON: [i32; 9] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGTSTP,
];

/// Runs one command under a plan and waits for it. `opened` gets the sockets of
/// a plan with doors; the command starts when it says that they are served. What
/// `head_start` has begun is used, or ended where the plan needs something else.
///
/// # Errors
/// Nothing has been run when this returns an error.
pub fn run(
    plan: &Plan,
    launch: &Launch,
    head_start: Option<HeadStart>,
    opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Ended, Error> {
    // Nothing may interrupt between here and the loop that handles signals; what
    // is started begins with everything blocked as well.
    let signals = call::sigprocmask(!0);
    let ended = match plan {
        Plan::Namespaces(plan) => namespaces::run(plan, launch, head_start, (signals, opened)),
        Plan::Unconfined(wall_time) => {
            drop(head_start);
            direct::run(launch, *wall_time, signals)
        }
        Plan::Landlock(plan) => {
            drop(head_start);
            landlock::run(plan, launch, (signals, opened))
        }
    };
    if matches!(plan, Plan::Namespaces(plan) if !plan.watches.is_empty()) {
        // What changed after the last look would end this process.
        let ours = [call::DIRECTORY_CHANGED, libc::SIGIO];
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let set = ours.iter().fold(0, |set, signal| set | bit(*signal));
        if call::sigtimedwait(set, Some(now)).is_ok() {
            ours.into_iter().for_each(call::discard_pending);
        }
    }
    call::sigprocmask(signals);
    ended
}

/// Opens a door on the host's own loopback, for plans that need one: the command has no
/// network but that.
///
/// # Errors
/// When no socket can be opened.
pub fn door(plan: &Plan) -> Result<Option<TcpListener>, Error> {
    match plan {
        Plan::Landlock(LandlockPlan { reach: Reach::Proxy, .. }) => loopback_door().map(Some),
        _ => Ok(None),
    }
}

/// A child of the supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) number: i32,
    pub(crate) descriptor: i32,
}

impl Process {
    /// Whether it has ended, if nobody has waited for it yet.
    pub(crate) fn has_ended(self) -> bool {
        let mut polled = [libc::pollfd { fd: self.descriptor, events: libc::POLLIN, revents: 0 }];
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        call::ppoll(&mut polled, Some(now)) == Ok(1)
    }
}

/// How signals get from the supervisor to the command.
#[derive(Clone, Copy)]
pub(crate) enum Way<'a> {
    /// Through the first process of a sandbox, which is the child, and with which all end.
    First(&'a Task),
    /// Through the first process of a session without namespaces, with which nothing
    /// ends but itself.
    Root(&'a Task),
    /// The child is the command.
    Direct,
}

/// Something besides the child and signals that the supervisor waits for.
pub(crate) struct Source<'a> {
    /// Ready for reading when there is something to do; -1 for none.
    pub(crate) descriptor: i32,
    /// Does it.
    pub(crate) ready: &'a mut dyn FnMut(&Running<'_>),
}

/// A child that has been started.
pub(crate) struct Running<'a> {
    pub(crate) way: Way<'a>,
    pub(crate) child: Process,
    /// From [`watch_signals`].
    pub(crate) signals: i32,
    pub(crate) deadline: Option<Duration>,
    /// Whether the command is in the supervisor's own process group.
    pub(crate) shares_group: bool,
}

/// Opens a descriptor that tells of signals to pass on, and of children.
pub(crate) fn watch_signals() -> Result<i32, Error> {
    let own = bit(libc::SIGCHLD) | bit(libc::SIGIO) | bit(call::DIRECTORY_CHANGED);
    let watched = PASSED_ON.iter().fold(own, |set, signal| set | bit(*signal));
    call::signalfd(watched).map_err(system("watch for signals"))
}

/// When the wall-clock limit ends, on the monotonic clock.
pub(crate) fn deadline(limits: &Limits) -> Option<Duration> {
    limits.wall_time.and_then(from_now)
}

/// The same for a time that starts now.
pub(crate) fn from_now(time: Duration) -> Option<Duration> {
    call::monotonic().checked_add(time)
}

impl Running<'_> {
    /// Waits until the child has ended; the limit that ended it, if one did.
    /// `changed` is told which directories have changed.
    pub(crate) fn until_end(
        &self,
        sources: &mut [Source<'_>],
        changed: &mut dyn FnMut(&Running<'_>, &[i32]),
    ) -> Option<Exceeded> {
        let mut exceeded = None;
        let mut polled: Vec<libc::pollfd> = [self.child.descriptor, self.signals]
            .into_iter()
            .chain(sources.iter().map(|source| source.descriptor))
            .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
            .collect();
        loop {
            let timeout = if exceeded.is_some() { None } else { self.remaining() };
            let ready = call::ppoll(&mut polled, timeout);
            if polled[0].revents != 0 {
                return exceeded;
            }
            if ready == Ok(0) {
                exceeded = Some(Exceeded::WallTime);
                self.kill();
            }
            if polled[1].revents != 0 {
                let directories = self.pass_on();
                if !directories.is_empty() {
                    changed(self, &directories);
                }
            }
            for (source, polled) in sources.iter_mut().zip(&polled[2..]) {
                if polled.revents != 0 {
                    (source.ready)(self);
                }
            }
        }
    }

    fn remaining(&self) -> Option<libc::timespec> {
        let left = self.deadline?.saturating_sub(call::monotonic());
        Some(libc::timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }

    /// Kills the child and, behind a first process, everything inside.
    pub(crate) fn kill(&self) {
        if let Way::Root(_) = self.way {
            family::end_below(self.child.number);
        }
        let _ = call::pidfd_send_signal(self.child.descriptor, libc::SIGKILL);
    }

    /// Reads what was sent to the supervisor and sends it on. Returns which
    /// directories have changed; -1 when some are not known.
    pub(crate) fn pass_on(&self) -> Vec<i32> {
        let mut changed = Vec::new();
        while let Some(signal) = call::read_signal(self.signals) {
            // What a terminal sends to the whole group has reached the command.
            let reached = signal.from_kernel && self.shares_group && signal.number != libc::SIGCONT;
            match signal.number {
                call::DIRECTORY_CHANGED => changed.push(signal.descriptor),
                libc::SIGIO => changed.push(-1),
                libc::SIGCHLD => self.child_changed(),
                _ if reached => {}
                number => self.send(number),
            }
        }
        changed
    }

    fn send(&self, signal: i32) {
        match self.way {
            Way::First(task) | Way::Root(task) => {
                task.request.add_signal(signal);
                self.wake();
            }
            Way::Direct => {
                let _ = call::pidfd_send_signal(self.child.descriptor, signal);
            }
        }
    }

    /// Makes the first process look at its request.
    pub(crate) fn wake(&self) {
        let _ = call::pidfd_send_signal(self.child.descriptor, libc::SIGUSR1);
    }

    fn child_changed(&self) {
        if matches!(self.way, Way::Direct) && call::has_stopped(self.child.number) {
            self.stop();
        }
    }

    /// The command has stopped, and so does its supervisor, for the shell that
    /// waits for it. Going on, the command goes on too.
    pub(crate) fn stop(&self) {
        let _ = call::kill(call::getpid(), libc::SIGSTOP);
        self.send(libc::SIGCONT);
    }
}

/// The end of a child, after [`Running::until_end`].
pub(crate) fn reaped(child: Process) -> Result<(i32, Usage), Error> {
    let (waited, usage) =
        call::wait4_usage(child.number).map_err(system("wait for the command"))?;
    Ok((waited.status, used(&usage)))
}

/// What a wait status means.
pub(crate) fn decoded(status: i32) -> Status {
    if libc::WIFSIGNALED(status) {
        Status::Signaled(libc::WTERMSIG(status))
    } else {
        Status::Exited(libc::WEXITSTATUS(status))
    }
}

fn used(usage: &libc::rusage) -> Usage {
    let time =
        |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        resident: usage.ru_maxrss as u64 * 1024,
    }
}

/// Whether there is a terminal that signals and job control come from.
pub(crate) fn controlling_terminal() -> bool {
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOCTTY;
    match call::openat(libc::AT_FDCWD, c"/dev/tty", flags) {
        Ok(descriptor) => {
            call::close(descriptor);
            true
        }
        Err(_) => false,
    }
}

/// Names what was attempted when a system call of the supervisor fails.
pub(crate) fn system(attempted: &'static str) -> impl Fn(Errno) -> Error {
    move |error| Error::System { attempted: attempted.into(), code: error.0 }
}
