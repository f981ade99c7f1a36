use std::collections::{BTreeMap, BTreeSet};

use super::{
    Account, Confined, Desktop, Entry, EntryKind, Inherit, Job, Plan, Token, Trustee, capability,
    gaps, mask, sid, token_flags,
};
use crate::gap::Gap;
use crate::host::{PathKind, WindowsHost, WindowsLevel};
use crate::path::AbsPath;
use crate::profile::{Access, Confinement, FsTarget, NetAccess, Profile};

/// Everyone: without it not even the null device could be written.
const EVERYONE: &str = "S-1-1-0";

/// Compiles a profile. The same profile and host give the same plan everywhere.
pub fn compile(profile: &Profile, host: &WindowsHost) -> (Plan, Vec<Gap>) {
    if profile.confinement == Confinement::Unconfined {
        // It cannot be extended, so no other limit can be set.
        return (Plan::Unconfined(profile.limits.wall_time), Vec::new());
    }
    let gaps = gaps::all(profile, host);
    let mut writer = Writer { level: host.level, entries: BTreeSet::new() };
    let capabilities = writer.files(&trees(profile, host), &links(profile, host));
    let mut restricting = capabilities;
    restricting.push(String::from(EVERYONE));
    restricting.sort();
    let (account, proxy_port) = match (host.level, profile.network.access) {
        (WindowsLevel::RestrictedToken, _) => (Account::Caller, None),
        (WindowsLevel::Account { .. }, NetAccess::Off) => (Account::Offline, None),
        (WindowsLevel::Account { proxy_port }, _) => (Account::Proxy, Some(proxy_port)),
    };
    let limits = &profile.limits;
    let confined = Confined {
        account,
        token: Token {
            flags: token_flags::DISABLE_MAX_PRIVILEGE
                | token_flags::LUA_TOKEN
                | token_flags::WRITE_RESTRICTED,
            restricting,
        },
        entries: writer.entries.into_iter().collect(),
        environment: environment(profile, account),
        desktop: Desktop::Private,
        job: Job {
            processes: limits.processes,
            memory: limits.memory,
            wall_time: limits.wall_time,
        },
        proxy_port,
    };
    (Plan::Confined(confined), gaps)
}

/// A tree and what holds in it.
pub(super) type Tree = (AbsPath, Access);

/// What the profile says about places that exist, the outer before the inner.
/// Two spellings of one name are one place, where the stricter order of
/// precedence decides.
fn trees(profile: &Profile, host: &WindowsHost) -> Vec<Tree> {
    let rules = &profile.filesystem.rules;
    let mut found: BTreeMap<(usize, String), Tree> = BTreeMap::new();
    let mut add = |path: AbsPath, access: Access| {
        let key = (path.depth(), sid::folded(&path));
        let tree = found.entry(key).or_insert((path, access));
        tree.1 = tree.1.max(access);
    };
    for rule in rules {
        if let FsTarget::Tree(path) = &rule.target
            && let Some(path) = real(path, host)
        {
            add(path, rule.access);
        }
    }
    // A root carries no entry. What programs of the user are, in the home, is to be had.
    let everything = rules.iter().any(|rule| {
        rule.access != Access::Deny
            && matches!(&rule.target, FsTarget::Tree(path) if path.is_root())
    });
    if let (WindowsLevel::Account { .. }, true, Some(home)) =
        (host.level, everything, &profile.directories.home)
    {
        add(home.clone(), Access::Read);
    }
    for found in &host.glob_matches {
        if let Some(rule) = rules.get(found.rule) {
            add(found.path.clone(), rule.access);
        }
    }
    found.into_values().collect()
}

/// The links that rules are written for; each must go on leading where it does.
fn links(profile: &Profile, host: &WindowsHost) -> Vec<AbsPath> {
    let link = |path: &AbsPath| {
        let fact = host.paths.get(path)?;
        matches!(fact.kind, PathKind::Link { .. }).then(|| fact.real.clone())
    };
    let trees = profile.filesystem.rules.iter().filter_map(|rule| match &rule.target {
        FsTarget::Tree(path) => link(path),
        FsTarget::Glob(_) => None,
    });
    trees.collect()
}

