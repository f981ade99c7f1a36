//! The `landlock` mechanism: what may be touched is listed, and nothing else.
//!
//! Landlock can only add to what a directory above allows, never take away. A
//! directory that holds something more restricted than itself is therefore
//! *carved*: it gets no rule of its own kind, but each of its other entries does.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::Compiler;
use super::gaps;
use super::{Deputy, Filter, Grant, GrantAccess, LandlockPlan, MountKind, Reach, Sockets, Watch};
use crate::decide;
use crate::gap::Gap;
use crate::host::{EntryKind, LinuxHost};
use crate::path::AbsPath;
use crate::profile::{
    Access, Confinement, FsPolicy, FsRule, FsTarget, MechanismChoice, NetAccess, Profile,
};

/// The first version of Landlock that knows TCP ports.
pub(super) const KNOWS_PORTS: u32 = 4;

/// Devices that every plan opens, as the private `/dev` of namespaces does.
const DEVICES: [&str; 8] = [
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// What the rules say about existing paths and about names that are kept free.
pub(super) struct Tree {
    pub(super) points: BTreeMap<AbsPath, (Access, MountKind)>,
    /// Names at which nothing may be put: missing paths, and links.
    pub(super) kept: BTreeMap<AbsPath, Access>,
}

impl Tree {
    /// Missing paths and links become names to keep.
    pub(super) fn new(
        points: BTreeMap<AbsPath, (Access, MountKind)>,
        links: &[AbsPath],
        watches: &[Watch],
    ) -> Tree {
        let mut kept: BTreeMap<AbsPath, Access> =
            links.iter().map(|link| (link.clone(), Access::Read)).collect();
        for watch in watches {
            let access = match watch.appears {
                super::Appears::Mask => Access::Deny,
                super::Appears::TakeAway | super::Appears::Read => Access::Read,
            };
            if !points.contains_key(&watch.path) {
                kept.insert(watch.path.clone(), access);
            }
        }
        Tree { points, kept }
    }

    /// Everything strictly below `path` with its access, sorted.
    fn below<'t>(&'t self, path: &'t AbsPath) -> impl Iterator<Item = (&'t AbsPath, Access)> {
        let points = self.points.iter().map(|(path, (access, _))| (path, *access));
        let kept = self.kept.iter().map(|(path, access)| (path, *access));
        points.chain(kept).filter(move |(below, _)| *below != path && below.starts_with(path))
    }

    /// The directories whose entries have to be known: those above something
    /// that is more restricted than they are.
    pub(super) fn directories(&self, policy: &FsPolicy) -> BTreeSet<AbsPath> {
        let root = AbsPath::root();
        self.below(&root)
            .flat_map(|(path, access)| {
                let above: Vec<AbsPath> = path.ancestors().skip(1).collect();
                above.into_iter().filter(move |above| {
                    strength(decide::access(policy, above).0) > strength(access)
                })
            })
            .collect()
    }
}

/// How much an access allows.
fn strength(access: Access) -> u8 {
    match access {
        Access::Deny => 0,
        Access::Read => 1,
        Access::Write => 2,
    }
}

/// Whether Landlock enforces: the profile says so, or namespaces are closed.
pub(super) fn enforces(profile: &Profile, host: &LinuxHost) -> bool {
    match profile.mechanism {
        MechanismChoice::Landlock => true,
        MechanismChoice::Automatic => host.namespaces.is_err(),
        MechanismChoice::Namespaces => false,
    }
}

/// The directories whose entries [`compile`](super::compile) needs in
/// `host.listings`, from the other facts; none where namespaces enforce.
pub fn directories_to_list(profile: &Profile, host: &LinuxHost) -> BTreeSet<AbsPath> {
    if profile.confinement == Confinement::Unconfined || !enforces(profile, host) {
        return BTreeSet::new();
    }
    let shared = without_private(profile);
    Compiler::new(&shared, host).tree().0.directories(&shared.filesystem)
}

