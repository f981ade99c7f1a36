//! Sandboxes that stay: commands are started in them one after another, or at
//! once, and share their files, processes, network and proxy.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pinfold_egress::Report;
use pinfold_policy::denial::Denial;
use pinfold_policy::gap::Gap;
use pinfold_sys::descriptor::{Owned, lent};
use pinfold_sys::session::{self, Child};
use pinfold_sys::{Closed, Launch, Place, Size, Standard, Status, name};

use crate::denials::{Denials, Keep, Recorder};
use crate::way_out::WayOut;
use crate::{Error, Sandbox, program};

/// How long output is read on after its command has ended, while descendants
/// keep it open.
pub const DRAIN: Duration = Duration::from_secs(5);

/// The most that is read at once, in bytes.
pub const CHUNK: usize = 32 * 1024;

/// What may still come out of a full pipe after [`DRAIN`], in bytes.
const LEFT_OVER: usize = 1024 * 1024;

/// A sandbox with running commands. Dropping it ends everything inside.
#[derive(Debug)]
pub struct Session {
    sandbox: Sandbox,
    environment: Vec<Vec<u8>>,
    inside: session::Session,
    proxy: Option<WayOut>,
    recorder: Option<Arc<Recorder>>,
}

/// How a session went.
#[derive(Clone, Debug)]
pub struct SessionOutcome {
    /// What was used, what appeared, and the limit that ended it.
    pub closed: Closed,
    /// Rules that did not hold, because the user allowed that.
    pub gaps: Vec<Gap>,
    /// What the proxy let through and refused; nothing without host rules.
    pub network: Option<Report>,
    /// As in [`Session::denials`].
    pub denials: Option<Denials>,
}

/// A command for a session, the program first.
#[derive(Debug)]
pub struct Start {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// The working directory, relative to that of the session.
    pub directory: Option<OsString>,
    /// Variables, `NAME=value`, over those that the profile gives.
    pub environment: Vec<OsString>,
    /// What it reads and writes.
    pub stdio: Stdio,
    /// What [`Denial::command`] says of it and its descendants; 0 for nothing.
    pub mark: u64,
}

impl Start {
    /// A command with pipes, in the directory of the session.
    pub fn piped(command: Vec<OsString>) -> Start {
        Start { command, directory: None, environment: Vec::new(), stdio: Stdio::Pipes, mark: 0 }
    }
}

/// What a command reads and writes.
#[derive(Debug)]
pub enum Stdio {
    /// A pipe each for input, output and errors.
    Pipes,
    /// As [`Stdio::Pipes`] with an input that is at its end.
    NoInput,
    /// A terminal of its own, for all three.
    Terminal(Size),
    /// These descriptors.
    Given([Owned; 3]),
}

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// A terminal.
    Terminal,
}

/// A command that has been started.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub process: Process,
    /// Where to write its input to; dropping it ends the input. On a terminal that
    /// takes a control character instead (Ctrl-D).
    pub input: Option<File>,
    /// What it writes.
    pub outputs: Outputs,
}

/// A process of a session.
#[derive(Clone, Debug)]
pub struct Process {
    child: Arc<Child>,
}

/// What a command writes.
#[derive(Debug)]
pub struct Outputs {
    process: Process,
    sources: Vec<(Stream, Option<File>)>,
}

impl Sandbox {
    /// Starts a session: everything but a command.
    ///
    /// # Errors
    /// When there are gaps that nobody allowed, or this host cannot confine anything.
    pub fn start(&self) -> Result<Session, Error> {
        match self.begin() {
            Err(Error::Launch(why)) if why.is_for_good() && self.may_change() => {
                match self.with_fallback(&why) {
                    Some(sandbox) => sandbox.begin(),
                    None => Err(Error::Launch(why)),
                }
            }
            begun => begun,
        }
    }

