//! What Seatbelt cannot hold.

use crate::decide;
use crate::gap::Gap;
use crate::host::{MacHost, PathKind};
use crate::origin::Origin;
use crate::path::AbsPath;
use crate::profile::{Access, FsRule, FsTarget, NetAccess, Profile};

/// The gaps that do not depend on how the rules are written down.
pub(super) fn of_mechanism(profile: &Profile, host: &MacHost) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (path, origin) in &profile.filesystem.private {
        gaps.push(gap(
            "private-tmp",
            format!("private {path}"),
            Some(origin.clone()),
            "macOS cannot show a directory of the command's own in its place",
            "set private_tmp = false and let TMPDIR name a directory of the workspace",
        ));
    }
    for rule in &profile.filesystem.rules {
        if let FsTarget::Tree(path) = &rule.target
            && replaceable_parent(path, profile, host)
        {
            gaps.push(gap(
                "moved-into-place",
                rule.to_string(),
                Some(rule.origin.clone()),
                "a directory above it does not exist, and a tree made elsewhere can be moved there",
                "make the directory first",
            ));
        }
    }
    let loopback = match profile.network.allow_local_binding {
        _ if profile.network.access == NetAccess::Open => None,
        // Closed is what was asked for.
        Some(false) => None,
        Some(true) => Some((
            "macOS has one loopback for all: the host's services are reached, and others reach servers inside",
            "set allow_local_binding = false, or accept that",
        )),
        None => Some((
            "macOS has one loopback for all, so it is closed with the network",
            "set allow_local_binding, to false where nothing listens",
        )),
    };
    if let Some((reason, remedy)) = loopback {
        let rule = String::from("loopback of the command's own");
        gaps.push(gap("loopback", rule, None, reason, remedy));
    }
    gaps.push(gap(
        "survivors",
        String::from("the end of the run"),
        None,
        "a process that leaves its group, and whose parent ends within moments, is not found when the command ends",
        "accept that, or have the command wait for what it starts",
    ));
    let limits = &profile.limits;
    if limits.tmp_size.is_some() {
        gaps.push(gap(
            "tmp-size",
            String::from("limits.tmp_size"),
            None,
            "there is no private directory to bound",
            "remove the limit",
        ));
    }
    for (set, rule) in [
        (limits.processes.is_some(), "limits.processes"),
        (limits.memory.is_some(), "limits.memory"),
    ] {
        if set {
            gaps.push(gap(
                rule.rsplit('.').next().unwrap_or(rule),
                String::from(rule),
                None,
                "macOS has no limit for a tree of processes",
                "remove the limit",
            ));
        }
    }
    overlapping(&profile.filesystem.rules, &mut gaps);
    gaps
}

/// Whether a directory above a path is missing and the command may make it.
fn replaceable_parent(path: &AbsPath, profile: &Profile, host: &MacHost) -> bool {
    let Some(PathKind::Missing { nearest }) = host.paths.get(path).map(|fact| &fact.kind) else {
        return false;
    };
    path.ancestors()
        .skip(1)
        .take_while(|above| above != nearest)
        .any(|above| decide::access(&profile.filesystem, &above).0 == Access::Write)
}

/// Patterns that differ and may cover the same path: the stricter holds.
fn overlapping(rules: &[FsRule], gaps: &mut Vec<Gap>) {
    let globs = || {
        rules.iter().filter_map(|rule| match &rule.target {
            FsTarget::Glob(glob) => Some((rule, &glob.base)),
            FsTarget::Tree(_) => None,
        })
    };
    for (rule, base) in globs() {
        let differs = globs().any(|(other, above)| {
            other.access > rule.access && (base.starts_with(above) || above.starts_with(base))
        });
        if differs {
            gaps.push(gap(
                "overlapping-patterns",
                rule.to_string(),
                Some(rule.origin.clone()),
                "another pattern with another access may cover the same path, and then the stricter holds",
                "give both patterns the same access, or directories of their own",
            ));
        }
    }
}

/// A pattern with bytes that have no certain expression.
pub(super) fn inexact(rule: &FsRule) -> Gap {
    gap(
        "pattern",
        rule.to_string(),
        Some(rule.origin.clone()),
        "it has characters that Seatbelt's expressions cannot hold exactly; more is refused than it says",
        "use letters, digits and simple punctuation in the pattern and its directory",
    )
}

/// A tree that is an exception from a match around it.
pub(super) fn exception(rule: &FsRule, path: &AbsPath) -> Gap {
    gap(
        "pattern-exception",
        rule.to_string(),
        Some(rule.origin.clone()),
        &format!("the rule for {path} inside a match differs, and then the stricter of both holds"),
        "choose a pattern that does not match around that path",
    )
}

fn gap(
    name: &'static str,
    rule: String,
    origin: Option<Origin>,
    reason: &str,
    remedy: &str,
) -> Gap {
    Gap { name, rule, origin, reason: reason.into(), remedy: remedy.into() }
}
