//! Linux plans: an ordered list of mounts, a system-call filter, and what to
//! watch while the command runs.

mod compile;
mod deputy;
mod gaps;
mod interest;
mod landlock;
mod mounts;

pub use compile::{PROXY_PORT, compile, wants_to_hear_of_sockets};
pub use deputy::{Deputy, Judge};
pub use interest::paths_of_interest;
pub use landlock::directories_to_list;

use std::time::Duration;

use crate::path::AbsPath;
use crate::profile::{Glob, Limits};

/// Everything `pinfold-sys` needs to know to confine one command on Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing but this wall-clock time (`:danger-full-access`).
    Unconfined(Option<Duration>),
    /// Mounts enforce.
    Namespaces(NamespacePlan),
    /// Landlock enforces.
    Landlock(LandlockPlan),
}

/// The plan of the `namespaces` mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePlan {
    /// How the file tree starts out.
    pub root: Root,
    /// Mounts, sorted by path, so that each directory comes before everything
    /// below it.
    pub mounts: Vec<Mount>,
    /// Paths that do not exist yet, or may be replaced by the host.
    pub watches: Vec<Watch>,
    /// Patterns whose later matches are looked after in the same way.
    pub patterns: Vec<Pattern>,
    /// Which network the command sees.
    pub network: Network,
    /// The way out through a proxy; nothing for none.
    pub doors: Option<Doors>,
    /// Whether the command may listen in a network of its own.
    pub servers: bool,
    /// The system-call filter.
    pub filter: Filter,
    /// Resource bounds.
    pub limits: Limits,
}

/// How the file tree of the command starts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The host's tree, made read-only in place.
    InPlace,
    /// An empty tree; only what `mounts` name exists. It ends up read-only.
    Empty,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, with no link anywhere in it but possibly the last name.
    pub path: AbsPath,
    /// What the plan expects to find there; anything else is an error.
    pub kind: MountKind,
    /// What to put there.
    pub action: MountAction,
}

/// What a mount point is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A directory.
    Directory,
    /// Anything that is not a directory or a link.
    File,
    /// A symbolic link, mounted on itself so that it cannot be replaced.
    Link,
    /// A unix socket, which its service may take away before it is mounted.
    Socket,
}

/// What a mount does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountAction {
    /// The host's own tree, writable.
    Write,
    /// The host's own tree, writable, mounted only so that the directory
    /// cannot be renamed or replaced (it holds something protected).
    Pin,
    /// The host's own tree, read-only.
    Read,
    /// Something empty of the same kind that cannot even be looked into. A
    /// directory that holds mounts further down lets one pass through.
    Mask,
    /// An empty private directory, writable by anyone inside.
    Private,
    /// A private `/dev`: the harmless devices, terminals, `shm`, `mqueue`.
    Devices,
    /// A fresh `/proc` of the command's own processes.
    Proc {
        /// Whether it is read-only: for user 0, whose files the kernel's own
        /// settings are.
        read_only: bool,
    },
    /// In an empty root only: a symbolic link with this target.
    Link(Vec<u8>),
    /// In an empty root only: a bare directory that leads to what is below it.
    Directory,
}

/// A path to look after while the command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The protected or denied path.
    pub path: AbsPath,
    /// The nearest directory above it that exists.
    pub nearest: AbsPath,
    /// What is done with whatever appears there.
    pub appears: Appears,
}

/// A pattern to look after while the command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The pattern.
    pub glob: Glob,
    /// What is done with a new match.
    pub appears: Appears,
    /// How many directories below the base it reaches; nothing is no bound.
    pub depth: Option<u32>,
    /// What matched before, sorted: nobody has made it during the run.
    pub existing: Vec<AbsPath>,
}

/// What happens to something that appears at a watched path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appears {
    /// It did not exist before: it is made read-only at once and taken away.
    TakeAway,
    /// It existed, so only the host can have replaced it: read-only again.
    Read,
    /// It is denied: masked at once.
    Mask,
}

/// Which network a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// One of its own with nothing but loopback.
    Own,
    /// The host's.
    Host,
}

/// Sockets that listen inside the command's network for a proxy outside. Every
/// address leads to loopback there, so a program that ignores the proxy meets
/// the same doors: name servers on port 53, and what is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// The port of the proxy on 127.0.0.1.
    pub proxy: u16,
    /// How connections come to the proxy that are meant for somewhere else.
    pub capture: Capture,
}

/// Which connections are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Those to these TCP ports on every address, sorted: something listens there, which the
    /// command can therefore not do itself.
    Ports(Vec<u16>),
    /// All but those to loopback: the supervisor hears of them and leads them to the
    /// proxy. At these ports, ranges from the first to the last, even loopback is the
    /// host's where nothing inside listens.
    All(Vec<(u16, u16)>),
}

/// What the system-call filter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Whether user namespaces may be created.
    pub user_namespaces: bool,
    /// Which sockets may be made.
    pub sockets: Sockets,
}

/// Which socket families a filter leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// Every ordinary family: the network namespace is the boundary.
    Ordinary,
    /// Unix sockets and TCP, which Landlock bounds.
    UnixAndTcp,
    /// Unix sockets only.
    UnixOnly,
}

/// The plan of the `landlock` mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LandlockPlan {
    /// What may be touched, sorted by path; nothing else may.
    pub grants: Vec<Grant>,
    /// What of the host's network the command reaches.
    pub reach: Reach,
    /// What the supervisor does with files in the command's place; nothing when
    /// Landlock's own rules are all there is to the profile's, or nothing can be done.
    pub deputy: Option<Deputy>,
    /// The system-call filter.
    pub filter: Filter,
    /// Resource bounds.
    pub limits: Limits,
}

/// A path, with everything below it, that a command may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The path, with no link anywhere in it.
    pub path: AbsPath,
    /// What the plan expects to find there; anything else is an error.
    pub kind: MountKind,
    /// What may be done with it.
    pub access: GrantAccess,
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantAccess {
    /// Read, list and execute.
    Read,
    /// Everything.
    Write,
    /// Read, write and control a device, where the host has it.
    Device,
    /// Everything in the directory of shared memory, where the host has it.
    SharedMemory,
}

/// What of the host's network a command reaches that has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it.
    Everything,
    /// The proxy: the supervisor connects every TCP socket to it, and Landlock lets the
    /// command connect none.
    Proxy,
    /// Nothing.
    Nothing,
}
