//! Tells of what commands attempt: their calls wait for a moment, are looked at,
//! and go on. The mounts, or Landlock, decide about them, before and after. Where
//! the supervisor makes calls for commands, it makes them here.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::JoinHandle;

use libc::c_long;

use super::attempts;
use super::call::{self, Patience, Told};
use super::command::Telling;
use super::deputy::{Deputy, Duties, Fate};
use super::filter::{self, When};
use super::raw::Errno;
use super::supervise::system;
use crate::seam::{Attempt, Error, Witness};

/// A thread that hears of calls.
pub(crate) struct Listener {
    thread: JoinHandle<()>,
    home: Home,
}

/// The number of the sandbox's mount namespace, 0 where it is not asked for. A
/// process in another one meets other mounts, which no rule answers for.
type Home = Arc<AtomicU64>;

impl Listener {
    /// Where to note the number of the sandbox's mount namespace before its first
    /// command starts, where commands can make others.
    pub(crate) fn home(&self) -> Arc<AtomicU64> {
        self.home.clone()
    }

    /// Waits until nobody is left who could call.
    pub(crate) fn join(self) {
        let _ = self.thread.join();
    }
}

fn mounts_of(process: i32) -> u64 {
    let found = std::fs::metadata(format!("/proc/{process}/ns/mnt"));
    found.map_or(0, |found| found.ino())
}

/// Starts to listen, if there is anything to hear of; also what commands need for it. Its channel is to be closed
/// when the process that passes it on has been started.
pub(crate) fn listen(
    witness: Option<&Witness>,
    duties: Duties,
) -> Result<Option<(Listener, Telling)>, Error> {
    if witness.is_none() && duties.is_none() {
        return Ok(None);
    }
    let [outer, inner] = call::socketpair().map_err(system("make a channel"))?;
    let mut calls = witness.map_or(Vec::new(), |witness| attempts::told(witness.level));
    for (number, when) in duties.calls() {
        include(&mut calls, number, when);
    }
    let program = Arc::new(filter::telling(calls.into_iter()));
    let telling = Telling { program, channel: inner, mark: 0, needed: !duties.is_none() };
    let (witness, home) = (witness.cloned(), Home::default());
    let own = home.clone();
    let (prepared, whether) = mpsc::channel();
    let thread = std::thread::Builder::new().name(String::from("pinfold-witness"));
    let thread = thread.spawn(move || {
        let deputy = (!duties.is_none()).then(|| Deputy::new(&duties)).transpose();
        let _ = prepared.send(deputy.as_ref().map(drop).map_err(|error| *error));
        let deputy = deputy.unwrap_or_default();
        let polled = vec![polled(outer)];
        let witness = witness.as_ref();
        Ears { polled, marks: Vec::new(), later: Vec::new(), witness, deputy, home: &own }.hear();
    });
    let failed = |attempted: &str, code| {
        call::close(inner);
        Err(Error::System { attempted: String::from(attempted), code })
    };
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => {
            call::close(outer);
            return failed("start a thread", error.raw_os_error().unwrap_or(libc::EAGAIN));
        }
    };
    // A command that needs calls made for it is not started without that.
    let ready =
        if telling.needed { whether.recv().unwrap_or(Err(Errno(libc::EIO))) } else { Ok(()) };
    match ready {
        Ok(()) => Ok(Some((Listener { thread, home }, telling))),
        Err(error) => failed("make calls for the command", error.0),
    }
}

/// Adds a call that may be there already, for other reasons.
fn include(calls: &mut Vec<(c_long, When)>, number: c_long, when: When) {
    match calls.iter_mut().find(|(known, _)| *known == number) {
        Some((_, known)) if *known != when => *known = When::Always,
        Some(_) => {}
        None => calls.push((number, when)),
    }
}

/// How long a call waits that cannot be made yet.
const PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };

struct Ears<'w> {
    /// The channel, -1 when it is closed, and then the listeners.
    polled: Vec<libc::pollfd>,
    /// The marks of the listeners.
    marks: Vec<u64>,
    /// Calls that cannot be made yet, with their listeners.
    later: Vec<(i32, Told)>,
    witness: Option<&'w Witness>,
    deputy: Option<Deputy<'w>>,
    home: &'w Home,
}

impl Ears<'_> {
    /// Tells of calls until nobody is left who could make one.
    fn hear(&mut self) {
        while self.polled[0].fd >= 0 || !self.marks.is_empty() {
            let pause = (!self.later.is_empty()).then_some(PAUSE);
            let _ = call::ppoll(&mut self.polled, pause);
            for (listener, told) in std::mem::take(&mut self.later) {
                self.answer(listener, told);
            }
            if self.polled[0].revents != 0 {
                self.receive();
            }
            for index in (0..self.marks.len()).rev() {
                self.attend(index);
            }
        }
    }

    /// A listener of another command, or the end of those who could send one.
    fn receive(&mut self) {
        let channel = self.polled[0].fd;
        let (mut bytes, mut descriptors) = ([0; Telling::MESSAGE], [-1]);
        match call::receive_message(channel, &mut bytes, &mut descriptors, Patience::Wait) {
            Ok(received) if received.length == bytes.len() => {
                let (mark, error) = Telling::read(&bytes);
                if received.count == 1 {
                    // Where that is not known, it only takes longer.
                    let _ = call::take_turns(descriptors[0]);
                    self.polled.push(polled(descriptors[0]));
                    self.marks.push(mark);
                } else {
                    let attempted = String::from("hear of what the command attempts");
                    self.tell(Err(Error::System { attempted, code: error }));
                }
            }
            _ => {
                call::close(channel);
                self.polled[0].fd = -1;
            }
        }
    }

    fn attend(&mut self, index: usize) {
        let Some(libc::pollfd { fd, revents, .. }) = self.polled.get(index + 1).copied() else {
            return;
        };
        if revents & libc::POLLIN != 0 {
            // One that was killed meanwhile has nothing to tell.
            let Ok(told) = call::next_told(fd) else { return };
            if self.witness.is_some() && !self.is_foreign(told.process as i32) {
                for attempt in attempts::attempts(&told, self.marks[index]) {
                    self.tell(Ok(attempt));
                }
            }
            self.answer(fd, told);
        } else if revents & (libc::POLLHUP | libc::POLLERR) != 0 {
            call::close(fd);
            self.later.retain(|(listener, _)| *listener != fd);
            self.polled.remove(index + 1);
            self.marks.remove(index);
        }
    }

    /// Makes a call, or lets it go on.
    fn answer(&mut self, listener: i32, told: Told) {
        let fate =
            self.deputy.as_ref().map_or(Fate::Kernel, |deputy| deputy.attend(listener, &told));
        match fate {
            Fate::Done => {}
            Fate::Later => self.later.push((listener, told)),
            Fate::Kernel => drop(call::let_go_on(listener, told.id)),
        }
    }

    fn tell(&self, attempt: Result<Attempt, Error>) {
        if let Some(witness) = self.witness {
            (witness.tell)(attempt);
        }
    }

    fn is_foreign(&self, process: i32) -> bool {
        let home = self.home.load(SeqCst);
        home != 0 && mounts_of(process) != home
    }
}

fn polled(fd: i32) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}
