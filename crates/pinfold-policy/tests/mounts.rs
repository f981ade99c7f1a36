//! The mounts of Linux plans, judged by a small model of the kernel and compared
//! with what `decide` says: the last mount above a path decides about it, and
//! only a mount point cannot be renamed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use pinfold_policy::config::tree::Item;
use pinfold_policy::decide::{Operation, access, decide};
use pinfold_policy::glob::Matcher;
use pinfold_policy::host::{GlobMatch, LinuxHost, PathFact, PathKind, System};
use pinfold_policy::origin::Origin;
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{
    Appears, MountAction, NamespacePlan, Plan, Root, compile, paths_of_interest,
};
use pinfold_policy::profile::{Access, FsRule, FsTarget, Glob, Profile};
use pinfold_policy::resolve::{Context, Own, Request, prepare};

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Deny];

/// Every path that exists; the ones with an `f` at the end are files.
const EXISTING: [&str; 14] = [
    "/",
    "/w",
    "/w/f",
    "/w/a",
    "/w/a/f",
    "/w/a/b",
    "/w/a/b/f",
    "/w/a/b/c",
    "/w/a/b/c/f",
    "/w/d",
    "/w/d/f",
    "/w/d/k",
    "/x",
    "/x/f",
];

fn path(bytes: impl AsRef<[u8]>) -> AbsPath {
    AbsPath::posix(bytes).unwrap()
}

fn tree(place: &str, access: Access) -> FsRule {
    FsRule { target: FsTarget::Tree(path(place)), access, origin: Origin::BuiltIn("test") }
}

fn glob(pattern: &str, access: Access) -> FsRule {
    let glob = Glob { base: path("/w"), pattern: pattern.into() };
    FsRule { target: FsTarget::Glob(glob), access, origin: Origin::BuiltIn("test") }
}

/// The default profile with these file rules instead of its own.
fn profile(mut rules: Vec<FsRule>, private: Option<&str>) -> Profile {
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
    profile.filesystem.private =
        private.map(|place| (path(place), Origin::BuiltIn("test"))).into_iter().collect();
    profile
}

fn is_directory(place: &str) -> bool {
    !place.ends_with('f')
}

fn host(profile: &Profile) -> LinuxHost {
    let fact = |asked: AbsPath| {
        let exists = |place: &AbsPath| EXISTING.iter().find(|name| path(name) == *place);
        let kind = match exists(&asked) {
            Some(place) if is_directory(place) => PathKind::Directory,
            Some(_) => PathKind::File,
            None => PathKind::Missing {
                nearest: asked.ancestors().find(|above| exists(above).is_some()).unwrap(),
            },
        };
        (asked.clone(), PathFact { kind, real: asked })
    };
    let mut glob_matches = Vec::new();
    for (rule, found) in profile.filesystem.rules.iter().enumerate() {
        let FsTarget::Glob(glob) = &found.target else { continue };
        let matcher = Matcher::new(glob);
        for place in EXISTING.iter().filter(|place| matcher.matches(&path(place))) {
            glob_matches.push(GlobMatch {
                rule,
                path: path(place),
                directory: is_directory(place),
            });
        }
    }
    glob_matches.sort();
    LinuxHost {
        uid: 1000,
        namespaces: Ok(()),
        landlock_abi: 0,
        seccomp: true,
        notification: true,
        paths: paths_of_interest(profile).into_iter().map(fact).collect(),
        glob_matches,
        sockets: Vec::new(),
        listings: BTreeMap::new(),
    }
}

fn plan(profile: &Profile) -> NamespacePlan {
    match compile(profile, &host(profile)) {
        (Plan::Namespaces(plan), gaps) => {
            assert!(gaps.is_empty(), "{gaps:?}");
            plan
        }
        (other, _) => panic!("{other:?}"),
    }
}

/// What decides about a path: the nearest mount at or above it.
fn covering<'p>(plan: &'p NamespacePlan, asked: &AbsPath) -> Option<&'p MountAction> {
    let at = |place: AbsPath| plan.mounts.iter().find(|mount| mount.path == place);
    asked.ancestors().find_map(at).map(|mount| &mount.action)
}

/// What the kernel lets the command do with a path.
fn kernel(plan: &NamespacePlan, asked: &AbsPath) -> Access {
    match covering(plan, asked) {
        Some(MountAction::Write | MountAction::Pin | MountAction::Private) => Access::Write,
        Some(MountAction::Mask) => Access::Deny,
        Some(_) => Access::Read,
        None if plan.root == Root::Empty => Access::Deny,
        None => Access::Read,
    }
}