/// Compiles a profile for a host without namespaces.
pub(super) fn compile(profile: &Profile, host: &LinuxHost) -> (LandlockPlan, Vec<Gap>) {
    let shared = without_private(profile);
    let (tree, mut gaps) = Compiler::new(&shared, host).tree();
    let (plan, more) = plan(profile, host, &tree);
    gaps.extend(more);
    gaps.sort();
    gaps.dedup();
    (plan, gaps)
}

/// Nothing hides the host's directories where there are no mounts.
fn without_private(profile: &Profile) -> Profile {
    let mut shared = profile.clone();
    shared.filesystem.private.clear();
    shared
}

/// The plan for a tree of rules, and every rule that it does not hold exactly.
fn plan(profile: &Profile, host: &LinuxHost, tree: &Tree) -> (LandlockPlan, Vec<Gap>) {
    let policy = &profile.filesystem;
    let root = AbsPath::root();
    let mut carver = Carver { tree, host, grants: BTreeMap::new(), carved: Vec::new() };
    let base = decide::access(policy, &root).0;
    carver.visit(&root, MountKind::Directory, base, Access::Deny);
    carver.always(policy);
    let reach = reach(profile, host);
    let deputy = carver.deputy(policy, base);
    let mut gaps = gaps::files(profile, host, &carver.carved);
    gaps.extend(gaps::processes(profile, host));
    gaps.extend(gaps::network(profile, host));
    let plan = LandlockPlan {
        grants: carver.grants.into_values().collect(),
        reach,
        deputy: deputy.filter(|_| host.notification),
        filter: Filter { user_namespaces: false, sockets: sockets(reach) },
        limits: profile.limits,
    };
    (plan, gaps)
}

/// What of the network is reached. Host rules need a version that knows ports, so that
/// none can be connected to, and a supervisor that hears of connections.
fn reach(profile: &Profile, host: &LinuxHost) -> Reach {
    match profile.network.access {
        NetAccess::Open => Reach::Everything,
        NetAccess::Rules if host.landlock_abi >= KNOWS_PORTS && host.notification => Reach::Proxy,
        NetAccess::Off | NetAccess::Rules => Reach::Nothing,
    }
}

fn sockets(reach: Reach) -> Sockets {
    match reach {
        Reach::Everything => Sockets::Ordinary,
        Reach::Proxy => Sockets::UnixAndTcp,
        Reach::Nothing => Sockets::UnixOnly,
    }
}

/// A directory that could not be given as a whole.
pub(super) struct Carved {
    pub(super) path: AbsPath,
    /// What its entries are given.
    pub(super) access: Access,
    /// What the directory itself is given.
    pub(super) itself: Access,
}

struct Carver<'a> {
    tree: &'a Tree,
    host: &'a LinuxHost,
    grants: BTreeMap<AbsPath, Grant>,
    carved: Vec<Carved>,
}

