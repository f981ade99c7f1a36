//! Seatbelt profiles, judged by a model of Seatbelt and compared with what
//! `decide` says. No macOS has seen them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod evaluator;

use std::collections::BTreeMap;

use evaluator::Profile as Seatbelt;
use pinfold_policy::config::tree::Item;
use pinfold_policy::decide::{Operation, decide};
use pinfold_policy::gap::Gap;
use pinfold_policy::host::{MacHost, PathFact, PathKind, System};
use pinfold_policy::origin::Origin;
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::macos::{Plan, compile};
use pinfold_policy::profile::{Access, FsRule, FsTarget, Glob, MacSwitch, Profile};
use pinfold_policy::resolve::{Context, Own, Request, prepare};

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Deny];

fn path(bytes: impl AsRef<[u8]>) -> AbsPath {
    AbsPath::posix(bytes).unwrap()
}

fn tree(bytes: impl AsRef<[u8]>, access: Access) -> FsRule {
    FsRule { target: FsTarget::Tree(path(bytes)), access, origin: Origin::BuiltIn("test") }
}

fn glob(base: &str, pattern: impl AsRef<[u8]>, access: Access) -> FsRule {
    let glob = Glob { base: path(base), pattern: pattern.as_ref().to_vec() };
    FsRule { target: FsTarget::Glob(glob), access, origin: Origin::BuiltIn("test") }
}

/// The default profile with these file rules instead of its own.
fn profile(mut rules: Vec<FsRule>) -> Profile {
    let context = Context {
        system: System::Linux,
        volumes: vec![AbsPath::root()],
        working: path("/w"),
        home: None,
        tmpdir: None,
        slash_tmp: true,
        repositories: Vec::new(),
        git_files: Vec::new(),
        own: Own::default(),
    };
    let request = Request::plain();
    let prepared = prepare(Item::empty(), &request, &context).unwrap();
    let mut profile = prepared.resolve(Vec::new(), None, &request, &context).unwrap();
    rules.sort();
    profile.filesystem.rules = rules;
    profile.filesystem.private.clear();
    profile
}

fn compiled(profile: &Profile, host: &MacHost) -> (Seatbelt, Vec<Gap>) {
    match compile(profile, host) {
        (Plan::Seatbelt(plan), mut gaps) => {
            // Of the network and of processes, which are not what is judged here.
            gaps.retain(|gap| !matches!(gap.name, "loopback" | "survivors"));
            (Seatbelt::read(&plan), gaps)
        }
        (Plan::Unconfined(_), _) => panic!("nothing would be enforced"),
    }
}

fn bare_host() -> MacHost {
    MacHost { paths: BTreeMap::new() }
}

/// Compares every probe; with a gap, Seatbelt may only be stricter. Says whether
/// there was one.
fn check(rules: Vec<FsRule>, probes: &[AbsPath]) -> bool {
    let trees_only = rules.iter().all(|rule| matches!(rule.target, FsTarget::Tree(_)));
    let profile = profile(rules);
    let (seatbelt, gaps) = compiled(&profile, &bare_host());
    for probe in probes {
        let mut pairs = vec![
            ("file-read-data", Operation::Read(probe)),
            ("file-write-data", Operation::Write(probe)),
        ];
        if trees_only {
            pairs.push(("file-write-unlink", Operation::Remove(probe)));
        }
        for (name, operation) in pairs {
            let expected = decide(&profile, operation);
            let allowed = seatbelt.allows(name, probe);
            let right = allowed == expected.allowed || (!gaps.is_empty() && !allowed);
            assert!(right, "{name} {probe}: {allowed}, but {expected}\n{:?}", profile.filesystem);
        }
    }
    !gaps.is_empty()
}

#[test]
fn trees_in_any_nesting_mean_what_decide_says() {
    let places = ["/w", "/w/a", "/w/a/b", "/w/a/b/c", "/w/d"];
    let probes = ["/", "/w", "/wx", "/w/a", "/w/ab", "/w/a/b", "/w/a/b/c", "/w/a/b/c/e", "/w/d/a"];
    let probes = probes.map(path);
    // Each place has no rule or one of three.
    for mut case in 0..4_usize.pow(5) {
        let mut rules = Vec::new();
        for place in places {
            if let Some(access) = ACCESSES.get(case % 4) {
                rules.push(tree(place, *access));
            }
            case /= 4;
        }
        assert!(!check(rules, &probes), "trees need no gap");
    }
}

#[test]
fn patterns_hold_or_are_stricter_with_a_gap() {
    let patterns = ["**/k", "*.p", "a/*", "**", "{a,d}/k?", "[a-c]/**/k", "[!a]", "x(y)|z.+$"];
    let names = ["a", "d", "k", "b.p", "k1", "x(y)|z.+$"];
    let mut probes = vec![path("/w")];
    for first in names {
        probes.push(path(format!("/w/{first}")));
        for second in names {
            probes.push(path(format!("/w/{first}/{second}")));
            probes.push(path(format!("/w/{first}/{second}/k")));
        }
    }
    let mut without_gap = 0;
    for pattern in patterns {
        for outer in ACCESSES {
            for inner in ACCESSES {
                for access in ACCESSES {
                    let rules =
                        vec![tree("/w", outer), tree("/w/a/k", inner), glob("/w", pattern, access)];
                    without_gap += usize::from(!check(rules, &probes));
                }
            }
        }
    }
    assert!(without_gap > 100, "only {without_gap} cases hold exactly");
}