/// Whether the kernel lets the command rename a path.
fn kernel_renames(plan: &NamespacePlan, asked: &AbsPath) -> bool {
    let mounted = plan.mounts.iter().any(|mount| mount.path == *asked);
    let parent = asked.parent().map(|parent| kernel(plan, &parent));
    parent == Some(Access::Write) && kernel(plan, asked) == Access::Write && !mounted
}

fn check(rules: Vec<FsRule>, private: Option<&str>) {
    let patterns = rules.iter().any(|rule| matches!(rule.target, FsTarget::Glob(_)));
    let profile = profile(rules, private);
    let plan = plan(&profile);
    let sorted = plan.mounts.windows(2).all(|pair| matches!(pair, [a, b] if a.path < b.path));
    assert!(sorted, "parents come first, and every path once: {:?}", plan.mounts);
    for probe in EXISTING.map(path) {
        // Nothing of the host is in a private directory, so a deny rule there
        // takes nothing away: the command may make its own under that name.
        let denied = access(&profile.filesystem, &probe).0 == Access::Deny;
        if denied && covering(&plan, &probe) == Some(&MountAction::Private) {
            continue;
        }
        let kernel_access = kernel(&plan, &probe);
        for (operation, allowed) in [
            (Operation::Read(&probe), kernel_access != Access::Deny),
            (Operation::Write(&probe), kernel_access == Access::Write),
        ] {
            let verdict = decide(&profile, operation);
            assert_eq!(
                allowed, verdict.allowed,
                "{operation:?}: {verdict}\n{:#?}\n{plan:#?}",
                profile.filesystem
            );
        }
        // Where patterns have matches, more than `decide` can know is held.
        let verdict = decide(&profile, Operation::Remove(&probe));
        let renames = kernel_renames(&plan, &probe);
        let right = renames == verdict.allowed || (!renames && patterns);
        assert!(
            right,
            "rename {probe}: {renames}, but {verdict}\n{:#?}\n{plan:#?}",
            profile.filesystem
        );
    }
}

/// Every way to give each place no rule or one of three.
fn combinations(places: &[&str], mut each: impl FnMut(Vec<FsRule>)) {
    for mut case in 0..4_usize.pow(places.len() as u32) {
        let mut rules = Vec::new();
        for place in places {
            if let Some(access) = ACCESSES.get(case % 4) {
                rules.push(tree(place, *access));
            }
            case /= 4;
        }
        each(rules);
    }
}

#[test]
fn trees_in_any_nesting_mean_what_decide_says() {
    let places = ["/", "/w", "/w/a", "/w/a/b", "/w/a/b/c", "/w/d/f"];
    combinations(&places, |rules| check(rules, None));
}

#[test]
fn private_directories_mean_what_decide_says() {
    for private in ["/w", "/w/a"] {
        let places = ["/", "/w", "/w/a", "/w/a/b", "/w/a/b/c"];
        combinations(&places, |rules| check(rules, Some(private)));
    }
}

#[test]
fn existing_matches_of_patterns_mean_what_decide_says() {
    for pattern in ["**/f", "**/b", "*/k", "**/c/f", "{a,d}/*"] {
        for access in ACCESSES {
            combinations(&["/", "/w", "/w/a", "/w/a/b"], |mut rules| {
                rules.push(glob(pattern, access));
                check(rules, None);
            });
        }
    }
}

#[test]
fn what_is_missing_is_looked_after_wherever_it_could_appear() {
    let missing = "/w/a/b/new/deep";
    for rule in [Access::Read, Access::Deny] {
        combinations(&["/", "/w", "/w/a", "/w/a/b"], |rules| {
            let around = access(&profile(rules.clone(), None).filesystem, &path("/w/a/b")).0;
            let profile = profile([rules, vec![tree(missing, rule)]].concat(), None);
            let plan = plan(&profile);
            let expected = match (rule, around) {
                (Access::Read, Access::Write) => Some(Appears::TakeAway),
                (Access::Deny, Access::Read | Access::Write) => Some(Appears::Mask),
                _ => None,
            };
            let watch = plan.watches.iter().find(|watch| watch.path == path(missing));
            assert_eq!(watch.map(|watch| watch.appears), expected, "{:?}", profile.filesystem);
            if around == Access::Write {
                // Nothing above may be moved out of the way, up to the tree that is writable.
                for above in ["/w/a/b", "/w/a", "/w"].map(path) {
                    assert!(!kernel_renames(&plan, &above), "{above}: {:#?}", plan.mounts);
                }
            }
        });
    }
}