impl Carver<'_> {
    /// Gives `access` to `path`, where a grant above gives `given` already.
    fn visit(&mut self, path: &AbsPath, kind: MountKind, access: Access, given: Access) {
        let tree = self.tree;
        let weakest = tree.below(path).map(|(_, below)| strength(below)).min();
        if weakest.is_none_or(|weakest| weakest >= strength(access)) {
            self.grant(path, kind, access, given);
            self.stronger_below(path, stronger(access, given));
            return;
        }
        // Whatever is readable throughout is given as a whole.
        let itself =
            if weakest == Some(strength(Access::Read)) { Access::Read } else { Access::Deny };
        self.grant(path, kind, itself, given);
        let given = stronger(itself, given);
        self.carved.push(Carved { path: path.clone(), access, itself: given });
        for (name, kind) in self.host.listings.get(path).into_iter().flatten() {
            let Ok(entry) = path.join(name) else { continue };
            if tree.points.contains_key(&entry) || tree.kept.contains_key(&entry) {
                continue;
            }
            match kind {
                EntryKind::Directory => self.visit(&entry, MountKind::Directory, access, given),
                EntryKind::File => self.visit(&entry, MountKind::File, access, given),
                EntryKind::Link => {}
            }
        }
        self.stronger_below(path, given);
    }

    /// Visits the topmost points below `path` that no grant covers so far.
    fn stronger_below(&mut self, path: &AbsPath, given: Access) {
        let tree = self.tree;
        let mut last: Option<&AbsPath> = None;
        for (point, (access, kind)) in &tree.points {
            let nested = last.is_some_and(|last| point.starts_with(last));
            if nested || point == path || !point.starts_with(path) {
                continue;
            }
            if strength(*access) > strength(given) {
                last = Some(point);
                self.visit(point, *kind, *access, given);
            }
        }
    }

    fn grant(&mut self, path: &AbsPath, kind: MountKind, access: Access, given: Access) {
        let access = match access {
            _ if strength(access) <= strength(given) => return,
            Access::Deny => return,
            Access::Read => GrantAccess::Read,
            Access::Write => GrantAccess::Write,
        };
        self.grants.insert(path.clone(), Grant { path: path.clone(), kind, access });
    }

    /// What is left to do for the command; nothing where nothing was carved.
    fn deputy(&self, policy: &FsPolicy, base: Access) -> Option<Deputy> {
        if self.carved.is_empty() {
            return None;
        }
        let mut places: BTreeMap<AbsPath, Access> = BTreeMap::from([(AbsPath::root(), base)]);
        places.extend(self.tree.points.iter().map(|(path, (access, _))| (path.clone(), *access)));
        for (path, access) in &self.tree.kept {
            places.entry(path.clone()).or_insert(*access);
        }
        let pattern = |rule: &FsRule| match &rule.target {
            FsTarget::Glob(glob) => Some((glob.clone(), rule.access)),
            FsTarget::Tree(_) => None,
        };
        let reads = self.carved.iter().any(|carved| carved.itself == Access::Deny);
        let patterns = policy.rules.iter().filter_map(pattern).collect();
        let mut deputy = Deputy { places, patterns, reads, given: BTreeMap::new() };
        let judge = deputy.judge();
        let still = |path: &AbsPath| !path.ancestors().skip(1).any(|above| judge.may_write(&above));
        let given = |grant: &Grant| match grant.access {
            GrantAccess::Read => Some((grant.path.clone(), Access::Read)),
            GrantAccess::Write => Some((grant.path.clone(), Access::Write)),
            GrantAccess::Device | GrantAccess::SharedMemory => None,
        };
        let given = self.grants.values().filter(|grant| still(&grant.path)).filter_map(given);
        let given = given.collect();
        deputy.given = given;
        Some(deputy)
    }

    /// The harmless devices, and processes and shared memory where nothing is said about them.
    fn always(&mut self, policy: &FsPolicy) {
        self.shared_memory(policy);
        let kind = |name: &str| match name {
            "/dev/pts" | "/proc" => MountKind::Directory,
            _ => MountKind::File,
        };
        let devices = DEVICES.iter().map(|name| (*name, GrantAccess::Device));
        for (name, access) in devices.chain([("/proc", GrantAccess::Read)]) {
            let Ok(path) = AbsPath::posix(name) else { continue };
            let silent = decide::access(policy, &path).1.is_none();
            if access == GrantAccess::Device || silent {
                self.grants
                    .entry(path.clone())
                    .or_insert(Grant { path: path.clone(), kind: kind(name), access })
                    .access = access;
            }
        }
    }
}

/// Where POSIX semaphores and shared memory are.
const SHARED_MEMORY: &str = "/dev/shm";

impl Carver<'_> {
    /// Programs need it as they need System V IPC; that it is the host's is a gap. A rule
    /// for the whole tree is not about it.
    fn shared_memory(&mut self, policy: &FsPolicy) {
        let Ok(path) = AbsPath::posix(SHARED_MEMORY) else { return };
        let about = |rule: &FsRule| {
            let directory = rule.target.directory();
            directory.starts_with(&path) || (!directory.is_root() && path.starts_with(directory))
        };
        if !policy.rules.iter().any(about) {
            let access = GrantAccess::SharedMemory;
            let grant = Grant { path: path.clone(), kind: MountKind::Directory, access };
            self.grants.insert(path, grant);
        }
    }
}

fn stronger(one: Access, other: Access) -> Access {
    if strength(one) > strength(other) { one } else { other }
}
