//! Sandboxes that stay, and the commands in them.
//!
//! A thread of this process is the supervisor; the first process inside ends
//! with it, and everything else with that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use pinfold_policy::plan::linux::Plan;

use super::call::{self, Patience};
use super::command::Telling;
use super::commands::{Order, READY, Spawn, Starter, StarterState};
use super::family::Mark;
use super::fate::{Fate, Start};
use super::keeper::Keeper;
use super::name::text;
use super::notify::{self, Listener};
use super::pattern::PatternWatcher;
use super::raw::Errno;
use super::shared::Stage;
use super::supervise::{Process, Running, Way, deadline, decoded, system};
use super::watch::{Told, Watcher};
use super::{doors, family, landlock, mechanism, namespaces};
use crate::seam::{Closed, Error, Launch, Opened, Place, Size, Standard, Status};

/// Room for a supervisor.
const STACK: usize = 256 * 1024;

/// A sandbox that stays. Dropping it ends everything inside.
#[derive(Debug)]
pub struct Session {
    link: Arc<Link>,
    plan: Plan,
    supervisor: Option<JoinHandle<Result<Closed, Error>>>,
}

/// A command in a session.
#[derive(Debug)]
pub struct Child {
    fate: Arc<Fate>,
    process: OwnedFd,
    mark: Mark,
    /// The number of the first process.
    first: i32,
    /// The driving end of its terminal, if it has one.
    terminal: Option<File>,
}

/// What threads of this process share about a session.
#[derive(Debug)]
struct Link {
    /// To the first process.
    channel: OwnedFd,
    first: OwnedFd,
    /// The number of that.
    number: i32,
    /// How calls of commands are told of.
    telling: Option<Telling>,
    /// Whether something else than the first process takes orders.
    starter: Option<StarterState>,
    /// A Landlock ruleset that the first process has open for commands, or -1.
    ruleset: i32,
    /// Whether nothing but the first process ends with it.
    alone: bool,
    commands: Mutex<Commands>,
    /// Descriptors of commands whose spawners have not taken them yet.
    arrived: Mutex<BTreeMap<u32, Vec<OwnedFd>>>,
}

