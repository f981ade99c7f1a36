//! What a sandbox refused, which rule refused it, and which would allow it.

use std::fmt;

use crate::decide::{Operation, Verdict, decide};
use crate::origin::Origin;
use crate::path::{AbsPath, Quoted};
use crate::profile::Profile;
use crate::resolve::OWN;

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attempted {
    /// Open, list, or look at.
    Read,
    /// Execute.
    Execute,
    /// Write, or create by opening.
    Write,
    /// Create a name.
    Create,
    /// Remove, rename, or replace a name.
    Remove,
    /// Change mode, owner, times or other attributes.
    Change,
    /// Connect or send to.
    Connect,
}

impl Attempted {
    /// One word for it, lower case.
    pub fn word(self) -> &'static str {
        match self {
            Attempted::Read => "read",
            Attempted::Execute => "execute",
            Attempted::Write => "write",
            Attempted::Create => "create",
            Attempted::Remove => "remove",
            Attempted::Change => "change",
            Attempted::Connect => "connect",
        }
    }
}

/// What something was attempted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A file, links resolved.
    Path(AbsPath),
    /// A unix socket, links resolved.
    Socket(AbsPath),
    /// A unix socket with a name that is no file.
    AbstractSocket(Vec<u8>),
    /// `HOST:PORT`.
    Host(String),
}

impl Target {
    /// As text: a path, `@NAME` or `HOST:PORT`, in any bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Target::Path(path) | Target::Socket(path) => path.as_bytes().to_vec(),
            Target::AbstractSocket(name) => [b"@", &name[..]].concat(),
            Target::Host(host) => host.as_bytes().to_vec(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host(host) => f.write_str(host),
            other => Quoted(&other.bytes()).fmt(f),
        }
    }
}

/// The smallest rule that would allow something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allow {
    /// `--read PATH`.
    Read(AbsPath),
    /// `--write PATH`.
    Write(AbsPath),
    /// `--allow-unix-socket PATH`.
    Socket(AbsPath),
    /// `--net RULE`.
    Net(String),
}

impl Allow {
    /// The option of `run`, without dashes.
    pub fn option(&self) -> &'static str {
        match self {
            Allow::Read(_) => "read",
            Allow::Write(_) => "write",
            Allow::Socket(_) => "allow-unix-socket",
            Allow::Net(_) => "net",
        }
    }

    /// The value of that option, in any bytes.
    pub fn value(&self) -> Vec<u8> {
        match self {
            Allow::Read(path) | Allow::Write(path) if is_pattern(path.as_bytes()) => {
                [b"path:", path.as_bytes()].concat()
            }
            Allow::Read(path) | Allow::Write(path) | Allow::Socket(path) => {
                path.as_bytes().to_vec()
            }
            Allow::Net(rule) => rule.as_bytes().to_vec(),
        }
    }
}

/// As it is written on a command line.
impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allow::Net(rule) => write!(f, "--net {rule}"),
            other => write!(f, "--{} {}", other.option(), Quoted(&other.value())),
        }
    }
}

/// Whether a path would be read as a pattern.
fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[{".contains(byte))
}

/// A refusal of the sandbox: without it, the user could have done this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Its number, from 0, in the order of first attempts.
    pub sequence: u64,
    /// What.
    pub attempted: Attempted,
    /// On what.
    pub target: Target,
    /// The name of the process that tried first; empty when it is not known.
    pub program: String,
    /// Its number, outside; nothing when it is not known.
    pub process: Option<i32>,
    /// The command of a session that it descends from; nothing when it is not known.
    pub command: Option<u64>,
    /// How often.
    pub count: u32,
    /// The rule that refuses it, in words.
    pub rule: String,
    /// Where that is written; nothing when no rule covers it.
    pub origin: Option<String>,
    /// What would allow it; nothing when no single rule does.
    pub allow: Option<Allow>,
    /// What can be allowed alone, once there is something, where `allow` opens much more.
    pub narrower: Option<AbsPath>,
    /// Whether it is a place where credentials are kept.
    pub secret: bool,
}

/// The profile's refusal of an attempt on a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule.
    pub verdict: Verdict,
    /// What would allow it.
    pub allow: Option<Allow>,
    /// Whether it is a place where credentials are kept.
    pub secret: bool,
}

/// Whether no rule counts against one that was written there.
fn is_final(origin: Option<&Origin>) -> bool {
    origin.is_some_and(|origin| *origin == OWN || origin.is_requirement())
}

/// Whether a rule for a directory opens much more than one thing in it: the root, what lies
/// right below it, the home, and what that is in.
pub fn is_wide(directory: &AbsPath, home: Option<&AbsPath>) -> bool {
    directory.depth() < 2 || home.is_some_and(|home| home.starts_with(directory))
}

/// The profile's refusal of an attempt on a file; nothing when it is allowed. `exists`
/// says whether there is something at the path: a rule for a name that does not exist
/// yet cannot be mounted, its directory can.
pub fn refusal(
    profile: &Profile,
    attempted: Attempted,
    path: &AbsPath,
    exists: bool,
) -> Option<Refusal> {
    let operation = match attempted {
        Attempted::Read | Attempted::Execute | Attempted::Connect => Operation::Read(path),
        Attempted::Remove => Operation::Remove(path),
        Attempted::Write | Attempted::Create | Attempted::Change => Operation::Write(path),
    };
    let verdict = decide(profile, operation);
    if verdict.allowed {
        return None;
    }
    let above = || path.parent().unwrap_or_else(|| path.clone());
    let allow = match attempted {
        _ if is_final(verdict.origin.as_ref()) => None,
        Attempted::Connect => Some(Allow::Socket(path.clone())),
        Attempted::Read | Attempted::Execute => Some(Allow::Read(path.clone())),
        Attempted::Write | Attempted::Change if exists => Some(Allow::Write(path.clone())),
        _ => Some(Allow::Write(above())),
    };
    let hides = verdict.rule.starts_with("deny ");
    let secret = hides && allow.is_some() && matches!(verdict.origin, Some(Origin::BuiltIn(_)));
    Some(Refusal { verdict, allow, secret })
}
