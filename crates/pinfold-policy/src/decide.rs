//! The specification: what a profile says about one operation, and which rule
//! says it. Plans are checked against this, not the other way round.
//!
//! The rule whose path has the most components wins; on a tie deny wins over
//! write, and write over read. A pattern counts as a rule for the deepest path
//! that it matches. What no rule covers is denied.

use std::fmt;

use crate::environment::{self, Fate};
use crate::glob::Matcher;
use crate::net::{self, Host};
use crate::origin::Origin;
use crate::path::AbsPath;
use crate::profile::{
    Access, Confinement, FsPolicy, FsRule, FsTarget, HostAction, NetAccess, Profile,
};

/// One thing that a command may try. Paths are what they are: links resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Open for reading, list, look at, execute.
    Read(&'a AbsPath),
    /// Create, change, or replace the content of.
    Write(&'a AbsPath),
    /// Remove, rename or replace the name itself.
    Remove(&'a AbsPath),
    /// See this variable of the caller.
    Variable(&'a [u8]),
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that decides, in words, for example `deny "/srv/secret"`.
    pub rule: String,
    /// Where that rule was written; nothing when no rule covers the operation.
    pub origin: Option<Origin>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.allowed { "allowed" } else { "denied" };
        match &self.origin {
            Some(origin) => write!(f, "{word} by {} ({origin})", self.rule),
            None => write!(f, "{word}: {}", self.rule),
        }
    }
}

/// What the profile says about an operation.
pub fn decide(profile: &Profile, operation: Operation<'_>) -> Verdict {
    if profile.confinement == Confinement::Unconfined {
        return Verdict {
            allowed: true,
            rule: String::from("no confinement"),
            origin: Some(Origin::BuiltIn(":danger-full-access")),
        };
    }
    match operation {
        Operation::Read(path) => {
            path_verdict(&profile.filesystem, path, |access| access != Access::Deny)
        }
        Operation::Write(path) => {
            path_verdict(&profile.filesystem, path, |access| access == Access::Write)
        }
        Operation::Remove(path) => removal(&profile.filesystem, path),
        Operation::Variable(name) => variable(profile, name),
    }
}

/// The access to a path and the rule that decides; without a rule it is denied.
/// A private directory is writable unless a rule for something in it says otherwise.
pub fn access<'p>(policy: &'p FsPolicy, path: &AbsPath) -> (Access, Option<&'p FsRule>) {
    let rule = deciding_rule(policy, path);
    (rule.map_or(Access::Deny, |(_, rule)| rule.access), rule.map(|(_, rule)| rule))
}

/// The rule that decides about a path, and how many components its path has.
fn deciding_rule<'p>(policy: &'p FsPolicy, path: &AbsPath) -> Option<(usize, &'p FsRule)> {
    // Rules are sorted, trees before patterns.
    let trees = policy.rules.partition_point(|rule| matches!(rule.target, FsTarget::Tree(_)));
    let (trees, patterns) = policy.rules.split_at(trees);
    let patterns = patterns.iter().filter_map(|rule| match &rule.target {
        FsTarget::Glob(glob) if path.starts_with(&glob.base) => {
            Matcher::new(glob).deepest_match(path).map(|found| (found.depth(), rule))
        }
        _ => None,
    });
    deepest_tree(trees, path)
        .into_iter()
        .chain(patterns)
        .max_by_key(|(depth, rule)| (*depth, rule.access))
}

/// The rule for the deepest tree that holds a path.
fn deepest_tree<'p>(trees: &'p [FsRule], path: &AbsPath) -> Option<(usize, &'p FsRule)> {
    let found = path.deepest_above(trees, |rule| rule.target.directory())?;
    Some((found.target.directory().depth(), found))
}

/// Whether a rule for this path changes nothing there: it may be written, and what is
/// around it as well.
pub(crate) fn is_idle(policy: &FsPolicy, path: &AbsPath) -> bool {
    let around = path.parent().filter(|above| private(policy, above).is_none());
    [Some(path.clone()), around]
        .iter()
        .all(|path| path.as_ref().is_some_and(|path| access(policy, path).0 == Access::Write))
}

/// The private directory that a path lies in, unless a rule inside it decides.
pub(crate) fn private<'p>(policy: &'p FsPolicy, path: &AbsPath) -> Option<&'p (AbsPath, Origin)> {
    let private = policy.private.iter().find(|(directory, _)| path.starts_with(directory))?;
    match deciding_rule(policy, path) {
        Some((depth, _)) if depth > private.0.depth() => None,
        _ => Some(private),
    }
}

fn path_verdict(policy: &FsPolicy, path: &AbsPath, allows: fn(Access) -> bool) -> Verdict {
    if let Some((directory, origin)) = private(policy, path) {
        let rule = format!("private {directory}");
        return Verdict { allowed: true, rule, origin: Some(origin.clone()) };
    }
    match access(policy, path) {
        (access, Some(rule)) => Verdict {
            allowed: allows(access),
            rule: rule.to_string(),
            origin: Some(rule.origin.clone()),
        },
        (_, None) => {
            Verdict { allowed: false, rule: format!("no rule covers {path}"), origin: None }
        }
    }
}

/// A name can be removed where its directory is writable, it is writable itself, and
/// nothing at or below it has a rule that says otherwise or is private.
fn removal(policy: &FsPolicy, path: &AbsPath) -> Verdict {
    let private_below = policy.private.iter().find(|(private, _)| private.starts_with(path));
    if let Some((directory, origin)) = private_below {
        let rule = format!("private {directory}");
        return Verdict { allowed: false, rule, origin: Some(origin.clone()) };
    }
    let held = policy.rules.iter().find(|rule| match &rule.target {
        FsTarget::Tree(tree) => tree.starts_with(path) && !is_idle(policy, tree),
        FsTarget::Glob(_) => false,
    });
    let held = held.filter(|_| private(policy, path).is_none());
    if let Some(rule) = held {
        return Verdict {
            allowed: false,
            rule: rule.to_string(),
            origin: Some(rule.origin.clone()),
        };
    }
    match path.parent() {
        Some(parent) => {
            let own = path_verdict(policy, path, |access| access == Access::Write);
            let above = path_verdict(policy, &parent, |access| access == Access::Write);
            if own.allowed { above } else { own }
        }
        None => path_verdict(policy, path, |_| false),
    }
}

fn variable(profile: &Profile, name: &[u8]) -> Verdict {
    let fate = environment::fate(&profile.environment, name);
    let origin = match fate {
        Fate::LetThrough | Fate::Given => Origin::Flag("--env".into()),
        _ => profile.environment.origin.clone(),
    };
    Verdict {
        allowed: matches!(fate, Fate::Passed | Fate::Set | Fate::LetThrough | Fate::Given),
        rule: fate.to_string(),
        origin: Some(origin),
    }
}

/// Whether a host and port may be reached, as far as the name or address says.
pub fn host(profile: &Profile, host: &Host, port: u16) -> Verdict {
    let policy = &profile.network;
    let verdict = net::decide_host(policy, host, port);
    let origin = match (policy.access, verdict.rule) {
        (NetAccess::Rules, rule) => rule.map(|rule| rule.origin.clone()),
        (NetAccess::Off | NetAccess::Open, _) => Some(policy.origin.clone()),
    };
    let allowed = verdict.action == HostAction::Allow;
    Verdict { allowed, rule: verdict.why(), origin }
}
