//! What a sandbox refused, which rule refused it, and which would allow it.

use crate::decide::{Operation, Verdict, decide};
use crate::origin::Origin;
use crate::path::{AbsPath, Quoted};
use crate::profile::Profile;

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attempted {
    /// Open or list.
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
        }
    }
}

/// A refusal of the sandbox: without it, the user could have done this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What.
    pub attempted: Attempted,
    /// On what, links resolved.
    pub path: AbsPath,
    /// The name of the process that tried first.
    pub program: String,
    /// Its number, outside.
    pub process: i32,
    /// How often.
    pub count: u32,
    /// The rule that refuses it, in words.
    pub rule: String,
    /// Where that is written; nothing when no rule covers it.
    pub origin: Option<Origin>,
    /// The option of `run` and its path that would allow it: `write` or `read`.
    pub allow: (&'static str, AbsPath),
}

impl Denial {
    /// The option as it is written on a command line.
    pub fn option(&self) -> String {
        let (option, path) = &self.allow;
        let pattern = path.as_bytes().iter().any(|byte| b"*?[{".contains(byte));
        let literally = if pattern { "path:" } else { "" };
        format!("--{option} {literally}{}", Quoted(path.as_bytes()))
    }
}

/// The profile's refusal of an attempt, and what would allow it; nothing when the
/// profile allows it. `exists` says whether there is something at the path: a rule
/// for a name that does not exist yet cannot be mounted, its directory can.
pub fn refusal(
    profile: &Profile,
    attempted: Attempted,
    path: &AbsPath,
    exists: bool,
) -> Option<(Verdict, (&'static str, AbsPath))> {
    let operation = match attempted {
        Attempted::Read | Attempted::Execute => Operation::Read(path),
        Attempted::Remove => Operation::Remove(path),
        Attempted::Write | Attempted::Create | Attempted::Change => Operation::Write(path),
    };
    let verdict = decide(profile, operation);
    if verdict.allowed {
        return None;
    }
    let above = || path.parent().unwrap_or_else(|| path.clone());
    let allow = match attempted {
        Attempted::Read | Attempted::Execute => ("read", path.clone()),
        Attempted::Write | Attempted::Change if exists => ("write", path.clone()),
        _ => ("write", above()),
    };
    Some((verdict, allow))
}
