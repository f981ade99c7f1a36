//! What becomes of a command of a session, in memory that its first process shares.
//!
//! Whoever waits for a command is woken by the first process itself: the supervisor's
//! thread in between would take two more switches for every command.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering::SeqCst};

use super::call;
use super::raw::Errno;
use super::shared::{Report, Stage};

/// Not started yet.
const ORDERED: u32 = 0;
/// It runs its program, or has done so.
const STARTED: u32 = 1;
/// It could not be started.
const FAILED: u32 = 2;
/// The session ended before.
const OVER: u32 = 3;
/// Somebody starts it.
const TAKEN: u32 = 4;
/// Nobody is to start it any more.
const CANCELLED: u32 = 5;
/// Who started it has ended before it ran; its process may still come to look.
const ABANDONED: u32 = 6;

/// How long nobody may take an order of whoever may have ended.
const PATIENCE: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };

/// A command from its order to its end. Only atomics: neither side may wait for a lock
/// of the other.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    start: AtomicU32,
    report: Report,
    /// Its number inside, for the first process.
    process: AtomicI32,
    /// 1 once `status` holds how it ended.
    end: AtomicU32,
    status: AtomicI32,
    /// 1 once the first process does not look at it any more.
    let_go: AtomicU32,
    /// The next among those that have arrived, and then among those that the first process
    /// knows.
    next: AtomicPtr<Fate>,
}

/// What an order has come to.
#[derive(Debug)]
pub(crate) enum Start {
    Runs,
    Failed(Stage, Errno),
    Over,
    /// Nobody has taken it, and nobody will.
    Lost,
}

impl Fate {
    /// For the process of the command, until its `execve`.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until it is known whether the command runs, or `is_gone` says that who should
    /// start it is not there any more.
    pub(crate) fn started(&self, is_gone: impl Fn() -> bool) -> Start {
        loop {
            match self.start.load(SeqCst) {
                STARTED => return Start::Runs,
                OVER => return Start::Over,
                FAILED | ABANDONED => {
                    let unknown = (Stage::Process, Errno(libc::EIO));
                    let (stage, error) = self.report.failure().unwrap_or(unknown);
                    return Start::Failed(stage, error);
                }
                now => {
                    call::futex_wait(&self.start, now, PATIENCE);
                    if is_gone() && self.becomes(ORDERED, CANCELLED) {
                        return Start::Lost;
                    }
                }
            }
        }
    }

    /// Takes it to start it, which nobody else does after that, and nobody at all that is
    /// not wanted any more.
    pub(crate) fn take(&self) -> bool {
        self.becomes(ORDERED, TAKEN)
    }

    /// In the command's process: notes its number; whether it may go on.
    pub(crate) fn is_this_process(&self) -> bool {
        self.process.store(call::getpid(), SeqCst);
        self.start.load(SeqCst) == TAKEN
    }

    /// It runs. Who has started it does not look at it any more: the address that waits is
    /// all that the kernel needs.
    pub(crate) fn runs(&self) {
        let _ = self.becomes(TAKEN, STARTED);
        call::futex_wake(&self.start);
    }

    /// It could not be started.
    pub(crate) fn fails(&self, (stage, error): (Stage, Errno)) {
        self.report.failed(stage, error);
        let _ = self.becomes(TAKEN, FAILED);
        call::futex_wake(&self.start);
    }

    fn becomes(&self, before: u32, after: u32) -> bool {
        self.start.compare_exchange(before, after, SeqCst, SeqCst).is_ok()
    }

    /// How it ended, as `wait(2)` has it.
    pub(crate) fn status(&self) -> Option<i32> {
        (self.end.load(SeqCst) == 1).then(|| self.status.load(SeqCst))
    }

    /// The same once it has ended.
    pub(crate) fn ended(&self) -> i32 {
        call::futex_wait_while(&self.end, 0);
        self.status.load(SeqCst)
    }

    /// Nothing is left inside, the first process included.
    pub(crate) fn close(&self) {
        let _ = self.becomes(ORDERED, OVER) || self.becomes(TAKEN, OVER);
        call::futex_wake(&self.start);
        if self.status().is_none() {
            self.end_with(libc::SIGKILL);
        }
        self.let_go.store(1, SeqCst);
    }

    /// Whether nobody but this side looks at it any more.
    pub(crate) fn is_let_go(&self) -> bool {
        self.let_go.load(SeqCst) == 1
    }

    fn end_with(&self, status: i32) {
        self.status.store(status, SeqCst);
        self.end.store(1, SeqCst);
        call::futex_wake(&self.end);
    }
}

/// Commands that the first process does not know yet.
#[derive(Default)]
pub(crate) struct Arrivals(AtomicPtr<Fate>);