    fn begin(&self) -> Result<Session, Error> {
        if let Some(made) = self.with_own_directories() {
            return made.begin();
        }
        self.check_gaps()?;
        let recorder = self.recorder(Keep::Newest);
        let (door, address) = self.door()?;
        let place = Place {
            directory: self.profile().directories.working.clone(),
            kept: self.kept(),
            witness: self.witness(recorder.as_ref()),
            door,
        };
        let proxy: Arc<Mutex<Result<Option<WayOut>, Error>>> = Arc::new(Mutex::new(Ok(None)));
        let (sandbox, slot, heard) = (self.clone(), proxy.clone(), recorder.clone());
        let inside = session::start(
            self.plan(),
            place,
            Box::new(move |doors| {
                let opened = sandbox.way_out(doors, (heard.as_ref(), None)).map(Some);
                let served = opened.is_ok();
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = opened;
                served
            }),
        );
        let opened =
            std::mem::replace(&mut *proxy.lock().unwrap_or_else(PoisonError::into_inner), Ok(None));
        let (proxy, inside) = (opened?, inside.map_err(Error::Launch)?);
        let environment = self.environment_with(address);
        Ok(Session { environment, sandbox: self.clone(), inside, proxy, recorder })
    }
}

impl Session {
    /// The sandbox that this is a session of.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Starts a command and returns once it runs.
    ///
    /// # Errors
    /// When the program cannot be executed, its directory cannot be entered, or
    /// the session has ended.
    pub fn spawn(&self, start: Start) -> Result<Spawned, Error> {
        let mut environment = self.environment.clone();
        for entry in &start.environment {
            let entry = name::bytes(entry);
            let variable = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            environment.retain(|known| known.split(|byte| *byte == b'=').next() != Some(variable));
            environment.push(entry.to_vec());
        }
        let asked = start.command.first().map_or(&[][..], |word| name::bytes(word));
        let launch = Launch {
            programs: program::candidates(asked, &environment)?,
            arguments: start.command.iter().map(|word| name::bytes(word).to_vec()).collect(),
            environment,
            directory: self.directory(start.directory.as_deref())?,
            kept: None,
            witness: None,
            mark: start.mark,
            door: None,
        };
        let (standard, ends) = connect(start.stdio).map_err(no_descriptors)?;
        let child = self.inside.spawn(&launch, standard).map_err(|error| match error {
            pinfold_sys::Error::Execute { code } => {
                program::failure(asked, &launch.programs, &launch.directory, code)
            }
            error => Error::Launch(error),
        })?;
        let spawned = spawned(child, ends).map_err(no_descriptors)?;
        if let Some(recorder) = &self.recorder {
            recorder.number_command(start.mark, &spawned.process.child);
        }
        Ok(spawned)
    }

    fn directory(&self, given: Option<&OsStr>) -> Result<pinfold_policy::path::AbsPath, Error> {
        let working = &self.sandbox.profile().directories.working;
        let Some(given) = given else { return Ok(working.clone()) };
        working.join(name::bytes(given)).map_err(|error| Error::Caller {
            message: format!("cannot use the directory {}: {error}", given.display()),
            hint: String::from("name a directory, absolute or relative to that of the session"),
        })
    }

    /// What the sandbox has refused so far; nothing when that was not asked for and
    /// there are no host rules.
    pub fn denials(&self) -> Option<Denials> {
        self.denials_that(&|_| true)
    }

    /// Those of them that `chosen` wants.
    pub fn denials_that(&self, chosen: &dyn Fn(&Denial) -> bool) -> Option<Denials> {
        let recorder = self.recorder.as_ref()?;
        Some(self.sandbox.refused(recorder.chosen(chosen)))
    }

    /// Whether everything inside has ended, by a limit or because somebody killed it.
    pub fn is_over(&self) -> bool {
        let ready = session::readable(&[Some(self.inside.descriptor())], Some(Duration::ZERO));
        ready.is_ok_and(|ready| ready.contains(&true))
    }

    /// Ends everything inside, without waiting for it. [`Session::stop`] is still to
    /// be called.
    pub fn kill(&self) {
        self.inside.kill();
    }

    /// Ends everything inside.
    ///
    /// # Errors
    /// When the end cannot be waited for.
    pub fn stop(self) -> Result<SessionOutcome, Error> {
        let gaps = self.sandbox.gaps().to_vec();
        let closed = self.inside.stop().map_err(Error::Launch);
        // It ends with the last process inside, not before: refusals still count.
        let network = self.proxy.map(WayOut::close);
        let denials = self.recorder.map(|recorder| self.sandbox.refused(recorder.denials()));
        Ok(SessionOutcome { closed: closed?, gaps, network, denials })
    }
}

fn no_descriptors(error: io::Error) -> Error {
    Error::Launch(pinfold_sys::Error::System {
        attempted: String::from("connect the command"),
        code: error.raw_os_error().unwrap_or_default(),
    })
}