#[test]
fn two_patterns_are_never_looser_than_either() {
    let probes = ["/w/k", "/w/k/a.p", "/w/a.p", "/w/a.p/k", "/w/a/k/b"].map(path);
    for first in ACCESSES {
        for second in ACCESSES {
            let rules = vec![
                tree("/w", Access::Read),
                glob("/w", "**/k", first),
                glob("/w", "**/*.p", second),
            ];
            assert_eq!(check(rules, &probes), first != second);
        }
    }
}

#[test]
fn hostile_names_stay_out_of_the_text() {
    let name = b"/w/a\")(allow default)(\"\n;\xff";
    let probes = [path(name), path([name, &b"/x"[..]].concat()), path("/w/other"), path("/")];
    check(vec![tree("/w", Access::Write), tree(name, Access::Deny)], &probes);
    let pattern = b"*\")(allow default)(\"\n\xff";
    assert!(
        check(vec![tree("/w", Access::Write), glob("/w", pattern, Access::Deny)], &probes),
        "a pattern that has no exact expression is a gap"
    );
    let (seatbelt, _) = compiled(
        &profile(vec![tree("/w", Access::Write), glob("/w", pattern, Access::Deny)]),
        &bare_host(),
    );
    assert!(!seatbelt.allows("file-read-data", &path(b"/w/x\")(allow default)(\"\n\xff")));
    assert!(!seatbelt.allows("file-write-data", &path("/elsewhere")));
}

#[test]
fn a_pattern_without_an_exact_expression_grants_nothing() {
    let rules = vec![tree("/w", Access::Read), glob("/w", "*\u{e9}", Access::Write)];
    let (seatbelt, gaps) = compiled(&profile(rules), &bare_host());
    assert_eq!(gaps.iter().map(|gap| gap.name).collect::<Vec<_>>(), ["pattern"]);
    for name in ["/w/\u{e9}", "/w/other", "/w/x"] {
        assert!(!seatbelt.allows("file-write-data", &path(name)), "{name}");
    }
}

#[test]
fn rules_hold_for_what_a_path_is() {
    let target = path("/w/real");
    let kind = PathKind::Link { target: Some(target.clone()), directory: true };
    let fact = PathFact { kind, real: path("/w/link") };
    let host = MacHost { paths: BTreeMap::from([(path("/w/link"), fact)]) };
    let rules =
        vec![tree("/w", Access::Write), tree("/w/link", Access::Deny), tree("/tmp", Access::Write)];
    let (seatbelt, _) = compiled(&profile(rules), &host);
    assert!(!seatbelt.allows("file-read-data", &target), "a link covers its target");
    assert!(!seatbelt.allows("file-write-unlink", &path("/w/link")), "and stays what it is");
    assert!(seatbelt.allows("file-write-data", &path("/private/tmp/x")), "an alias is its place");
}

#[test]
fn a_missing_parent_is_a_gap() {
    let kind = PathKind::Missing { nearest: path("/w") };
    let fact = PathFact { kind, real: path("/w/a/b") };
    let host = MacHost { paths: BTreeMap::from([(path("/w/a/b"), fact)]) };
    let rules = vec![tree("/w", Access::Write), tree("/w/a/b", Access::Deny)];
    let (_, gaps) = compiled(&profile(rules), &host);
    assert_eq!(gaps.iter().map(|gap| gap.name).collect::<Vec<_>>(), ["moved-into-place"]);
    let rules = vec![tree("/w", Access::Read), tree("/w/a/b", Access::Deny)];
    let (_, gaps) = compiled(&profile(rules), &host);
    assert!(gaps.is_empty(), "nobody can make the parent: {gaps:?}");
}

#[test]
fn nothing_is_typed_into_a_terminal() {
    let (seatbelt, _) = compiled(&profile(Vec::new()), &bare_host());
    // `_IOW('t', 114, char)`.
    assert_eq!(seatbelt.says("file-ioctl", "ioctl-command 0x80017472"), Some(false));
}

#[test]
fn each_switch_opens_its_own_service_and_no_other() {
    const OPENED: [(MacSwitch, &str, &str); 6] = [
        (MacSwitch::Chromium, "mach-register", "global-name-prefix org.chromium."),
        (MacSwitch::Graphics, "iokit-open", "iokit-user-client-class AGXDeviceUserClient"),
        (MacSwitch::Keychain, "mach-lookup", "global-name com.apple.SecurityServer"),
        (MacSwitch::LaunchServices, "lsopen", ""),
        (MacSwitch::NestedSandbox, "system-mac-syscall", "mac-policy-name Sandbox"),
        (MacSwitch::Trustd, "mach-lookup", "global-name com.apple.trustd.agent"),
    ];
    let mut profile = profile(Vec::new());
    for opened in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(5)] {
        profile.macos = opened.map(|at: usize| OPENED[at].0).into_iter().collect();
        let (seatbelt, _) = compiled(&profile, &bare_host());
        for (switch, operation, filter) in OPENED {
            let expected = profile.macos.contains(&switch).then_some(true);
            assert_eq!(seatbelt.says(operation, filter), expected, "{switch:?} in {opened:?}");
        }
    }
}
