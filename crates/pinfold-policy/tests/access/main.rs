//! Windows plans, judged by a model of the access check and compared with what
//! `decide` says. No Windows has seen them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod model;

use std::collections::BTreeMap;

use model::Token;
use pinfold_policy::config::tree::Item;
use pinfold_policy::decide::{Operation, decide};
use pinfold_policy::host::{PathFact, PathKind, System, WindowsHost, WindowsLevel};
use pinfold_policy::origin::Origin;
use pinfold_policy::path::{AbsPath, PathStyle};
use pinfold_policy::plan::windows::{Account, Confined, Plan, compile, mask};
use pinfold_policy::profile::{Access, FsRule, FsTarget, Glob, LevelChoice, NetAccess, Profile};
use pinfold_policy::resolve::{Context, Own, Request, prepare};

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Deny];
const ACCOUNT: WindowsLevel = WindowsLevel::Account { proxy_port: 4128 };

fn path(text: &str) -> AbsPath {
    AbsPath::parse(PathStyle::Windows, text.as_bytes()).unwrap()
}

fn tree(text: &str, access: Access) -> FsRule {
    FsRule { target: FsTarget::Tree(path(text)), access, origin: Origin::BuiltIn("test") }
}

fn profile(mut rules: Vec<FsRule>) -> Profile {
    let context = Context {
        system: System::Linux,
        volumes: vec![AbsPath::root()],
        working: AbsPath::posix("/w").unwrap(),
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

fn host(level: WindowsLevel) -> WindowsHost {
    WindowsHost {
        level,
        paths: BTreeMap::new(),
        glob_matches: Vec::new(),
        world_writable: Vec::new(),
    }
}

fn compiled(profile: &Profile, host: &WindowsHost) -> (Confined, Vec<&'static str>) {
    match compile(profile, host) {
        (Plan::Confined(plan), gaps) => (plan, gaps.iter().map(|gap| gap.name).collect()),
        (Plan::Unconfined(_), _) => panic!("nothing would be enforced"),
    }
}

/// Compares every probe with the specification.
fn check(rules: Vec<FsRule>, level: WindowsLevel, probes: &[AbsPath]) {
    let profile = profile(rules);
    let (plan, gaps) = compiled(&profile, &host(level));
    let token = Token { plan: &plan, group: level != WindowsLevel::RestrictedToken };
    for probe in probes {
        let read = decide(&profile, Operation::Read(probe)).allowed;
        let write = decide(&profile, Operation::Write(probe)).allowed;
        let gap = ["deny-read", "restricted-read"].iter().any(|name| gaps.contains(name));
        let rules = &profile.filesystem.rules;
        assert!(gap || token.allows(probe, mask::READ) == read, "read {probe}: {rules:?}");
        // Data, names, attributes: all of it or nothing of it.
        for right in [0x2, 0x4, 0x10, 0x100] {
            assert_eq!(token.allows(probe, right), write, "write {right:#x} {probe}: {rules:?}");
        }
        for right in [0x40, 0x4_0000, 0x8_0000] {
            assert!(!token.allows(probe, right), "{right:#x} {probe}: {rules:?}");
        }
        let remove = decide(&profile, Operation::Remove(probe)).allowed;
        assert!(remove || !token.removes(probe), "remove {probe}: {rules:?}");
    }
}

#[test]
fn trees_in_any_nesting_mean_what_decide_says() {
    let places = [r"C:\w", r"C:\w\a", r"C:\w\a\b", r"C:\w\a\b\c", r"C:\w\d"];
    let probes = [
        r"C:\",
        r"C:\w",
        r"C:\wx",
        r"C:\w\a",
        r"C:\w\ab",
        r"C:\w\a\b",
        r"C:\w\a\b\c",
        r"C:\w\a\b\c\e",
        r"C:\w\d\a",
        r"D:\w",
    ];
    let probes = probes.map(path);
    for level in [WindowsLevel::RestrictedToken, ACCOUNT] {
        for mut case in 0..4_usize.pow(5) {
            let mut rules = Vec::new();
            for place in places {
                if let Some(access) = ACCESSES.get(case % 4) {
                    rules.push(tree(place, *access));
                }
                case /= 4;
            }
            check(rules, level, &probes);
        }
    }
}

#[test]
fn what_leads_to_a_rule_keeps_its_name() {
    let rules = vec![tree(r"C:\w", Access::Write), tree(r"C:\w\a\b\c", Access::Read)];
    let (plan, _) = compiled(&profile(rules), &host(ACCOUNT));
    let token = Token { plan: &plan, group: true };
    for (name, removable) in
        [(r"C:\w", false), (r"C:\w\a", false), (r"C:\w\a\b", false), (r"C:\w\a\x", true)]
    {
        assert_eq!(token.removes(&path(name)), removable, "{name}");
    }
}

#[test]
fn names_compare_without_case() {
    let rules = vec![tree(r"C:\W\A", Access::Deny), tree(r"c:\w", Access::Write)];
    let (plan, _) = compiled(&profile(rules), &host(ACCOUNT));
    let token = Token { plan: &plan, group: true };
    assert!(!token.allows(&path(r"C:\w\a\x"), mask::READ));
    let name = |text| compiled(&profile(vec![tree(text, Access::Write)]), &host(ACCOUNT)).0.token;
    assert_eq!(name(r"C:\Work"), name(r"c:\wORK"), "one directory is one capability");
    assert_ne!(name(r"C:\Work"), name(r"C:\Other"));
}

#[test]
fn other_rules_for_a_directory_are_another_capability() {
    let bare = profile(vec![tree(r"C:\w", Access::Write)]);
    let ruled = profile(vec![tree(r"C:\w", Access::Write), tree(r"C:\w\a", Access::Read)]);
    let token = |profile| compiled(profile, &host(ACCOUNT)).0.token;
    assert_ne!(token(&bare), token(&ruled));
}

#[test]
fn each_level_says_what_it_cannot_hold() {
    let rules = vec![tree(r"C:\", Access::Read), tree(r"C:\s", Access::Deny)];
    let mut profile = profile(rules);
    let check = |profile: &Profile, host: &WindowsHost, expected: &[&str]| {
        assert_eq!(compiled(profile, host).1, expected, "{:?}", host.level);
    };
    check(&profile, &host(WindowsLevel::RestrictedToken), &["deny-read", "network"]);
    check(&profile, &host(ACCOUNT), &["volume-root", "name-resolution", "loopback"]);
    profile.network.access = NetAccess::Open;
    check(&profile, &host(WindowsLevel::RestrictedToken), &["deny-read"]);
    check(&profile, &host(ACCOUNT), &["volume-root", "open-network"]);
    let mut open = host(WindowsLevel::RestrictedToken);
    open.world_writable = vec![path(r"C:\open")];
    let kind = PathKind::Missing { nearest: path(r"C:\") };
    open.paths.insert(path(r"C:\s"), PathFact { kind, real: path(r"C:\s") });
    check(&profile, &open, &["missing-path", "world-writable", "deny-read"]);
    let glob = Glob { base: path(r"C:\s"), pattern: b"*.p".to_vec() };
    let target = FsTarget::Glob(glob);
    let rule = FsRule { target, access: Access::Read, origin: Origin::BuiltIn("test") };
    profile.filesystem.rules.push(rule);
    check(&profile, &host(WindowsLevel::RestrictedToken), &["later-matches", "deny-read"]);
    profile.level = LevelChoice::Account;
    let expected = ["later-matches", "accounts", "deny-read"];
    check(&profile, &host(WindowsLevel::RestrictedToken), &expected);
}

#[test]
fn accounts_read_the_home_when_everything_may_be_read_but_what_is_denied_there() {
    let rules = vec![tree(r"C:\", Access::Read), tree(r"C:\Users\me\.ssh", Access::Deny)];
    let mut profile = profile(rules);
    profile.directories.home = Some(path(r"C:\Users\me"));
    let reads = |profile: &Profile, name: &str| {
        let (plan, _) = compiled(profile, &host(ACCOUNT));
        Token { plan: &plan, group: true }.allows(&path(name), mask::READ)
    };
    assert!(reads(&profile, r"C:\Users\me\.cargo\bin\rustc.exe"));
    assert!(!reads(&profile, r"C:\Users\me\.ssh\id"));
    assert!(!reads(&profile, r"C:\Users\other"));
    profile.filesystem.rules.remove(0);
    assert!(!reads(&profile, r"C:\Users\me\notes"), "not without the rule");
}

#[test]
fn the_network_chooses_the_account() {
    let mut profile = profile(vec![tree(r"C:\w", Access::Write)]);
    for (access, account, port) in [
        (NetAccess::Off, Account::Offline, None),
        (NetAccess::Rules, Account::Proxy, Some(4128)),
        (NetAccess::Open, Account::Proxy, Some(4128)),
    ] {
        profile.network.access = access;
        let (plan, _) = compiled(&profile, &host(ACCOUNT));
        assert_eq!((plan.account, plan.proxy_port), (account, port), "{access:?}");
    }
}

#[test]
fn a_link_covers_its_target_and_stays_what_it_is() {
    let rules = vec![tree(r"C:\w", Access::Write), tree(r"C:\w\link", Access::Deny)];
    let kind = PathKind::Link { target: Some(path(r"C:\w\real")), directory: true };
    let mut host = host(ACCOUNT);
    host.paths.insert(path(r"C:\w\link"), PathFact { kind, real: path(r"C:\w\link") });
    let (plan, _) = compiled(&profile(rules), &host);
    let token = Token { plan: &plan, group: true };
    assert!(!token.allows(&path(r"C:\w\real\x"), mask::READ));
    assert!(!token.removes(&path(r"C:\w\link")));
    assert!(token.removes(&path(r"C:\w\other")));
}
