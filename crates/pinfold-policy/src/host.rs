//! Facts about one machine, probed once by `pinfold-sys` and passed around as
//! data, so that a plan for any machine can be compiled on any other.

use std::collections::BTreeMap;

use crate::path::{AbsPath, PathStyle};

/// A system that plans are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Linux.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl System {
    /// How its paths are written.
    pub fn style(self) -> PathStyle {
        match self {
            System::Linux | System::MacOs => PathStyle::Posix,
            System::Windows => PathStyle::Windows,
        }
    }
}

/// What a path is, without following a link in its last name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Nothing is there; the fact carries the nearest ancestor that exists.
    Missing {
        /// The nearest existing ancestor.
        nearest: AbsPath,
    },
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Link {
        /// Where it leads in the end: absolute, links resolved. Nothing when it
        /// dangles or loops.
        target: Option<AbsPath>,
        /// Whether that is a directory.
        directory: bool,
    },
    /// A socket.
    Socket,
    /// A device or a pipe.
    Other,
    /// The path could not be examined, for want of permission.
    Unreadable,
}

/// What was found at one path that a profile names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFact {
    /// What is there.
    pub kind: PathKind,
    /// The path with links in its parent directories resolved; equal to the
    /// path that was asked for in the common case. The last name is kept.
    pub real: AbsPath,
}

/// One existing path that a pattern of the profile matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlobMatch {
    /// Index of the rule in `FsPolicy::rules`.
    pub rule: usize,
    /// What matched, links in parent directories resolved.
    pub path: AbsPath,
    /// Whether it is a directory.
    pub directory: bool,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// Anything that is not a directory or a link.
    File,
    /// A symbolic link.
    Link,
}

/// A Linux host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxHost {
    /// The effective user of the launcher.
    pub uid: u32,
    /// Whether namespaces can be made, or why not. The launch path assumes that
    /// they can and compiles again when the kernel refuses.
    pub namespaces: Result<(), String>,
    /// The Landlock version, 0 when there is none.
    pub landlock_abi: u32,
    /// Whether system-call filters can be installed.
    pub seccomp: bool,
    /// Whether system-call notification with descriptor injection works.
    pub notification: bool,
    /// Every path that the profile names, by the path that was asked for.
    pub paths: BTreeMap<AbsPath, PathFact>,
    /// Existing matches of the profile's patterns, sorted.
    pub glob_matches: Vec<GlobMatch>,
    /// Sockets of running services that the profile would show, sorted.
    pub sockets: Vec<AbsPath>,
    /// The entries of the directories that the `landlock` mechanism carves; see
    /// [`directories_to_list`](crate::plan::linux::directories_to_list).
    pub listings: BTreeMap<AbsPath, BTreeMap<Vec<u8>, EntryKind>>,
}

/// A macOS host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacHost {
    /// Every path that the profile names, by the path that was asked for. What
    /// is not listed is taken to be exactly where it was asked for.
    pub paths: BTreeMap<AbsPath, PathFact>,
}

/// A Windows host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsHost {
    /// What `pinfold setup` has prepared on this host.
    pub level: WindowsLevel,
    /// Every path that the profile names, by the path that was asked for. What
    /// is not listed is taken to exist exactly where it was asked for.
    pub paths: BTreeMap<AbsPath, PathFact>,
    /// Existing matches of the profile's patterns, sorted.
    pub glob_matches: Vec<GlobMatch>,
    /// Directories that everyone may write, sorted; a restricted token may too.
    pub world_writable: Vec<AbsPath>,
}

/// How much a Windows host has been prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowsLevel {
    /// Nothing: the command runs as the caller, under a restricted token.
    RestrictedToken,
    /// `pinfold setup` has made the two accounts.
    Account {
        /// The loopback port, above 0, that the proxy account may reach.
        proxy_port: u16,
    },
}
