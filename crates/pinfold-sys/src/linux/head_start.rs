//! The first process of a sandbox, started before its task is known.
//!
//! To make a network namespace takes a third of a launch (measured), and depends on
//! nothing but that there is to be one. So the first process makes it by itself, on
//! another processor, while the supervisor works out what else is to be done.
//!
//! Until it has its task it shares the descriptors of the supervisor, and so has whatever
//! that opens meanwhile. With the task it takes a copy.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};

use pinfold_policy::plan::linux::Network;

use super::call::{self, Stack};
use super::command::stack;
use super::init::{self, Task};
use super::name::text;
use super::raw::Errno;
use super::shared::{Report, Stage};
use super::supervise::{Process, reaped, system};
use crate::seam::Error;

/// Nothing has happened yet.
const AT_WORK: u32 = 0;
/// The first process sleeps until it gets its task.
const ASLEEP: u32 = 1;
/// There is a task.
const GIVEN: u32 = 2;
/// The first process has its task and its own descriptors, or it has given up.
const TAKEN: u32 = 3;

/// A process that prepares what every sandbox has. It ends when it is dropped, and with
/// the thread that has started it.
#[derive(Debug)]
pub struct HeadStart {
    beginning: Box<Beginning>,
    /// Nothing once somebody else answers for it.
    child: Option<Process>,
    /// The descriptor that the process watches this one by; -1 when it has its own.
    supervisor: i32,
    /// Its end is that of a thread, so it stays there.
    thread: PhantomData<*const ()>,
}

/// What the process and the supervisor share.
pub(crate) struct Beginning {
    /// `uid uid 1`, and the same for the group.
    pub(crate) identity: [CString; 2],
    pub(crate) own_network: bool,
    /// Open on the supervisor; ready when that has died.
    pub(crate) supervisor: i32,
    pub(crate) report: Report,
    task: AtomicPtr<Task>,
    state: AtomicU32,
    stack: Stack,
}

impl std::fmt::Debug for Beginning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beginning").field("own_network", &self.own_network).finish_non_exhaustive()
    }
}

impl HeadStart {
    /// Starts the process for a sandbox with a network of its own; nothing when that
    /// does not work. Why, the run says.
    pub fn begin() -> Option<HeadStart> {
        // It begins with everything blocked, as `run` does.
        let signals = call::sigprocmask(!0);
        let begun = HeadStart::of(Network::Own).ok();
        call::sigprocmask(signals);
        begun
    }

    /// The same for any network; signals must be blocked.
    pub(crate) fn of(network: Network) -> Result<HeadStart, Error> {
        let own_network = network == Network::Own;
        let (user, group) = call::identity();
        let mut beginning = Box::new(Beginning {
            identity: [user, group].map(|id| text(format!("{id} {id} 1"))),
            own_network,
            supervisor: -1,
            report: Report::default(),
            task: AtomicPtr::new(null_mut()),
            state: AtomicU32::new(AT_WORK),
            stack: stack()?,
        });
        beginning.supervisor =
            call::pidfd_open(call::getpid()).map_err(system("watch the supervisor"))?;
        let supervisor = beginning.supervisor;
        let mut begun = HeadStart { beginning, child: None, supervisor, thread: PhantomData };
        let child = start(&begun.beginning)?;
        begun.child = Some(child);
        move_away(child);
        Ok(begun)
    }

    /// Whether it can become the first process of a sandbox with this network.
    pub(crate) fn suits(&self, network: Network) -> bool {
        self.beginning.own_network == (network == Network::Own)
    }

    /// What the first process watches the supervisor by.
    pub(crate) fn supervisor(&self) -> i32 {
        self.supervisor
    }

    /// Makes it the first process of a sandbox. The caller answers for the process from
    /// now on: it waits for its end before `task` and this value go, and closes its
    /// descriptor.
    pub(crate) fn give(&mut self, task: &Task) -> Result<Process, Error> {
        let child = self.child.take().ok_or(Errno(libc::ESRCH));
        let child = child.map_err(system("start the first process of the sandbox"))?;
        let Beginning { task: place, state, .. } = &*self.beginning;
        place.store(std::ptr::from_ref(task).cast_mut(), SeqCst);
        // One that has given up is not to be waited for.
        if state.compare_exchange(AT_WORK, GIVEN, SeqCst, SeqCst) == Err(ASLEEP) {
            state.store(GIVEN, SeqCst);
            call::futex_wake(state);
        }
        Ok(child)
    }

