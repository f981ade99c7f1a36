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
    /// The next that runs; the first process alone uses it.
    next: AtomicPtr<Fate>,
}

/// What an order has come to.
#[derive(Debug)]
pub(crate) enum Start {
    Runs,
    Failed(Stage, Errno),
    Over,
}

impl Fate {
    /// For the process of the command, until its `execve`.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until it is known whether the command runs.
    pub(crate) fn started(&self) -> Start {
        call::futex_wait_while(&self.start, ORDERED);
        match self.start.load(SeqCst) {
            STARTED => Start::Runs,
            OVER => Start::Over,
            _ => {
                let (stage, error) =
                    self.report.failure().unwrap_or((Stage::Process, Errno(libc::EIO)));
                Start::Failed(stage, error)
            }
        }
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
        let _ = self.start.compare_exchange(ORDERED, OVER, SeqCst, SeqCst);
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

/// The commands that run, as the first process knows them.
pub(crate) struct Fates {
    first: *mut Fate,
}

impl Fates {
    pub(crate) fn none() -> Fates {
        Fates { first: null_mut() }
    }

    /// A command runs.
    ///
    /// # Safety
    /// The fate stays where it is until it is let go of.
    pub(crate) unsafe fn begin(&mut self, fate: *const Fate, process: i32) {
        // SAFETY: it is there, as the caller promises.
        let known = unsafe { &*fate };
        known.process.store(process, SeqCst);
        known.next.store(self.first, SeqCst);
        self.first = fate.cast_mut();
        known.start.store(STARTED, SeqCst);
        call::futex_wake(&known.start);
    }

    /// A command could not be started; nobody here looks at it again.
    pub(crate) fn fail(fate: &Fate, (stage, error): (Stage, Errno)) {
        fate.report.failed(stage, error);
        fate.start.store(FAILED, SeqCst);
        call::futex_wake(&fate.start);
        fate.let_go.store(1, SeqCst);
    }

    /// A process has ended: a command, or one that was left behind.
    pub(crate) fn end(&mut self, process: i32, status: i32) {
        let mut before: Option<&Fate> = None;
        let mut here = self.first;
        while !here.is_null() {
            // SAFETY: what is in the list has not been let go of.
            let fate = unsafe { &*here };
            let next = fate.next.load(SeqCst);
            if fate.process.load(SeqCst) == process {
                match before {
                    None => self.first = next,
                    Some(before) => before.next.store(next, SeqCst),
                }
                fate.end_with(status);
                fate.let_go.store(1, SeqCst);
                return;
            }
            before = Some(fate);
            here = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_gets_its_own_end_in_any_order() {
        let all: Vec<Box<Fate>> = (0..5).map(|_| Box::default()).collect();
        let mut fates = Fates::none();
        for (number, fate) in all.iter().enumerate() {
            // SAFETY: `all` lives longer than the list.
            unsafe { fates.begin(&raw const **fate, 10 + number as i32) };
            assert!(matches!(fate.started(), Start::Runs));
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
            let waits = scope.spawn(|| (fate.started(), fate.ended()));
            fate.close();
            let (start, status) = waits.join().unwrap();
            assert!(matches!(start, Start::Over) && status == libc::SIGKILL);
        });
        let fate = Fate::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| fate.started());
            Fates::fail(&fate, (Stage::Execute, Errno(libc::ENOENT)));
            let start = waits.join().unwrap();
            assert!(matches!(start, Start::Failed(Stage::Execute, Errno(libc::ENOENT))));
        });
        // What was known before stays.
        let fate = Fate::default();
        // SAFETY: the fate lives longer than the list.
        unsafe { Fates::none().begin(&raw const fate, 7) };
        fate.close();
        assert!(matches!(fate.started(), Start::Runs));
    }
}