#[derive(Debug, Default)]
struct Commands {
    /// Nothing is left inside.
    over: bool,
    last: u32,
    /// Those that the first process may still look at.
    fates: Vec<Arc<Fate>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a sandbox without a command.
///
/// # Errors
/// When the host refuses an ingredient, or the plan confines nothing.
pub fn start(plan: &Plan, place: Place, opened: Opened) -> Result<Session, Error> {
    let (started, result) = mpsc::channel();
    let own = plan.clone();
    let supervisor = std::thread::Builder::new()
        .name(String::from("pinfold-session"))
        .stack_size(STACK)
        .spawn(move || supervise(&own, &place, opened, &started))
        .map_err(|error| Error::System {
            attempted: String::from("start a thread"),
            code: error.raw_os_error().unwrap_or(libc::EAGAIN),
        })?;
    match result.recv() {
        Ok(link) => Ok(Session { link, plan: plan.clone(), supervisor: Some(supervisor) }),
        Err(_) => Err(match supervisor.join() {
            Ok(Err(error)) => error,
            _ => system("start a session")(Errno(libc::ECANCELED)),
        }),
    }
}

/// The thread of a session, from its start to its end.
fn supervise(
    plan: &Plan,
    place: &Place,
    opened: Opened,
    started: &mpsc::Sender<Arc<Link>>,
) -> Result<Closed, Error> {
    // Signals are for the other threads.
    call::sigprocmask(!0);
    let mut head_start = mechanism::head_start(plan)?;
    let mut task = mechanism::first(plan, &place.directory)?;
    if let Some(begun) = &head_start {
        task.supervisor = begun.supervisor();
    }
    let alone = matches!(plan, Plan::Landlock(_));
    let _counted = alone.then(landlock::Counted::new);
    let (watches, patterns, doors) = match plan {
        Plan::Namespaces(plan) => (&plan.watches[..], &plan.patterns[..], plan.doors.clone()),
        _ => (&[][..], &[][..], None),
    };
    let [outer, inner] = call::socketpair().map_err(system("make a channel"))?.map(owned);
    task.channel = inner.as_raw_fd();
    let supervisor = head_start.is_none().then(|| owned(task.supervisor));
    let keeper = Keeper { directory: place.kept.as_ref() };
    let mut watcher = Watcher::start(watches, &keeper, Told::ByDescriptor)
        .map_err(system("watch protected paths"))?;
    let mut patterns = PatternWatcher::new(patterns, Told::ByDescriptor)
        .map_err(system("watch for new matches"))?;
    let channel = match &doors {
        Some(_) => Some(call::socketpair().map_err(system("make a channel"))?.map(owned)),
        None => None,
    };
    let mut opened = Some(opened);
    let mut opened = |doors| opened.take().is_some_and(|opened| opened(doors));
    let duties = mechanism::duties(plan, place, &mut opened)?;
    let door = duties.door.clone();
    let (listener, telling) = notify::listen(place.witness.as_ref(), duties)?.unzip();
    if matches!(plan, Plan::Namespaces(plan) if plan.filter.user_namespaces) {
        task.mounts = listener.as_ref().map(notify::Listener::home);
    }
    // The number stays that of the first process.
    let listening = telling.as_ref().map(|telling| owned(telling.channel));
    task.telling = listening.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    task.doors = doors.zip(channel.as_ref().map(|pair| pair.each_ref().map(|end| end.as_raw_fd())));
    let child = match &mut head_start {
        Some(begun) => begun.give(&task),
        None => landlock::start_first(&task),
    }?;
    if let Some(begun) = &mut head_start {
        begun.until_taken(child);
    }
    drop((inner, supervisor, listening));
    if let Some([outer, inner]) = channel {
        drop(inner);
        if doors::received(outer.as_raw_fd(), door.as_ref()).is_some_and(opened) {
            let _ = call::write(outer.as_raw_fd(), &[1]);
        }
    }
    let link = Arc::new(Link {
        channel: outer,
        first: owned(child.descriptor),
        number: child.number,
        telling,
        starter: task.starter.as_ref().map(Starter::state),
        ruleset: if alone { -1 } else { task.ruleset },
        alone,
        commands: Mutex::default(),
        arrived: Mutex::default(),
    });
    if link.received(Patience::Wait).is_some_and(|(number, _)| number == READY) {
        let _ = started.send(link.clone());
    }
    let running = Running {
        way: if alone { Way::Root(&task) } else { Way::First(&task) },
        child: Process { number: child.number, descriptor: child.descriptor },
        signals: -1,
        deadline: deadline(&mechanism::limits(plan)),
        shares_group: false,
    };
    let exceeded = namespaces::wait(&running, &task, (&mut watcher, &mut patterns), &keeper);
    if let Some(begun) = &head_start {
        begun.tell(&task.report);
    }
    let ended = namespaces::finish(&task, child, exceeded, &place.directory);
    // What was attempted last is told as well.
    listener.into_iter().for_each(Listener::join);
    link.close();
    if task.ruleset >= 0 {
        call::close(task.ruleset);
    }
    let appeared = namespaces::last_moment(&mut watcher, &mut patterns, &keeper, &[]);
    ended.map(|ended| Closed { exceeded, usage: ended.usage, appeared })
}

fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the callers have just been given this descriptor by the kernel and
    // keep no other record of it that is closed.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

impl Link {
    /// One message of the first process; none when there is none, or never will be.
    fn received(&self, patience: Patience) -> Option<(u32, Vec<OwnedFd>)> {
        let (mut bytes, mut descriptors) = ([0; 4], [-1; 2]);
        let channel = self.channel.as_raw_fd();
        let received =
            call::receive_message(channel, &mut bytes, &mut descriptors, patience).ok()?;
        let along = descriptors.into_iter().take(received.count).map(owned).collect();
        (received.length == bytes.len()).then(|| (u32::from_ne_bytes(bytes), along))
    }