/// Our ends of the pipes of a command.
struct Ends {
    input: Option<File>,
    sources: Vec<(Stream, Option<File>)>,
}

fn connect(stdio: Stdio) -> io::Result<(Standard, Ends)> {
    let nothing = Ends { input: None, sources: Vec::new() };
    let no_input = matches!(stdio, Stdio::NoInput);
    match stdio {
        Stdio::Terminal(size) => Ok((Standard::Terminal(size), nothing)),
        Stdio::Given(descriptors) => Ok((Standard::Descriptors(descriptors), nothing)),
        Stdio::Pipes | Stdio::NoInput => {
            let (theirs, ours) = io::pipe()?;
            let (output, theirs_output) = io::pipe()?;
            let (error, theirs_error) = io::pipe()?;
            let file = |end: Owned| Some(File::from(end));
            let input = if no_input { None } else { file(ours.into()) };
            let sources =
                vec![(Stream::Output, file(output.into())), (Stream::Error, file(error.into()))];
            let theirs = [theirs.into(), theirs_output.into(), theirs_error.into()];
            Ok((Standard::Descriptors(theirs), Ends { input, sources }))
        }
    }
}

fn spawned(child: Child, mut ends: Ends) -> io::Result<Spawned> {
    if let Some((input, output)) = child.ends_of_terminal()? {
        ends.input = Some(input);
        ends.sources.push((Stream::Terminal, Some(output)));
    }
    let process = Process { child: Arc::new(child) };
    let outputs = Outputs { process: process.clone(), sources: ends.sources };
    Ok(Spawned { process, input: ends.input, outputs })
}

impl Process {
    /// How it ended; nothing while it runs.
    pub fn status(&self) -> Option<Status> {
        self.child.status()
    }

    /// Waits until it has ended. Its output is not read meanwhile.
    pub fn wait(&self) -> Status {
        self.child.wait()
    }

    /// Sends a signal, by number, to its process group. A process that has ended
    /// is left alone.
    ///
    /// # Errors
    /// When there is no such signal.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        self.child.signal(number)
    }

    /// Asks it and its descendants to end, and kills what has not ended after
    /// `grace`. Returns when they have.
    pub fn terminate(&self, grace: Duration) {
        self.child.terminate(grace);
    }

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// When it has none.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        self.child.resize(size)
    }
}

impl Outputs {
    /// Passes everything that is written to `sink`, in chunks of at most [`CHUNK`]
    /// bytes, and returns how the command ended. A `sink` that takes its time holds
    /// the command up. Output that descendants still hold when the command has ended
    /// is read for at most [`DRAIN`] more.
    ///
    /// # Errors
    /// When waiting for output fails.
    pub fn each(mut self, sink: &mut dyn FnMut(Stream, &[u8])) -> io::Result<Status> {
        let mut buffer = vec![0; CHUNK];
        let mut ended: Option<Instant> = None;
        let mut left_over = LEFT_OVER;
        while self.sources.iter().any(|(_, source)| source.is_some()) && left_over > 0 {
            let left = ended.map(|ended| DRAIN.saturating_sub(ended.elapsed()));
            let late = left == Some(Duration::ZERO);
            let ready = self.ready(left)?;
            for ((stream, source), _) in
                self.sources.iter_mut().zip(&ready).filter(|(_, ready)| **ready)
            {
                let length = source.as_mut().map_or(Ok(0), |source| source.read(&mut buffer));
                match length {
                    Ok(0) => *source = None,
                    Ok(length) => {
                        sink(*stream, buffer.get(..length).unwrap_or_default());
                        left_over -= if late { length.min(left_over) } else { 0 };
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // A terminal that nobody has open any more.
                    Err(_) => *source = None,
                }
            }
            if ended.is_none() && ready.last() == Some(&true) {
                ended = Some(Instant::now());
            }
            if late && !ready.contains(&true) {
                break;
            }
        }
        // What is still written has no reader, as if a terminal had been closed.
        self.sources.clear();
        Ok(self.process.wait())
    }

    /// Which sources can be read, and at last, whether the process has ended; that
    /// is not asked any more when `left` says that it has.
    fn ready(&self, left: Option<Duration>) -> io::Result<Vec<bool>> {
        let mut waited: Vec<_> =
            self.sources.iter().map(|(_, source)| source.as_ref().map(lent)).collect();
        if left.is_none() {
            waited.push(Some(self.process.child.descriptor()));
        }
        session::readable(&waited, left)
    }
}
