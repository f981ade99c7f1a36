//! Tells of what commands attempt: their calls wait for a moment, are looked at,
//! and always go on. The mounts decide about them, before and after.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;

use super::attempts;
use super::call::{self, Patience};
use super::command::Telling;
use super::supervise::system;
use crate::seam::{Error, Witness};

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

/// Starts to listen; also what commands need for it. Its channel is to be closed
/// when the process that passes it on has been started.
pub(crate) fn listen(witness: &Witness) -> Result<(Listener, Telling), Error> {
    let [outer, inner] = call::socketpair().map_err(system("make a channel"))?;
    let (witness, home) = (witness.clone(), Home::default());
    let telling =
        Telling { program: Arc::new(attempts::program(witness.level)), channel: inner, mark: 0 };
    let own = home.clone();
    let thread = std::thread::Builder::new().name(String::from("pinfold-witness"));
    let thread = thread.spawn(move || Ears::new(outer, &witness, &own).hear());
    let thread = thread.map_err(|error| {
        call::close(outer);
        call::close(inner);
        let code = error.raw_os_error().unwrap_or(libc::EAGAIN);
        Error::System { attempted: String::from("start a thread"), code }
    })?;
    Ok((Listener { thread, home }, telling))
}

struct Ears<'w> {
    /// The channel, -1 when it is closed, and then the listeners.
    polled: Vec<libc::pollfd>,
    /// The marks of the listeners.
    marks: Vec<u64>,
    witness: &'w Witness,
    home: &'w Home,
}

impl Ears<'_> {
    fn new<'w>(channel: i32, witness: &'w Witness, home: &'w Home) -> Ears<'w> {
        Ears { polled: vec![polled(channel)], marks: Vec::new(), witness, home }
    }

    /// Tells of calls until nobody is left who could make one.
    fn hear(&mut self) {
        while self.polled[0].fd >= 0 || !self.marks.is_empty() {
            let _ = call::ppoll(&mut self.polled, None);
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
                    (self.witness.tell)(Err(Error::System { attempted, code: error }));
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
            if !self.is_foreign(told.process as i32) {
                for attempt in attempts::attempts(&told, self.marks[index]) {
                    (self.witness.tell)(Ok(attempt));
                }
            }
            let _ = call::let_go_on(fd, told.id);
        } else if revents & (libc::POLLHUP | libc::POLLERR) != 0 {
            call::close(fd);
            self.polled.remove(index + 1);
            self.marks.remove(index);
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
