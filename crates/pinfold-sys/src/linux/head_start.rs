//! The first process of a sandbox, started before its task is known.
//!
//! To make a network namespace takes a third of a launch (measured), and depends on
//! nothing but that there is to be one. So a second process inside makes it, on another
//! processor, while the supervisor works out what else is to be done and the first process
//! mounts. The second then restricts itself and becomes the command.
//!
//! Until they have their task both share the descriptors of the supervisor, and so have
//! whatever that opens meanwhile. With the task each takes a copy.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};

use pinfold_policy::plan::linux::Network;

use super::call::{self, Processors, Stack, StackTop};
use super::command::two_stacks;
use super::init::{self, Task};
use super::landlock;
use super::name::text;
use super::raw::Errno;
use super::shared::{Report, Stage};
use super::supervise::{Process, reaped, system};
use crate::seam::Error;

/// How many processes take a task.
const BOTH: u32 = 2;

/// There is no network namespace yet.
const IN_WORK: u32 = 0;
/// There is one, or none is needed.
const MADE: u32 = 1;
/// There can be none.
const FAILED: u32 = 2;

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

/// What the processes inside and the supervisor share.
pub(crate) struct Beginning {
    /// `uid uid 1`, and the same for the group.
    pub(crate) identity: [CString; 2],
    pub(crate) own_network: bool,
    /// Open on the supervisor; ready when that has died.
    pub(crate) supervisor: i32,
    pub(crate) report: Report,
    task: AtomicPtr<Task>,
    /// 1 once there is a task.
    given: AtomicU32,
    /// Where they run, where that matters.
    placement: Option<Placement>,
    /// 1 once the first process is away from the supervisor.
    placed: AtomicU32,
    /// How many have a task and descriptors of their own, or have given up.
    taken: AtomicU32,
    /// How far the network is.
    network: AtomicU32,
    /// The first process runs on the lower half, the second on the upper.
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
        if landlock::has_sessions() {
            return Err(Error::Unprepared {
                attempted: String::from(
                    "start a sandbox with namespaces: this process has sessions without them, from \
                     which its memory must stay hidden",
                ),
                remedy: "stop those sessions, or use another server for them",
            });
        }
        let own_network = network == Network::Own;
        let (user, group) = call::identity();
        let mut beginning = Box::new(Beginning {
            identity: [user, group].map(|id| text(format!("{id} {id} 1"))),
            own_network,
            supervisor: -1,
            report: Report::default(),
            task: AtomicPtr::new(null_mut()),
            given: AtomicU32::new(0),
            placement: Placement::of_this_process(),
            placed: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            network: AtomicU32::new(IN_WORK),
            stack: two_stacks()?,
        });
        beginning.supervisor =
            call::pidfd_open(call::getpid()).map_err(system("watch the supervisor"))?;
        let supervisor = beginning.supervisor;
        let mut begun = HeadStart { beginning, child: None, supervisor, thread: PhantomData };
        let child = start(&begun.beginning)?;
        begun.child = Some(child);
        let Beginning { placement, placed, .. } = &*begun.beginning;
        if let Some(placement) = placement {
            let _ = call::set_affinity(child.number, &placement.others);
        }
        placed.store(1, SeqCst);
        call::futex_wake(placed);
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
        let Beginning { task: place, given, placement, .. } = &*self.beginning;
        place.store(std::ptr::from_ref(task).cast_mut(), SeqCst);
        if let Some(placement) = placement {
            let _ = call::set_affinity(child.number, &placement.here);
        }
        given.store(1, SeqCst);
        call::futex_wake(given);
        Ok(child)
    }

    /// Waits until the processes have their own descriptors, or have ended; before that
    /// none must be closed that they need. Then closes the one that only they needed.
    pub(crate) fn until_taken(&mut self, child: Process) {
        const SLICE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let taken = &self.beginning.taken;
        loop {
            let now_taken = taken.load(SeqCst);
            if now_taken >= BOTH {
                break;
            }
            let polled = libc::pollfd { fd: child.descriptor, events: libc::POLLIN, revents: 0 };
            if call::ppoll(&mut [polled], Some(now)) == Ok(1) {
                break;
            }
            call::futex_wait(taken, now_taken, SLICE);
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
    /// In a process inside: waits for its task, and takes a copy of all descriptors.
    pub(crate) fn task(&self) -> Result<&Task, (Stage, Errno)> {
        // The supervisor's end ends both, so this does not last.
        call::futex_wait_while(&self.given, 0);
        let copied = call::unshare(libc::CLONE_FILES);
        self.give_way();
        copied.map_err(|error| (Stage::Process, error))?;
        // SAFETY: the supervisor stores a task before it says that there is one, and
        // keeps it until all processes inside have ended; all only read it or use atomics.
        Ok(unsafe { &*self.task.load(SeqCst) })
    }

    /// In a process inside: lets the supervisor close what it has opened.
    pub(crate) fn give_way(&self) {
        self.taken.fetch_add(1, SeqCst);
        call::futex_wake(&self.taken);
    }

    /// In the second process: says what has become of the network.
    pub(crate) fn network_is(&self, made: Result<(), (Stage, Errno)>) {
        let now = match made {
            Ok(()) => MADE,
            Err((stage, error)) => {
                self.report.failed(stage, error);
                FAILED
            }
        };
        self.network.store(now, SeqCst);
        call::futex_wake(&self.network);
    }

    /// In the first process: waits until it is known what has become of the network.
    pub(crate) fn network(&self) -> Result<(), (Stage, Errno)> {
        call::futex_wait_while(&self.network, IN_WORK);
        match self.network.load(SeqCst) {
            MADE => Ok(()),
            _ => Err(self.report.failure().unwrap_or((Stage::Network, Errno(libc::EIO)))),
        }
    }

    /// In the first process: waits until it is away from the supervisor, and what it
    /// starts will be.
    pub(crate) fn until_placed(&self) {
        call::futex_wait_while(&self.placed, 0);
    }

    /// In a process inside: makes it run wherever the supervisor may.
    pub(crate) fn run_anywhere(&self) -> Result<(), (Stage, Errno)> {
        let Some(placement) = &self.placement else { return Ok(()) };
        call::set_affinity(0, &placement.all).map_err(|error| (Stage::Process, error))
    }

    /// What the second process runs on.
    pub(crate) fn second_stack(&self) -> StackTop {
        self.stack.upper()
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

/// Which processors the processes begin on. The kernel would leave them where the
/// supervisor is, or the first where the second is, in two times of three (measured), and
/// nothing would be done meanwhile. Each is let go as soon as it is where it should be.
#[derive(Debug)]
struct Placement {
    /// All that the supervisor may run on.
    all: Processors,
    /// The one that it runs on, which it leaves when it gives the task.
    here: Processors,
    others: Processors,
}

impl Placement {
    /// Nothing where there is no other processor.
    fn of_this_process() -> Option<Placement> {
        let (Ok(all), Ok(number)) = (call::affinity(0), call::processor()) else { return None };
        let (mut here, mut others) = (Processors::default(), all);
        let bit = 1 << (number % 64);
        *here.get_mut(number / 64)? |= bit;
        *others.get_mut(number / 64)? &= !bit;
        others.iter().any(|word| *word != 0).then_some(Placement { all, here, others })
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
            // What the first does first is to watch its parent.
            wait_until(|| begun.beginning.network.load(SeqCst) == MADE);
            begun.child.unwrap().number
        });
        let number = number.join().unwrap();
        wait_until(|| state(number) == Some('Z'));
        assert!(call::wait4_usage(number).is_ok());
    }
}
