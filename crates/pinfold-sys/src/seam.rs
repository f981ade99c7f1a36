//! What goes into and comes out of a run, on every system.

use std::fmt;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use pinfold_policy::net::Secret;
use pinfold_policy::path::AbsPath;

use crate::descriptor::Owned;
use crate::numbers::scarce;

/// A command to run under a plan.
#[derive(Debug)]
pub struct Launch {
    /// Programs to try in order, absolute or relative to `directory`: one for a
    /// name with a separator, otherwise one per directory of the command's PATH.
    pub programs: Vec<Vec<u8>>,
    /// The argument vector, the name of the program first.
    pub arguments: Vec<Vec<u8>>,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// The working directory.
    pub directory: AbsPath,
    /// The directory that keeps what is taken away from protected paths. It is
    /// made when it is needed and must be out of the command's reach.
    pub kept: Option<AbsPath>,
    /// Who wants to hear of attempts; nobody for a run without a report. A command
    /// of a session is heard of by the witness of its [`Place`].
    pub witness: Option<Witness>,
    /// What attempts of this command, and of its descendants, are told with.
    pub mark: u64,
    /// What [`door`](crate::door) has opened for this run.
    pub door: Option<TcpListener>,
}

/// How much of what a command attempts is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What changes files, by names that start at the working directory or the root.
    Cheap,
    /// What changes files.
    Writes,
    /// That, and what opens or executes them.
    Opens,
    /// That, and questions about them.
    All,
}

/// Hears of attempts, on a thread of its own, while the process that makes one
/// waits. It cannot refuse: the kernel decides afterwards.
#[derive(Clone)]
pub struct Witness {
    /// What it hears of.
    pub level: Level,
    /// Gets every attempt, or says why there are none to be had.
    pub tell: std::sync::Arc<dyn Fn(Result<Attempt, Error>) + Send + Sync>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("level", &self.level).finish_non_exhaustive()
    }
}

/// What a process attempts with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Ask about it.
    Look,
    /// Open it to read it.
    Read,
    /// Execute it.
    Execute,
    /// Ask whether it can be written.
    Ask,
    /// Open what exists to write it.
    Write,
    /// Make a file without a name in this directory.
    Unnamed,
    /// Open it to write it; it need not exist.
    Create,
    /// Open it to read it; it need not exist.
    Ensure,
    /// Make a name that does not exist.
    Make,
    /// Make a directory that does not exist.
    MakeDirectory,
    /// Give something another name, this one, which may be taken.
    Arrive,
    /// Give what it names another name.
    Move,
    /// Remove the name of anything but a directory.
    Remove,
    /// Remove an empty directory.
    RemoveDirectory,
    /// Change owner, mode, times or other attributes.
    Change,
}

/// What an attempt is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A file.
    File {
        /// What is done with it.
        act: Act,
        /// As the process names it, made absolute.
        path: Vec<u8>,
        /// Whether a link at its end is followed.
        follows: bool,
        /// What has to exist for it: the name of something that gets another.
        source: Option<Vec<u8>>,
    },
    /// A unix socket that is connected to, as the process names it, made absolute.
    Socket(Vec<u8>),
    /// A unix socket that is connected to and has a name that is no file.
    AbstractSocket(Vec<u8>),
    /// An address that is connected or sent to.
    Address {
        /// Where to.
        address: SocketAddr,
        /// Whether by something else than a stream.
        datagrams: bool,
    },
}

/// One attempt of a process. Nothing about it is certain: another thread may
/// change the memory that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What.
    pub what: What,
    /// The number of the process, outside.
    pub process: i32,
    /// [`Launch::mark`] of the command that it descends from.
    pub mark: u64,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A unix socket.
    Socket,
    /// Anything else.
    Other,
}

/// Listening sockets for a proxy outside. All but the first need a network of the
/// command's own.
#[derive(Debug)]
pub struct OpenDoors {
    /// For programs that know of the proxy.
    pub proxy: TcpListener,
    /// Questions to a name server.
    pub names: Option<UdpSocket>,
    /// The same over TCP.
    pub names_stream: Option<TcpListener>,
    /// Connections to the captured ports of any address.
    pub captured: Vec<TcpListener>,
    /// With this, connections to `proxy` are introduced, and may be meant for anywhere:
    /// [`Introduction`](pinfold_policy::net::Introduction).
    pub secret: Option<Secret>,
}

impl OpenDoors {
    /// A door for programs that know of the proxy, and no other.
    pub fn only(proxy: TcpListener) -> OpenDoors {
        OpenDoors { proxy, names: None, names_stream: None, captured: Vec::new(), secret: None }
    }
}

/// Where the command finds its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// At this port of the loopback of a network of its own.
    Own(u16),
    /// On the loopback of the host, at the port of [`door`](crate::door).
    Host,
    /// There, and every connection is led to it.
    Led,
    /// Nowhere.
    NoProxy,
}

/// Which connections of a command come to its proxy, besides those to the proxy itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Captured {
    /// Those to these TCP ports, sorted.
    Ports(Vec<u16>),
    /// All over TCP but those to loopback.
    All,
}

/// What this process, outside of every sandbox, may do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Execute it.
    Execute,
    /// Change its mode and times.
    Own,
    /// Remove or rename what it names.
    Remove,
}

/// Why a program was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It, or what it needs to start, is not there.
    Missing,
    /// It may not be executed.
    Permission,
    /// It is no program.
    Format,
    /// Somebody is writing to it.
    Busy,
    /// Arguments and environment are too long.
    TooLong,
    /// Another reason.
    Otherwise,
}