    fn starter_serves(&self) -> bool {
        self.starter.as_ref().is_some_and(StarterState::serves)
    }

    /// The descriptors of a command that runs: they were sent before that was said.
    fn descriptors_of(&self, number: u32) -> Vec<OwnedFd> {
        let mut arrived = locked(&self.arrived);
        loop {
            if let Some(along) = arrived.remove(&number) {
                return along;
            }
            match self.received(Patience::OnlyNow) {
                Some((other, along)) => arrived.insert(other, along),
                None => return Vec::new(),
            };
        }
    }

    /// The number and the fate of another command; nothing when the session is over.
    fn admit(&self) -> Option<(u32, Arc<Fate>)> {
        let mut commands = locked(&self.commands);
        if commands.over {
            return None;
        }
        commands.fates.retain(|fate| !fate.is_let_go());
        // 0 is taken.
        commands.last = commands.last.wrapping_add(1).max(1);
        let fate = Arc::new(Fate::default());
        commands.fates.push(fate.clone());
        Some((commands.last, fate))
    }

    /// Nothing is left inside.
    fn close(&self) {
        let mut commands = locked(&self.commands);
        commands.over = true;
        commands.fates.drain(..).for_each(|fate| fate.close());
    }
}

impl Session {
    /// Starts a command and returns once it runs its program.
    ///
    /// # Errors
    /// When it cannot be started, or the session has ended.
    pub fn spawn(&self, launch: &Launch, standard: Standard) -> Result<Child, Error> {
        let mut command = mechanism::command(&self.plan, launch).ok_or_else(over)?;
        let (terminal, given) = match &standard {
            Standard::Terminal(size) => (Some(*size), None),
            Standard::Descriptors(given) => (None, Some(given.each_ref().map(AsRawFd::as_raw_fd))),
        };
        command.new_group = terminal.is_none();
        let mark = Mark::fresh();
        command.mark = Some(mark);
        command.ruleset = self.link.ruleset;
        // Nothing else ends with the first process there.
        command.ends_with = if self.link.alone { self.link.number } else { 0 };
        command.told =
            self.link.telling.clone().map(|telling| Telling { mark: launch.mark, ..telling });
        let directory = text(launch.directory.as_bytes());
        let failed = |stage, error| namespaces::failure(None, stage, error, &launch.directory);
        let spawn = Spawn { directory, command, terminal };
        let given = given.as_ref().map_or(&[][..], |given| given);
        let (number, fate) = loop {
            let (number, fate) = self.link.admit().ok_or_else(over)?;
            let by_starter = self.link.starter_serves();
            let order = Order { number, spawn: &raw const spawn, fate: Arc::as_ptr(&fate) };
            let channel = self.link.channel.as_raw_fd();
            if let Err(error) = call::send_message(channel, &order.bytes(), given) {
                fate.close();
                return Err(failed(Stage::Process, error));
            }
            // A starter that has ended meanwhile may have left the order to the first process.
            if !self.link.starter_serves() {
                let _ = call::pidfd_send_signal(self.link.first.as_raw_fd(), libc::SIGUSR1);
            }
            match fate.started(|| by_starter && !self.link.starter_serves()) {
                Start::Runs => break (number, fate),
                Start::Failed(stage, error) => return Err(failed(stage, error)),
                Start::Over => return Err(over()),
                Start::Lost => {}
            }
        };
        let mut along = self.link.descriptors_of(number).into_iter();
        // Or this process has too many descriptors to be given another.
        let process = along.next().ok_or_else(|| failed(Stage::Standard, Errno(libc::EMFILE)))?;
        let terminal = along.next().map(File::from);
        Ok(Child { fate, process, mark, first: self.link.number, terminal })
    }

    /// Readable when nothing is left inside.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.link.first.as_fd()
    }

