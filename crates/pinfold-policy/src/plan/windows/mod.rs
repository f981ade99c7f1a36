//! A profile in Windows' own terms: whose token, with which restrictions, and
//! the access control entries that `pinfold setup` must have prepared. Nothing
//! here changes an access control list for a single command.
//!
//! Entries written on an object itself come before inherited ones, and denials
//! before grants. So one entry per rule, inherited by what is below, lets the
//! most specific rule win.

mod compile;
mod digest;
mod gaps;
mod sid;
mod text;

pub mod block;
pub mod entries;
pub mod filters;
pub mod frame;
pub mod list;
pub mod order;
pub mod quote;
pub mod record;
pub mod setup;
pub mod wide;

pub use compile::compile;
use sid::capability;
pub use text::{pipe_sddl, render, sddl};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::path::AbsPath;

/// What will be enforced on Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing but this wall-clock time (`:danger-full-access`).
    Unconfined(Option<Duration>),
    /// A restricted token in a job.
    Confined(Confined),
}

/// All that a confined command gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Who runs the command.
    pub account: Account,
    /// How that account's token is restricted.
    pub token: Token,
    /// The entries that must be there before the command starts, sorted.
    pub entries: Vec<Entry>,
    /// Variables to set for the command.
    pub environment: BTreeMap<String, String>,
    /// Where its windows live.
    pub desktop: Desktop,
    /// The job that holds it and its descendants.
    pub job: Job,
    /// The port of the proxy on loopback, when the command has one.
    pub proxy_port: Option<u16>,
}

/// Who runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// The caller.
    Caller,
    /// The sandbox account without a network.
    Offline,
    /// The sandbox account that reaches the proxy's port and nothing else.
    Proxy,
}

/// How a token is made by `CreateRestrictedToken`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The bits of [`token_flags`].
    pub flags: u32,
    /// The restricting identifiers as text, sorted; the logon identifier is
    /// added when the token is made, because every logon has its own.
    pub restricting: Vec<String>,
}

/// Flags of `CreateRestrictedToken`.
pub mod token_flags {
    /// Remove every privilege but the one to pass through directories.
    pub const DISABLE_MAX_PRIVILEGE: u32 = 0x1;
    /// Make the token that of an ordinary user.
    pub const LUA_TOKEN: u32 = 0x4;
    /// Check the restricting identifiers for writing only.
    pub const WRITE_RESTRICTED: u32 = 0x8;
}

/// Access masks for files and directories.
pub mod mask {
    /// Remove or rename the object.
    pub const DELETE: u32 = 0x0001_0000;
    /// Read, list, execute, look at.
    pub const READ: u32 = 0x0012_00a9;
    /// Change in every way, the list itself and its owner included.
    pub const WRITE: u32 = 0x000d_0156;
    /// Read and change; no child is removed without a right of its own.
    pub const MODIFY: u32 = 0x0013_01bf;
    /// Everything.
    pub const ALL: u32 = 0x001f_01ff;
}

/// One access control entry of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The object; a link is itself the object, not where it leads.
    pub path: AbsPath,
    /// Whether it refuses or grants; refusals come first.
    pub kind: EntryKind,
    /// Whom it is about.
    pub trustee: Trustee,
    /// Which rights, as in [`mask`].
    pub mask: u32,
    /// What it covers.
    pub inherit: Inherit,
}

/// What an entry does with its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// Refuses them.
    Deny,
    /// Grants them.
    Allow,
}

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trustee {
    /// The local group of both sandbox accounts.
    Group,
    /// A capability, as the text of its identifier.
    Capability(String),
}

/// What an entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inherit {
    /// The object alone.
    Object,
    /// The object and everything below it.
    Tree,
}

/// Where a command's windows live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desktop {
    /// A desktop of its own: it neither sees nor sends messages to the user's windows.
    /// The window station is the caller's, since only administrators name another; the
    /// job keeps the command from its clipboard.
    Private,
}

/// The bounds of the job object; the job always kills what is in it when its
/// last handle closes, and nothing breaks away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Processes alive at once.
    pub processes: Option<u32>,
    /// Committed memory in bytes.
    pub memory: Option<u64>,
    /// Wall-clock time until all are killed.
    pub wall_time: Option<Duration>,
}

/// The local group of both sandbox accounts.
pub const GROUP: &str = "PinfoldSandbox";
/// The account without a network.
pub const OFFLINE: &str = "PinfoldOffline";
/// The account that only reaches the proxy.
pub const PROXY: &str = "PinfoldProxy";
/// The loopback port of the proxy that set-up opens unless it is told another.
pub const PROXY_PORT: u16 = 41_830;