/// Something that a host ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Open files.
    Files,
    /// Processes.
    Processes,
    /// Memory.
    Memory,
}

/// One ingredient of a sandbox, as `doctor` finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// Whether it works.
    pub works: bool,
    /// Whether nothing can be confined without it.
    pub needed: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines, 0 for not known.
    pub rows: u16,
    /// Characters in a line, 0 for not known.
    pub columns: u16,
}

/// Gets the doors of a plan that has some; whether they are served.
pub type Opened = Box<dyn FnOnce(OpenDoors) -> bool + Send>;

/// Where a session begins.
#[derive(Debug)]
pub struct Place {
    /// The working directory of the first process.
    pub directory: AbsPath,
    /// As for [`Launch::kept`].
    pub kept: Option<AbsPath>,
    /// As for [`Launch::witness`], for all commands.
    pub witness: Option<Witness>,
    /// As for [`Launch::door`].
    pub door: Option<TcpListener>,
}

/// How a session went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The limit that ended it, if one did.
    pub exceeded: Option<Exceeded>,
    /// What its commands used.
    pub usage: Usage,
    /// As in [`Ended::appeared`].
    pub appeared: Vec<Appeared>,
}

/// What a command of a session reads and writes.
#[derive(Debug)]
pub enum Standard {
    /// Standard input, output and error.
    Descriptors([Owned; 3]),
    /// A terminal of its own.
    Terminal(Size),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its own exit status or the signal that killed it.
    pub status: Status,
    /// The limit that was exceeded, if one was: then pinfold killed the command.
    pub exceeded: Option<Exceeded>,
    /// What the command and its descendants used.
    pub usage: Usage,
    /// What appeared at protected or denied paths, and what was done about it.
    pub appeared: Vec<Appeared>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this status, 0 to 255 on Unix.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
}

impl Status {
    /// The exit status that mirrors this end: a death by signal *n* is 128+*n*.
    pub fn code(self) -> i32 {
        match self {
            Status::Exited(code) => code,
            Status::Signaled(signal) => 128 + signal,
        }
    }
}

/// A limit that a command ran into and did not survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// `limits.wall_time`.
    WallTime,
    /// `limits.memory`.
    Memory,
    /// `limits.processes`.
    Processes,
}

/// Resources that a command and its descendants used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor in the program.
    pub user: Duration,
    /// Time on a processor in the kernel.
    pub system: Duration,
    /// The largest resident set of one process, in bytes.
    pub resident: u64,
}

/// Something that appeared at a watched path while the command ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appeared {
    /// Where.
    pub path: AbsPath,
    /// What was done.
    pub handling: Handling,
}

/// What was done about something that appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It was taken away; it is kept at this path, outside of the sandbox.
    TakenAway {
        /// Where it is now.
        kept: AbsPath,
    },
    /// It was made read-only or unreadable for the command.
    Covered,
    /// Nothing could be done about it, for this reason.
    Failed(String),
}

/// Why a command could not be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The host refuses an ingredient of the mechanism as a whole.
    Closed {
        /// What was attempted, for example `create a user namespace`.
        attempted: String,
        /// The error number of the system.
        code: i32,
    },
    /// A path is not what the plan says: it changed since, or is out of reach.
    Path {
        /// What was attempted, for example `protect "/project/.git/hooks"`.
        attempted: String,
        /// The error number of the system.
        code: i32,
    },
    /// The working directory cannot be entered.
    Directory {
        /// The directory.
        directory: AbsPath,
        /// The error number of the system.
        code: i32,
    },
    /// The program could not be executed.
    Execute {
        /// The error number of the system.
        code: i32,
    },
    /// This version does not do that on this system.
    Unsupported {
        /// What was attempted.
        attempted: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Something has to be prepared once, and was not.
    Unprepared {
        /// What was attempted.
        attempted: String,
        /// How to prepare it.
        remedy: &'static str,
    },
    /// Anything else.
    System {
        /// What was attempted.
        attempted: String,
        /// The error number of the system.
        code: i32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed { attempted, code }
            | Error::Path { attempted, code }
            | Error::System { attempted, code } => {
                write!(f, "cannot {attempted}: {}", describe(*code))
            }
            Error::Directory { directory, code } => {
                write!(f, "cannot enter the working directory {directory}: {}", describe(*code))
            }
            Error::Unsupported { attempted, .. } => {
                write!(f, "cannot {attempted}: this version does not do that on {SYSTEM}")
            }
            Error::Unprepared { attempted, .. } => write!(f, "cannot {attempted}"),
            Error::Execute { code } => write!(f, "cannot execute the program: {}", describe(*code)),
        }
    }
}

impl Error {
    /// The error number of the system, if it is the system's error.
    pub fn code(&self) -> Option<i32> {
        match self {
            Error::Closed { code, .. }
            | Error::Path { code, .. }
            | Error::Directory { code, .. }
            | Error::Execute { code }
            | Error::System { code, .. } => Some(*code),
            Error::Unsupported { .. } | Error::Unprepared { .. } => None,
        }
    }

    /// Whether the host closes the mechanism, rather than having run out of
    /// something: another attempt would end in the same way.
    pub fn is_for_good(&self) -> bool {
        matches!(self, Error::Closed { code, .. } if scarce(*code).is_none())
    }
}

/// What this system is called.
const SYSTEM: &str = std::env::consts::OS;

impl std::error::Error for Error {}

/// The system's own words for an error number, without the number.
pub fn describe(code: i32) -> String {
    let text = std::io::Error::from_raw_os_error(code).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => format!("error {code}"),
    }
}
