//! What the supervisor and the first process tell each other through the
//! memory that they share. Atomics only: neither may wait for the other's lock.

use std::ffi::CStr;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};

use super::call;
use super::perform::{Cover, Covered};
use super::raw::Errno;

/// How far a start has come, or where it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The process itself could not be set up.
    Process,
    /// The user and group could not be mapped.
    Identity,
    /// The step with this index failed.
    Step(usize),
    /// The working directory could not be entered.
    Directory,
    /// There could be no network namespace.
    Network,
    /// Loopback could not be turned on.
    Loopback,
    /// The doors of a proxy could not be opened.
    Doors,
    /// A pseudo-terminal, or the standard descriptors, could not be set up.
    Standard,
    /// The command's restrictions could not be applied.
    Restrict,
    /// No candidate could be executed.
    Execute,
}

impl Stage {
    /// As a number, which is never 0.
    pub(crate) fn code(self) -> u32 {
        match self {
            Stage::Process => 1,
            Stage::Identity => 2,
            Stage::Directory => 3,
            Stage::Loopback => 4,
            Stage::Restrict => 5,
            Stage::Execute => 6,
            Stage::Doors => 7,
            Stage::Standard => 8,
            Stage::Network => 9,
            Stage::Step(index) => 16 + index as u32,
        }
    }

    /// The stage of a number; none for 0.
    pub(crate) fn of_code(code: u32) -> Option<Stage> {
        Some(match code {
            0 => return None,
            1 => Stage::Process,
            2 => Stage::Identity,
            3 => Stage::Directory,
            4 => Stage::Loopback,
            5 => Stage::Restrict,
            6 => Stage::Execute,
            7 => Stage::Doors,
            8 => Stage::Standard,
            9 => Stage::Network,
            code => Stage::Step(code.saturating_sub(16) as usize),
        })
    }
}

/// What the first process has to say.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// 0, or an encoded stage in the upper half and an error number in the lower.
    failure: AtomicU64,
    ended: AtomicU32,
    status: AtomicI32,
    stop_signal: AtomicI32,
}

impl Report {
    /// The first failure is the one that counts.
    pub(crate) fn failed(&self, stage: Stage, error: Errno) {
        let failure = u64::from(stage.code()) << 32 | u64::from(error.0 as u32);
        let _ = self.failure.compare_exchange(0, failure, SeqCst, SeqCst);
    }

    pub(crate) fn failure(&self) -> Option<(Stage, Errno)> {
        let failure = self.failure.load(SeqCst);
        Some((Stage::of_code((failure >> 32) as u32)?, Errno(failure as u32 as i32)))
    }

    pub(crate) fn ended(&self, status: i32) {
        self.status.store(status, SeqCst);
        self.ended.store(1, SeqCst);
    }

    /// The wait status of the command, once it has ended.
    pub(crate) fn status(&self) -> Option<i32> {
        (self.ended.load(SeqCst) == 1).then(|| self.status.load(SeqCst))
    }

    pub(crate) fn stopped(&self, signal: i32) {
        self.stop_signal.store(signal, SeqCst);
    }
}

/// The longest path that can be covered while a command runs.
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// What the supervisor asks of the first process.
pub(crate) struct Request {
    /// Signals to pass on, one bit each.
    signals: AtomicU64,
    /// One of the constants below. The path belongs to the supervisor, but from `ASKED` on
    /// to the first process until that has answered.
    state: AtomicU32,
    how: AtomicU32,
    error: AtomicI32,
    path: Box<[AtomicU8]>,
}

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const ANSWERED: u32 = 2;
/// The first process answers no more.
const OVER: u32 = 3;

/// What a request comes to when there is nobody left inside to cover anything for: as if
/// nothing were there.
const NOBODY: Errno = Errno(libc::ENOENT);

impl Request {
    /// `covers` says whether there is anything to watch, and so room for a path.
    pub(crate) fn new(covers: bool) -> Request {
        let room = if covers { PATH_MAX } else { 0 };
        Request {
            signals: AtomicU64::new(0),
            state: AtomicU32::new(IDLE),
            how: AtomicU32::new(0),
            error: AtomicI32::new(0),
            path: (0..room).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Adds a signal to pass on.
    pub(crate) fn add_signal(&self, signal: i32) {
        self.signals.fetch_or(1 << (signal - 1), SeqCst);
    }

    /// Takes the signals to pass on.
    pub(crate) fn signals(&self) -> impl Iterator<Item = i32> {
        let taken = self.signals.swap(0, SeqCst);
        (1..=64).filter(move |signal| taken & (1 << (signal - 1)) != 0)
    }

    /// Leaves a path to cover; the caller then wakes the first process.
    pub(crate) fn ask(&self, path: &CStr, how: Cover) -> Result<(), Errno> {
        let bytes = path.to_bytes_with_nul();
        if bytes.len() > self.path.len() {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        let before = self.state.load(SeqCst);
        match before {
            OVER => return Err(NOBODY),
            // It is still busy with what this process has given up waiting for.
            ASKED => return Err(Errno(libc::ETIMEDOUT)),
            _ => {}
        }
        for (cell, byte) in self.path.iter().zip(bytes) {
            cell.store(*byte, SeqCst);
        }
        self.how.store(u32::from(how == Cover::ReadOnly), SeqCst);
        // Only the end of the first process can have come between.
        let asked = self.state.compare_exchange(before, ASKED, SeqCst, SeqCst);
        asked.map(drop).map_err(|_| NOBODY)
    }

    /// Waits for the answer to `ask`, at most two seconds. `ended` says whether the first
    /// process has ended, which one that is killed does not tell itself.
    pub(crate) fn wait(&self, ended: impl Fn() -> bool) -> Result<Covered, Errno> {
        const SLICE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        for _ in 0..100 {
            match self.state.load(SeqCst) {
                ANSWERED => {
                    return match self.error.load(SeqCst) {
                        0 => Ok(Covered::Now),
                        -1 => Ok(Covered::Before),
                        error => Err(Errno(error)),
                    };
                }
                OVER => return Err(NOBODY),
                _ => {}
            }
            if ended() {
                self.over();
                return Err(NOBODY);
            }
            call::futex_wait(&self.state, ASKED, SLICE);
        }
        Err(Errno(libc::ETIMEDOUT))
    }

    /// Nothing is covered any more: the first process ends.
    pub(crate) fn over(&self) {
        if self.state.swap(OVER, SeqCst) == ASKED {
            call::futex_wake(&self.state);
        }
    }

    /// What is asked for: the path and how to cover it.
    pub(crate) fn cover(&self) -> Option<(&CStr, Cover)> {
        if self.state.load(SeqCst) != ASKED {
            return None;
        }
        // SAFETY: `AtomicU8` has the layout of `u8`; the supervisor does not
        // write again before the answer, so the bytes stay as they are.
        let bytes = unsafe { &*(std::ptr::from_ref(&*self.path) as *const [u8]) };
        let path = CStr::from_bytes_until_nul(bytes).ok()?;
        let how = match self.how.load(SeqCst) {
            0 => Cover::Mask,
            _ => Cover::ReadOnly,
        };
        Some((path, how))
    }

    /// Answers.
    pub(crate) fn answered(&self, answer: Result<Covered, Errno>) {
        let code = match answer {
            Ok(Covered::Now) => 0,
            Ok(Covered::Before) => -1,
            Err(error) => error.0,
        };
        self.error.store(code, SeqCst);
        self.state.store(ANSWERED, SeqCst);
        call::futex_wake(&self.state);
    }
}
