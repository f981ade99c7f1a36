//! What Windows cannot hold.

use std::collections::BTreeMap;

use crate::decide;
use crate::gap::Gap;
use crate::host::{PathKind, WindowsHost, WindowsLevel};
use crate::origin::Origin;

use crate::profile::{Access, FsRule, FsTarget, LevelChoice, NetAccess, Profile};

const SETUP: &str = "run \"pinfold setup --accounts\" once: sandbox accounts hold it";

/// All gaps of a profile on a host.
pub(super) fn all(profile: &Profile, host: &WindowsHost) -> Vec<Gap> {
    let mut gaps = Vec::new();
    files(profile, host, &mut gaps);
    match host.level {
        WindowsLevel::RestrictedToken => as_the_caller(profile, &mut gaps),
        WindowsLevel::Account { .. } => as_an_account(profile, &mut gaps),
    }
    for (path, origin) in &profile.filesystem.private {
        gaps.push(gap(
            "private-tmp",
            format!("private {path}"),
            Some(origin),
            "Windows cannot show a directory of the command's own in its place",
            "set private_tmp = false and let TEMP name a directory of the workspace",
        ));
    }
    if profile.limits.tmp_size.is_some() {
        gaps.push(gap(
            "tmp-size",
            String::from("limits.tmp_size"),
            None,
            "there is no private directory to bound",
            "remove the limit",
        ));
    }
    for rule in profile.network.unix_sockets.iter() {
        gaps.push(gap(
            "unix-sockets",
            format!("socket {}", rule.path),
            Some(&rule.origin),
            "who may connect to a pipe or socket is up to the program that made it",
            "remove the rule",
        ));
    }
    gaps
}

fn files(profile: &Profile, host: &WindowsHost, gaps: &mut Vec<Gap>) {
    let rules = &profile.filesystem.rules;
    each_place(
        "missing-path",
        rules.iter().filter(|rule| missing(rule, host)),
        gaps,
        (
            "nothing is there that could carry an access control entry",
            "make it first, then run \"pinfold setup\"",
        ),
    );
    each_place(
        "replaced-file",
        rules.iter().filter(|rule| rule.access != Access::Write && is_file(rule, host)),
        gaps,
        (
            "an entry stays with its file, and one that the host puts in its place has none",
            "name its directory, or run \"pinfold setup\" again after such a change",
        ),
    );
    let patterns = rules.iter().filter(|rule| matches!(rule.target, FsTarget::Glob(_)));
    each_place(
        "later-matches",
        patterns,
        gaps,
        (
            "entries hold for what matches during set-up, not for what matches later",
            "name the paths, or a directory for them",
        ),
    );
    for path in &host.world_writable {
        if decide::access(&profile.filesystem, path).0 != Access::Write {
            gaps.push(gap(
                "world-writable",
                format!("read {path}"),
                None,
                "everyone may write there, and so may a restricted token",
                "take the right to write from Everyone",
            ));
        }
    }
    let roots = rules.iter().filter(|rule| {
        matches!(&rule.target, FsTarget::Tree(path) if path.is_root())
            && (rule.access != Access::Read || host.level != WindowsLevel::RestrictedToken)
    });
    each_place(
        "volume-root",
        roots,
        gaps,
        (
            "no entry is ever put on the root of a volume: what every user may read there and the home are all",
            "name directories instead",
        ),
    );
}

/// Whether a rule names a path that does not exist.
fn missing(rule: &FsRule, host: &WindowsHost) -> bool {
    let FsTarget::Tree(path) = &rule.target else { return false };
    matches!(
        host.paths.get(path).map(|fact| &fact.kind),
        Some(PathKind::Missing { .. } | PathKind::Unreadable | PathKind::Link { target: None, .. })
    )
}

/// Whether a rule names a file.
fn is_file(rule: &FsRule, host: &WindowsHost) -> bool {
    let FsTarget::Tree(path) = &rule.target else { return false };
    matches!(host.paths.get(path).map(|fact| &fact.kind), Some(PathKind::File))
}

fn as_the_caller(profile: &Profile, gaps: &mut Vec<Gap>) {
    if profile.level == LevelChoice::Account {
        gaps.push(gap(
            "accounts",
            String::from("level = \"account\""),
            None,
            "the sandbox accounts are not prepared for this user",
            SETUP,
        ));
    }
    let policy = &profile.filesystem;
    let denied = policy.rules.iter().filter(|rule| rule.access == Access::Deny);
    each_place(
        "deny-read",
        denied,
        gaps,
        ("the command runs as the caller and reads what the caller reads", SETUP),
    );
    restricted_read(
        profile,
        ("the command runs as the caller and reads what the caller reads", SETUP),
        gaps,
    );
    if profile.network.access != NetAccess::Open {
        gaps.push(gap(
            "network",
            String::from("the network rules"),
            Some(&profile.network.origin),
            "Windows filters the network by account, and the command has the caller's",
            SETUP,
        ));
    }
}

fn as_an_account(profile: &Profile, gaps: &mut Vec<Gap>) {
    restricted_read(
        profile,
        (
            "a sandbox account also reads whatever every user of this host may read",
            "let the profile read \":root\", and deny what must stay hidden",
        ),
        gaps,
    );
    if profile.network.access != NetAccess::Open {
        gaps.push(gap(
            "name-resolution",
            String::from("the network rules"),
            Some(&profile.network.origin),
            "a service of the system looks names up for every account, and asks outside",
            "accept that a name that is looked up carries itself outside",
        ));
    }
    match profile.network.access {
        NetAccess::Open => gaps.push(gap(
            "open-network",
            String::from("an open network"),
            Some(&profile.network.origin),
            "no sandbox account has more than the way to the proxy",
            "write host rules; \"*\" = \"allow\" lets every host through the proxy",
        )),
        // Closed is what was asked for.
        _ if profile.network.allow_local_binding == Some(false) => {}
        NetAccess::Off | NetAccess::Rules => gaps.push(gap(
            "loopback",
            String::from("loopback of the command's own"),
            None,
            "Windows has one loopback for all, so it is closed with the network",
            "accept that servers inside cannot be reached",
        )),
    }
}

/// The gap of profiles that do not let everything be read.
fn restricted_read(profile: &Profile, (reason, remedy): (&str, &str), gaps: &mut Vec<Gap>) {
    let everything = |rule: &FsRule| {
        rule.access != Access::Deny
            && matches!(&rule.target, FsTarget::Tree(path) if path.is_root())
    };
    if !profile.filesystem.rules.iter().any(everything) {
        let rule = String::from("read only what is listed");
        gaps.push(gap("restricted-read", rule, None, reason, remedy));
    }
}

/// One gap for all the rules that one place wrote.
fn each_place<'r>(
    name: &'static str,
    rules: impl Iterator<Item = &'r FsRule>,
    gaps: &mut Vec<Gap>,
    (reason, remedy): (&str, &str),
) {
    let mut places: BTreeMap<&Origin, Vec<String>> = BTreeMap::new();
    for rule in rules {
        places.entry(&rule.origin).or_default().push(rule.to_string());
    }
    for (origin, rules) in places {
        let rule = match &rules[..] {
            [rule] => rule.clone(),
            [rule, rest @ ..] => format!("{rule} and {} more", rest.len()),
            [] => continue,
        };
        gaps.push(gap(name, rule, Some(origin), reason, remedy));
    }
}

fn gap(
    name: &'static str,
    rule: String,
    origin: Option<&Origin>,
    reason: &str,
    remedy: &str,
) -> Gap {
    Gap { name, rule, origin: origin.cloned(), reason: reason.into(), remedy: remedy.into() }
}