impl Arrivals {
    /// Says that a command will be started.
    pub(crate) fn announce(&self, fate: &Fate) {
        let mut first = self.0.load(SeqCst);
        loop {
            fate.next.store(first, SeqCst);
            let fate = std::ptr::from_ref(fate).cast_mut();
            match self.0.compare_exchange(first, fate, SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }
}

/// The commands that the first process knows.
pub(crate) struct Fates<'a> {
    arrivals: &'a Arrivals,
    first: *mut Fate,
}

impl<'a> Fates<'a> {
    pub(crate) fn of(arrivals: &'a Arrivals) -> Fates<'a> {
        Fates { arrivals, first: null_mut() }
    }

    /// A process has ended: a command, or one that was left behind.
    pub(crate) fn end(&mut self, process: i32, status: i32) {
        self.each(|fate| {
            if fate.process.load(SeqCst) == process {
                fate.end_with(status);
                return false;
            }
            // It never was a process.
            fate.process.load(SeqCst) != 0 || fate.start.load(SeqCst) != FAILED
        });
    }

    /// What started commands has ended: what it was about to start is not to run.
    pub(crate) fn abandon(&mut self) {
        self.each(|fate| {
            fate.report.failed(Stage::Process, Errno(libc::ESRCH));
            // A process that is there by now has its number noted before it looks at this.
            if fate.becomes(TAKEN, ABANDONED) {
                call::futex_wake(&fate.start);
                match fate.process.load(SeqCst) {
                    0 => {}
                    process => drop(call::kill(process, libc::SIGKILL)),
                }
            }
            true
        });
    }

    /// Lets go of what `stays` does not want to keep.
    fn each(&mut self, stays: impl Fn(&Fate) -> bool) {
        // 1. Those that are new.
        let mut new = self.arrivals.0.swap(null_mut(), SeqCst);
        while !new.is_null() {
            // SAFETY: nothing is freed that has not been let go of.
            let fate = unsafe { &*new };
            let next = fate.next.swap(self.first, SeqCst);
            self.first = new;
            new = next;
        }
        // 2. All of them.
        let mut before: Option<&Fate> = None;
        let mut here = self.first;
        while !here.is_null() {
            // SAFETY: what is in the list has not been let go of.
            let fate = unsafe { &*here };
            let next = fate.next.load(SeqCst);
            if stays(fate) {
                before = Some(fate);
            } else {
                match before {
                    None => self.first = next,
                    Some(before) => before.next.store(next, SeqCst),
                }
                fate.let_go.store(1, SeqCst);
            }
            here = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> bool {
        false
    }

    fn begun(arrivals: &Arrivals, fate: &Fate, process: i32) {
        arrivals.announce(fate);
        assert!(fate.take() && !fate.take());
        assert!(fate.is_this_process());
        fate.process.store(process, SeqCst);
        fate.runs();
    }

    #[test]
    fn each_command_gets_its_own_end_in_any_order() {
        let all: Vec<Box<Fate>> = (0..5).map(|_| Box::default()).collect();
        let arrivals = Arrivals::default();
        let mut fates = Fates::of(&arrivals);
        for (number, fate) in all.iter().enumerate() {
            begun(&arrivals, fate, 10 + number as i32);
            assert!(matches!(fate.started(never), Start::Runs));
        }
        fates.end(99, 1);
        assert!(all.iter().all(|fate| fate.status().is_none() && !fate.is_let_go()));
        for number in [2, 0, 4, 1, 3] {
            fates.end(10 + number, number << 8);
            let fate = &all[number as usize];
            assert_eq!((fate.ended(), fate.is_let_go()), (number << 8, true));
        }
        assert!(fates.first.is_null());
    }

    #[test]
    fn who_waits_is_woken_by_an_end_a_failure_and_a_session_that_is_over() {
        let fate = Fate::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| (fate.started(never), fate.ended()));
            fate.close();
            let (start, status) = waits.join().unwrap();
            assert!(matches!(start, Start::Over) && status == libc::SIGKILL);
        });
        let (fate, arrivals) = (Fate::default(), Arrivals::default());
        arrivals.announce(&fate);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| fate.started(never));
            assert!(fate.take());
            fate.fails((Stage::Execute, Errno(libc::ENOENT)));
            let start = waits.join().unwrap();
            assert!(matches!(start, Start::Failed(Stage::Execute, Errno(libc::ENOENT))));
        });
        // It never was a process, so nothing else lets go of it.
        Fates::of(&arrivals).end(1, 0);
        assert!(fate.is_let_go());
        // What was known before stays.
        let fate = Fate::default();
        begun(&arrivals, &fate, 7);
        fate.close();
        assert!(matches!(fate.started(never), Start::Runs));
    }

    #[test]
    fn an_order_that_nobody_takes_is_given_up_and_one_that_was_taken_fails() {
        let (fate, arrivals) = (Fate::default(), Arrivals::default());
        assert!(matches!(fate.started(|| true), Start::Lost));
        assert!(!fate.take(), "nobody starts it later");
        let fate = Fate::default();
        arrivals.announce(&fate);
        assert!(fate.take());
        let mut fates = Fates::of(&arrivals);
        fates.abandon();
        assert!(matches!(fate.started(|| true), Start::Failed(Stage::Process, _)));
        fates.end(1, 0);
        assert!(!fate.is_let_go(), "a process may still look at it");
        assert!(!fate.is_this_process(), "and does not go on");
    }
}
