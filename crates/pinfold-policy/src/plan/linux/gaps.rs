//! What the `landlock` mechanism does not hold.

use std::collections::BTreeMap;

use super::landlock::{Carved, KNOWS_PORTS};
use crate::gap::Gap;
use crate::host::LinuxHost;
use crate::origin::Origin;
use crate::profile::{Access, FsTarget, NetAccess, Profile};

const NAMESPACES: &str =
    "open user namespaces (\"pinfold doctor\" says how) and use the namespaces mechanism";

fn gap(name: &'static str, rule: &str, origin: Option<&Origin>, reason: &str) -> Gap {
    Gap {
        name,
        rule: rule.into(),
        origin: origin.cloned(),
        reason: reason.into(),
        remedy: NAMESPACES.into(),
    }
}

/// Gaps of the file rules.
pub(super) fn files(profile: &Profile, host: &LinuxHost, carved: &[Carved]) -> Vec<Gap> {
    let policy = &profile.filesystem;
    let mut gaps = vec![gap(
        "attributes",
        "read-only files",
        None,
        "Landlock does not keep the command from changing modes, times and extended attributes of its user's files",
    )];
    // One gap for all the rules that one place wrote.
    let mut denied: BTreeMap<&Origin, Vec<String>> = BTreeMap::new();
    for rule in policy.rules.iter().filter(|rule| rule.access == Access::Deny) {
        denied.entry(&rule.origin).or_default().push(rule.to_string());
    }
    for (origin, rules) in denied {
        let rule = match &rules[..] {
            [rule] => rule.clone(),
            [rule, rest @ ..] => format!("{rule} and {} more", rest.len()),
            [] => continue,
        };
        let reason =
            "Landlock hides content only: that something is there, and its attributes, can be seen";
        gaps.push(gap("existence", &rule, Some(origin), reason));
    }
    for rule in &policy.rules {
        if matches!(rule.target, FsTarget::Glob(_)) && rule.access != Access::Write {
            let reason = "files that match only later are not covered";
            gaps.push(gap("later-matches", &rule.to_string(), Some(&rule.origin), reason));
        }
    }
    for (path, origin) in &policy.private {
        let reason =
            "without a mount of its own the directory is the host's, as the other rules say";
        let rule = format!("private {path}");
        let remedy = "set private_tmp = false, and TMPDIR to a directory that may be written";
        gaps.push(Gap {
            remedy: remedy.into(),
            ..gap("private-directory", &rule, Some(origin), reason)
        });
    }
    let gap = |carved| carved_gap(policy_origin(profile, carved), carved, host.notification);
    gaps.extend(carved.iter().filter_map(gap));
    let versions = [
        (2, "no file can be moved to another directory"),
        (3, "files that may only be read can be cut off with truncate(2)"),
        (5, "ioctl(2) on devices is not restricted"),
    ];
    for (version, reason) in versions {
        if host.landlock_abi < version {
            gaps.push(old(version, "file rules", reason));
        }
    }
    gaps
}

fn policy_origin<'p>(profile: &'p Profile, carved: &Carved) -> Option<&'p Origin> {
    crate::decide::access(&profile.filesystem, &carved.path).1.map(|rule| &rule.origin)
}

fn carved_gap(origin: Option<&Origin>, carved: &Carved, helped: bool) -> Option<Gap> {
    let (access, path) = (carved.access, &carved.path);
    let reason = match (helped, access, carved.itself) {
        (true, Access::Write, Access::Read) => return None,
        (true, ..) => {
            "something in it is denied, so programs that appear in it later cannot be executed"
        }
        (false, Access::Write, Access::Deny) => {
            "something in it is denied, so it cannot be listed, and no entry of it can be made, removed or renamed"
        }
        (false, Access::Write, _) => {
            "something in it is protected, so no entry of it can be made, removed or renamed"
        }
        (false, ..) => {
            "something in it is denied, so it cannot be listed, and entries that appear later cannot be read"
        }
    };
    Some(gap("entries", &format!("{access} {path}"), origin, reason))
}

fn old(version: u32, rule: &str, reason: &str) -> Gap {
    Gap {
        remedy: format!("use a kernel with Landlock version {version} or later"),
        ..gap("landlock-version", rule, None, reason)
    }
}

/// Gaps about processes and what they share.
pub(super) fn processes(profile: &Profile, host: &LinuxHost) -> Vec<Gap> {
    let mut gaps = vec![
        gap(
            "processes-visible",
            "processes of the host",
            None,
            "without a namespace of its own the command sees that they run, and their arguments",
        ),
        gap(
            "survivors",
            "the end of the run",
            None,
            "processes that the command left in the background live on when pinfold itself is killed",
        ),
        gap(
            "shared-memory",
            "System V and POSIX IPC",
            None,
            "without a namespace of its own the command shares it with its user",
        ),
    ];
    if profile.limits.processes.is_some() {
        let reason = "without a namespace every process of the user counts";
        gaps.push(gap("processes", "limits.processes", None, reason));
    }
    if profile.user_namespaces {
        let reason = "this mechanism is for hosts that have none";
        gaps.push(gap("user-namespaces", "user_namespaces = true", None, reason));
    }
    if host.landlock_abi == 0 {
        gaps.push(Gap {
            remedy: "boot with landlock in the lsm= list, or open user namespaces".into(),
            ..gap("landlock", "any rule", None, "this kernel has no Landlock, or it is turned off")
        });
    }
    if host.landlock_abi < 6 {
        let reason = "signals and abstract sockets reach the other processes of the user";
        gaps.push(old(6, "processes of the host", reason));
    }
    gaps
}

/// Gaps of the network rules.
pub(super) fn network(profile: &Profile, host: &LinuxHost) -> Vec<Gap> {
    let policy = &profile.network;
    let mut gaps = Vec::new();
    let reason =
        "Landlock does not keep the command from connecting to sockets of services by path";
    gaps.push(gap("unix-sockets", "sockets of the host", Some(&policy.origin), reason));
    if policy.access == NetAccess::Open {
        return gaps;
    }
    let (rule, reason) = match policy.access {
        NetAccess::Off => {
            ("network off", "without a network of its own the command has no loopback either")
        }
        _ => (
            "network by rules",
            "without a network of its own the command has no loopback, and no UDP: names are resolved over TCP",
        ),
    };
    if policy.allow_local_binding != Some(false) {
        gaps.push(gap("loopback", rule, Some(&policy.origin), reason));
    }
    let reason = match (policy.access, host.landlock_abi < KNOWS_PORTS, host.notification) {
        (NetAccess::Rules, true, _) => "this kernel's Landlock does not know of connections",
        (NetAccess::Rules, _, false) => "inside another sandbox nobody can hear of connections",
        _ => return gaps,
    };
    let reason = format!("{reason}, so the network is off");
    gaps.extend(policy.hosts.iter().map(|rule| {
        gap("host-rules", &format!("host rule \"{}\"", rule.text), Some(&rule.origin), &reason)
    }));
    gaps
}