    /// Ends everything inside, without waiting for it.
    pub fn kill(&self) {
        if self.link.alone {
            family::end_below(self.link.number);
        }
        let _ = call::pidfd_send_signal(self.link.first.as_raw_fd(), libc::SIGKILL);
    }

    /// Ends everything inside.
    ///
    /// # Errors
    /// When the first process cannot be waited for.
    pub fn stop(mut self) -> Result<Closed, Error> {
        self.end().unwrap_or_else(|| Err(over()))
    }

    fn end(&mut self) -> Option<Result<Closed, Error>> {
        let supervisor = self.supervisor.take()?;
        self.kill();
        supervisor.join().ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn over() -> Error {
    Error::System { attempted: String::from("use a session that has ended"), code: libc::ESRCH }
}

impl Child {
    /// How it ended; nothing while it runs.
    pub fn status(&self) -> Option<Status> {
        self.fate.status().map(decoded)
    }

    /// Waits until it has ended.
    pub fn wait(&self) -> Status {
        decoded(self.fate.ended())
    }

    /// Readable when it has ended.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Whether a process is it, or descends from it.
    pub fn includes(&self, process: i32) -> bool {
        self.mark.is_on(process)
    }

    /// Sends a signal to its process group. A command that has ended is left alone.
    ///
    /// # Errors
    /// When there is no such signal.
    pub fn signal(&self, number: i32) -> std::io::Result<()> {
        let process = self.process.as_raw_fd();
        let sent = match call::pidfd_send_signal_to_group(process, number) {
            Err(Errno(libc::EINVAL)) => match family::number_of(&self.process) {
                Some(process) => call::kill(-process, number),
                None => Ok(()),
            },
            sent => sent,
        };
        match sent {
            Err(Errno(libc::ESRCH)) | Ok(()) => Ok(()),
            Err(Errno(code)) => Err(std::io::Error::from_raw_os_error(code)),
        }
    }

    /// Asks it and its descendants to end (SIGTERM), and kills what has not ended
    /// after `grace`. Returns when they have.
    pub fn terminate(&self, grace: Duration) {
        let process = family::number_of(&self.process);
        family::terminate(
            family::Command { process, mark: Some(self.mark), first: self.first },
            grace,
        );
    }

    /// Where its terminal is typed into, and what it shows, if it has one.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn ends_of_terminal(&self) -> std::io::Result<Option<(File, File)>> {
        let Some(terminal) = &self.terminal else { return Ok(None) };
        Ok(Some((terminal.try_clone()?, terminal.try_clone()?)))
    }

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// When it has none.
    pub fn resize(&self, size: Size) -> std::io::Result<()> {
        let terminal = self.terminal.as_ref().ok_or(std::io::ErrorKind::Unsupported)?;
        call::resize(terminal.as_raw_fd(), size)
            .map_err(|Errno(code)| std::io::Error::from_raw_os_error(code))
    }
}

/// Waits until one of `descriptors` is readable or its other end is gone, at most
/// for `timeout`; which are.
pub fn readable(
    descriptors: &[Option<BorrowedFd<'_>>],
    timeout: Option<Duration>,
) -> std::io::Result<Vec<bool>> {
    let polled = descriptors.iter().map(|descriptor| {
        let fd = descriptor.map_or(-1, |descriptor| descriptor.as_raw_fd());
        libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
    });
    let mut polled: Vec<libc::pollfd> = polled.collect();
    let timeout = timeout.map(|time| libc::timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    match call::ppoll(&mut polled, timeout) {
        Ok(_) | Err(Errno(libc::EINTR)) => {
            Ok(polled.iter().map(|polled| polled.revents != 0).collect())
        }
        Err(Errno(code)) => Err(std::io::Error::from_raw_os_error(code)),
    }
}

/// This program, by a name that works in every view of the files.
///
/// # Errors
/// Never.
pub fn own_program() -> std::io::Result<OsString> {
    Ok(OsString::from("/proc/self/exe"))
}