/// Where a path really is; nothing when nothing is there to carry an entry.
fn real(path: &AbsPath, host: &WindowsHost) -> Option<AbsPath> {
    match host.paths.get(path).map(|fact| (&fact.kind, &fact.real)) {
        None => Some(path.clone()),
        Some((PathKind::Missing { .. }, _)) => None,
        Some((PathKind::Link { target, .. }, _)) => target.clone(),
        Some((_, real)) => Some(real.clone()),
    }
}

/// Git refuses a repository that another user owns, unless it is named.
fn environment(profile: &Profile, account: Account) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let roots = &profile.directories.workspace_roots;
    if account == Account::Caller || roots.is_empty() {
        return variables;
    }
    variables.insert(String::from("GIT_CONFIG_COUNT"), roots.len().to_string());
    for (index, root) in roots.iter().enumerate() {
        let root = String::from_utf8_lossy(root.as_bytes()).replace('\\', "/");
        variables.insert(format!("GIT_CONFIG_KEY_{index}"), String::from("safe.directory"));
        variables.insert(format!("GIT_CONFIG_VALUE_{index}"), root);
    }
    variables
}

struct Writer {
    level: WindowsLevel,
    entries: BTreeSet<Entry>,
}

impl Writer {
    /// Writes the entries of all trees and gives the capabilities they name.
    fn files(&mut self, trees: &[Tree], links: &[AbsPath]) -> Vec<String> {
        let mut capabilities: Vec<(AbsPath, String)> = Vec::new();
        for (index, (path, access)) in trees.iter().enumerate() {
            let before = trees.get(..index).unwrap_or_default();
            let above = |outer: &AbsPath| !outer.is_root() && path.starts_with(outer);
            let outer = before.iter().rev().find(|(outer, _)| above(outer));
            let outer = outer.map(|(_, access)| *access);
            let inside = capabilities.iter().find(|(root, _)| path.starts_with(root)).cloned();
            let inside = match inside {
                None if *access == Access::Write && !path.is_root() => {
                    let below: Vec<&Tree> =
                        trees.iter().filter(|(inner, _)| inner.starts_with(path)).collect();
                    let made = (path.clone(), capability(&below));
                    capabilities.push(made.clone());
                    Some(made)
                }
                inside => inside,
            };
            if let Some((root, capability)) = &inside {
                self.hold(path, root, capability);
            }
            // No entry is put on the root of a volume, and none that is inherited.
            if path.is_root() || outer == Some(*access) {
                continue;
            }
            if let WindowsLevel::Account { .. } = self.level {
                self.group(path, *access);
            }
            if let Some((_, capability)) = &inside {
                self.capability(path, *access, capability);
            }
        }
        for link in links {
            for (root, capability) in capabilities.iter().filter(|(root, _)| link.starts_with(root))
            {
                self.hold(link, root, capability);
            }
        }
        capabilities.into_iter().map(|(_, capability)| capability).collect()
    }

    /// What the accounts may do at all.
    fn group(&mut self, path: &AbsPath, access: Access) {
        let (kind, mask) = match access {
            Access::Read => (EntryKind::Allow, mask::READ),
            Access::Write => (EntryKind::Allow, mask::MODIFY),
            Access::Deny => (EntryKind::Deny, mask::ALL),
        };
        self.add(path, kind, Trustee::Group, (mask, Inherit::Tree));
    }

    /// What a token with this capability may write.
    fn capability(&mut self, path: &AbsPath, access: Access, capability: &str) {
        let (kind, mask) = match access {
            Access::Write => (EntryKind::Allow, mask::MODIFY),
            Access::Read | Access::Deny => (EntryKind::Deny, mask::WRITE),
        };
        let trustee = Trustee::Capability(String::from(capability));
        self.add(path, kind, trustee, (mask, Inherit::Tree));
    }

    /// A rule stays with its object, so nothing may take the object's place:
    /// what leads to it keeps its name.
    fn hold(&mut self, path: &AbsPath, root: &AbsPath, capability: &str) {
        for above in path.ancestors().take_while(|above| above.starts_with(root)) {
            let trustee = Trustee::Capability(String::from(capability));
            self.add(&above, EntryKind::Deny, trustee, (mask::DELETE, Inherit::Object));
        }
    }

    fn add(&mut self, path: &AbsPath, kind: EntryKind, trustee: Trustee, what: (u32, Inherit)) {
        let (mask, inherit) = what;
        self.entries.insert(Entry { path: path.clone(), kind, trustee, mask, inherit });
    }
}