    /// Waits until the process has its own descriptors, or has ended; before that none
    /// must be closed that it needs. Then closes the one that only it needed.
    pub(crate) fn until_taken(&mut self, child: Process) {
        const SLICE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let state = &self.beginning.state;
        while state.load(SeqCst) == GIVEN {
            let polled = libc::pollfd { fd: child.descriptor, events: libc::POLLIN, revents: 0 };
            if call::ppoll(&mut [polled], Some(now)) == Ok(1) {
                break;
            }
            call::futex_wait(state, GIVEN, SLICE);
        }
        self.close_supervisor();
    }

    fn close_supervisor(&mut self) {
        if self.supervisor >= 0 {
            call::close(std::mem::replace(&mut self.supervisor, -1));
        }
    }

    /// Makes a failure before the task one of the task, once the process has ended.
    pub(crate) fn tell(&self, report: &Report) {
        if let Some((stage, error)) = self.beginning.report.failure() {
            report.failed(stage, error);
        }
    }
}

impl Drop for HeadStart {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let _ = call::pidfd_send_signal(child.descriptor, libc::SIGKILL);
            // It shares this memory, so nothing may go before it.
            let _ = reaped(child);
            call::close(child.descriptor);
        }
        self.close_supervisor();
    }
}

impl Beginning {
    /// In the first process: waits for its task, and takes a copy of all descriptors.
    pub(crate) fn task(&self) -> Result<&Task, (Stage, Errno)> {
        const SLICE: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let state = &self.state;
        if state.compare_exchange(AT_WORK, ASLEEP, SeqCst, SeqCst).is_ok() {
            // Its parent's end ends it, so this does not last.
            while state.load(SeqCst) == ASLEEP {
                call::futex_wait(state, ASLEEP, SLICE);
            }
        }
        let copied = call::unshare(libc::CLONE_FILES);
        self.give_way();
        copied.map_err(|error| (Stage::Process, error))?;
        // SAFETY: the supervisor stores a task before it says that there is one, and
        // keeps it until this process has ended; both only read it or use atomics.
        Ok(unsafe { &*self.task.load(SeqCst) })
    }

    /// In the first process: lets the supervisor close what it has opened.
    pub(crate) fn give_way(&self) {
        self.state.store(TAKEN, SeqCst);
        call::futex_wake(&self.state);
    }
}

fn start(beginning: &Beginning) -> Result<Process, Error> {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_FILES
        | libc::CLONE_PIDFD
        | libc::SIGCHLD;
    let argument = std::ptr::from_ref(beginning).cast_mut().cast();
    let mut descriptor = -1;
    // SAFETY: only the first process uses this stack; what it shares, with the stack,
    // goes with the `HeadStart`, which waits for the process first, or whose owner does.
    let process = unsafe {
        call::clone_sharing_memory(
            init::start,
            beginning.stack.lower(),
            flags,
            argument,
            &mut descriptor,
        )
    };
    let number = process.map_err(|error| Error::Closed {
        attempted: String::from("create namespaces"),
        code: error.0,
    })?;
    Ok(Process { number, descriptor })
}

/// Gives the process another processor than this one, where there is another: two times
/// of three the kernel leaves it here, where it begins only when this process waits
/// (measured). Nothing depends on it.
fn move_away(child: Process) {
    let (Ok(all), Ok(here)) = (call::affinity(child.number), call::processor()) else { return };
    let mut others = all;
    if let Some(word) = others.get_mut(here / 64) {
        *word &= !(1 << (here % 64));
    }
    if others.iter().any(|word| *word != 0) && call::set_affinity(child.number, &others).is_ok() {
        let _ = call::set_affinity(child.number, &all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(process: i32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    fn wait_until(condition: impl Fn() -> bool) {
        for _ in 0..500 {
            if condition() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("it did not come to that");
    }

    fn begun() -> HeadStart {
        HeadStart::begin().expect("user namespaces, which the tests of this crate need")
    }

    #[test]
    fn a_process_that_is_not_needed_ends_with_its_head_start() {
        let begun = begun();
        let child = begun.child.unwrap();
        assert!(state(child.number).is_some_and(|state| state != 'Z'));
        drop(begun);
        assert_eq!(state(child.number), None, "neither running nor left to be waited for");
    }

    #[test]
    fn a_process_ends_with_the_thread_that_began_it() {
        let number = std::thread::spawn(|| {
            let begun = std::mem::ManuallyDrop::new(begun());
            // What it does first is to watch its parent.
            wait_until(|| begun.beginning.state.load(SeqCst) == ASLEEP);
            begun.child.unwrap().number
        });
        let number = number.join().unwrap();
        wait_until(|| state(number) == Some('Z'));
        assert!(call::wait4_usage(number).is_ok());
    }

    #[test]
    fn the_processors_of_a_process_are_those_of_its_supervisor() {
        let begun = begun();
        let number = begun.child.unwrap().number;
        assert_eq!(call::affinity(number).unwrap(), call::affinity(0).unwrap());
    }
}
