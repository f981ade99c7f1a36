//! From a profile and the facts of a Linux host to a plan and its gaps.
//!
//! The rules become *points*: existing paths with an access. Where the access of
//! a point differs from what surrounds it, a mount puts it there. What is
//! protected inside something writable gets every directory above it mounted on
//! itself as well: a mount point cannot be renamed or replaced, so no rename at
//! any depth takes the protection away.

use std::collections::{BTreeMap, BTreeSet};

use super::landlock::{self, Tree};
use super::mounts::Mounts;
use super::{
    Appears, Capture, Doors, Filter, Mount, MountAction, MountKind, NamespacePlan, Network,
    Pattern, Plan, Root, Sockets, Watch,
};
use crate::decide;
use crate::gap::Gap;
use crate::host::{LinuxHost, PathFact, PathKind};
use crate::net::host_loopback;
use crate::origin::Origin;
use crate::path::AbsPath;
use crate::profile::{
    Access, Confinement, FsRule, FsTarget, HostAction, NetAccess, NetPolicy, Profile,
};
use crate::resolve::{OWN, SERVICES};

/// Where programs find the proxy inside; nothing else can be there.
pub const PROXY_PORT: u16 = 3128;

/// Where the name servers are.
const NAMES_PORT: u16 = 53;

/// A range with more ports than this is not captured port by port.
const WIDE: u16 = 16;

/// The kernel passes at most 253 descriptors at once; three are taken.
const MOST_CAPTURED: usize = 200;

/// Compiles a profile for a host.
pub fn compile(profile: &Profile, host: &LinuxHost) -> (Plan, Vec<Gap>) {
    if profile.confinement == Confinement::Unconfined {
        // It cannot be extended, so no other limit can be set.
        return (Plan::Unconfined(profile.limits.wall_time), Vec::new());
    }
    if landlock::enforces(profile, host) {
        let (plan, gaps) = landlock::compile(profile, host);
        return (Plan::Landlock(plan), gaps);
    }
    let mut gaps = limit_gaps(profile, host);
    let mut compiler = Compiler::new(profile, host);
    compiler.rules();
    compiler.matches();
    compiler.sockets();
    let plan = compiler.plan();
    gaps.append(&mut compiler.gaps);
    gaps.sort();
    gaps.dedup();
    (Plan::Namespaces(plan), gaps)
}

/// What is at a point of the tree.
pub(super) struct Point {
    pub(super) access: Access,
    pub(super) kind: MountKind,
}

pub(super) struct Compiler<'a> {
    profile: &'a Profile,
    host: &'a LinuxHost,
    points: BTreeMap<AbsPath, Point>,
    /// Links whose own name must stay what it is.
    links: Vec<AbsPath>,
    watches: Vec<Watch>,
    gaps: Vec<Gap>,
    /// Whether the sandbox has a `/proc` of its own.
    own_proc: bool,
    /// Whether a pattern can win over the rule for exactly this path.
    has_patterns: bool,
    /// The directory that was asked for last, and the access there: sorted rules mostly
    /// share theirs.
    last_directory: Option<(AbsPath, Access)>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(profile: &'a Profile, host: &'a LinuxHost) -> Compiler<'a> {
        Compiler {
            profile,
            host,
            points: BTreeMap::new(),
            links: Vec::new(),
            // Most rules of a profile name what is not there yet.
            watches: Vec::with_capacity(profile.filesystem.rules.len()),
            gaps: Vec::new(),
            own_proc: true,
            // Patterns come last.
            has_patterns: matches!(
                profile.filesystem.rules.last(),
                Some(FsRule { target: FsTarget::Glob(_), .. })
            ),
            last_directory: None,
        }
    }

    /// The rules as a tree for Landlock, and the gaps on the way there.
    pub(super) fn tree(mut self) -> (Tree, Vec<Gap>) {
        self.own_proc = false;
        self.rules();
        self.matches();
        let points = self.points.into_iter();
        let points = points.map(|(path, point)| (path, (point.access, point.kind))).collect();
        (Tree::new(points, &self.links, &self.watches), self.gaps)
    }

    /// The access that the rules for trees give to `path`.
    fn access(&self, path: &AbsPath) -> Access {
        decide::access(&self.profile.filesystem, path).0
    }

    /// The same for a directory that the next rules probably ask for, too.
    fn access_in(&mut self, directory: &AbsPath) -> Access {
        match &self.last_directory {
            Some((known, access)) if known == directory => *access,
            _ => {
                let access = self.access(directory);
                self.last_directory = Some((directory.clone(), access));
                access
            }
        }
    }

    /// Turns the rules for trees into points and watches.
    fn rules(&mut self) {
        for rule in &self.profile.filesystem.rules {
            if self.own_proc && self.is_about_processes(rule) {
                self.gaps.push(proc_gap(rule));
                continue;
            }
            let FsTarget::Tree(path) = &rule.target else { continue };
            if path.is_root() {
                continue;
            }
            match self.host.paths.get(path) {
                None => {}
                Some(fact) => self.rule(rule, path, fact),
            }
        }
    }

    /// Whether a rule is about what the host's `/proc` shows, and not just to be read.
    fn is_about_processes(&self, rule: &FsRule) -> bool {
        let inside = |path: &AbsPath| {
            let below = path.as_bytes().strip_prefix(b"/proc");
            below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
        };
        let path = rule.target.directory();
        // What `/dev` has of it is every process's own: `/dev/fd`, `/dev/stdout`.
        if rule.access == Access::Read || path.as_bytes().starts_with(b"/dev/") {
            return false;
        }
        let real = self.host.paths.get(path).map(|fact| match &fact.kind {
            PathKind::Link { target: Some(target), .. } => target,
            _ => &fact.real,
        });
        inside(path) || real.is_some_and(inside)
    }

    fn rule(&mut self, rule: &FsRule, path: &AbsPath, fact: &PathFact) {
        if rule.origin == OWN {
            self.way_to(path);
        }
        match &fact.kind {
            PathKind::Directory => self.point(&fact.real, rule.access, MountKind::Directory),
            PathKind::File | PathKind::Socket | PathKind::Other => {
                self.point(&fact.real, rule.access, MountKind::File);
            }
            PathKind::Link { target, directory } => {
                let kind = if *directory { MountKind::Directory } else { MountKind::File };
                self.link(rule, fact, target.as_ref().map(|target| (target, kind)));
            }
            PathKind::Missing { nearest } => self.missing(rule, path, nearest),
            // Nobody can look into it, so nothing has to be taken away.
            PathKind::Unreadable => {}
        }
        // A pattern may match the same path and win, and what is private is not
        // the host's to replace.
        if self.has_patterns && self.access(path) != rule.access || self.hidden(path) {
            return;
        }
        // The path under its other name, when a directory above is a link.
        if fact.real != *path && !matches!(fact.kind, PathKind::Missing { .. }) {
            self.existing_watch(rule, &fact.real);
        } else {
            self.existing_watch(rule, path);
        }
    }

    /// The links on the way to a path stay what they are, as does its last name.
    fn way_to(&mut self, path: &AbsPath) {
        for above in path.ancestors().skip(1) {
            if let Some(PathFact { kind: PathKind::Link { .. }, real }) =
                self.host.paths.get(&above)
            {
                self.links.push(real.clone());
            }
        }
    }

    fn point(&mut self, path: &AbsPath, access: Access, kind: MountKind) {
        let point = self.points.entry(path.clone()).or_insert(Point { access, kind });
        point.access = point.access.max(access);
    }

    /// A link that a rule names covers its target, and stays a link.
    fn link(&mut self, rule: &FsRule, fact: &PathFact, target: Option<(&AbsPath, MountKind)>) {
        if rule.access != Access::Write {
            self.links.push(fact.real.clone());
        }
        let Some((target, kind)) = target else { return };
        let explicit = self
            .profile
            .filesystem
            .rules
            .iter()
            .any(|other| matches!(&other.target, FsTarget::Tree(tree) if tree == target));
        if !explicit {
            self.point(target, rule.access, kind);
        }
    }

    /// Nothing is there yet.
    fn missing(&mut self, rule: &FsRule, path: &AbsPath, nearest: &AbsPath) {
        if self.hidden(nearest) {
            return;
        }
        let around = self.access_in(nearest);
        let appears = match (rule.access, around) {
            (Access::Deny, Access::Read | Access::Write) => Appears::Mask,
            (Access::Read, Access::Write) => Appears::TakeAway,
            (Access::Write, Access::Read | Access::Deny) => {
                if !matches!(rule.origin, Origin::BuiltIn(_)) {
                    self.gaps.push(missing_gap(rule, path));
                }
                return;
            }
            _ => return,
        };
        self.watches.push(Watch { path: path.clone(), nearest: nearest.clone(), appears });
    }

    /// Whether the host's `path` is out of sight behind a private directory.
    fn hidden(&self, path: &AbsPath) -> bool {
        let policy = &self.profile.filesystem;
        policy.private.iter().any(|(private, _)| {
            path.starts_with(private)
                && !policy.rules.iter().any(|rule| match &rule.target {
                    FsTarget::Tree(tree) => {
                        tree != private && tree.starts_with(private) && path.starts_with(tree)
                    }
                    FsTarget::Glob(_) => false,
                })
        })
    }

    /// What is protected or denied may be replaced by the host.
    fn existing_watch(&mut self, rule: &FsRule, path: &AbsPath) {
        // The host keeps the directories of its services where they are.
        if rule.origin == SERVICES {
            return;
        }
        let known = self.points.contains_key(path) || self.links.contains(path);
        let (true, Some(parent)) = (known, path.parent()) else { return };
        let appears = match (rule.access, self.access_in(&parent)) {
            (Access::Deny, Access::Read | Access::Write) => Appears::Mask,
            (Access::Read, Access::Write) => Appears::Read,
            _ => return,
        };
        self.watches.push(Watch { path: path.clone(), nearest: parent, appears });
    }

    /// Turns the existing matches of patterns into points.
    fn matches(&mut self) {
        for found in &self.host.glob_matches {
            let Some(rule) = self.profile.filesystem.rules.get(found.rule) else { continue };
            let kind = if found.directory { MountKind::Directory } else { MountKind::File };
            // A rule for exactly this path is as specific; the stronger wins.
            self.point(&found.path, rule.access, kind);
        }
    }

    /// A socket can be connected to through any mount, so those of the host are
    /// masked, but for those that a rule opens.
    fn sockets(&mut self) {
        let rules = &self.profile.network.unix_sockets;
        let opened = |path: &AbsPath| rules.iter().any(|rule| rule.allow && rule.path == *path);
        for socket in self.host.sockets.iter().filter(|socket| !opened(socket)) {
            self.point(socket, Access::Deny, MountKind::Socket);
        }
        for rule in rules.iter().filter(|rule| rule.allow) {
            match self.host.paths.get(&rule.path) {
                Some(PathFact { kind: PathKind::Socket, real }) => {
                    let real = real.clone();
                    self.points
                        .insert(real, Point { access: Access::Write, kind: MountKind::File });
                }
                Some(PathFact { kind: PathKind::Link { target: Some(target), .. }, .. }) => {
                    let point = Point { access: Access::Write, kind: MountKind::File };
                    self.points.insert(target.clone(), point);
                }
                _ => self.gaps.push(Gap {
                    name: "missing-path",
                    rule: format!("socket {}", rule.path),
                    origin: Some(rule.origin.clone()),
                    reason: String::from("there is no socket"),
                    remedy: String::from("start the service first, or remove the rule"),
                }),
            }
        }
    }

    fn plan(&mut self) -> NamespacePlan {
        let profile = self.profile;
        let base = self.access(&AbsPath::root());
        let root = if base == Access::Deny { Root::Empty } else { Root::InPlace };
        let mut mounts = Mounts::new(base);
        for (path, _) in &profile.filesystem.private {
            mounts.private.push(path.clone());
        }
        for (path, point) in &self.points {
            mounts.place(path, point);
        }
        for link in &self.links {
            mounts.pin_link(link);
        }
        for watch in &self.watches {
            if watch.appears != Appears::Mask || mounts.written(&watch.nearest) {
                mounts.pin_above(&watch.nearest, true);
            }
        }
        let mut list = mounts.finish();
        self.always(&mut list, root);
        list.sort_by(|left, right| left.path.cmp(&right.path));
        list.dedup_by(|later, earlier| later.path == earlier.path);
        self.watches.sort_by(|left, right| left.path.cmp(&right.path));
        self.watches.dedup_by(|later, earlier| later.path == earlier.path);
        NamespacePlan {
            root,
            mounts: list,
            watches: std::mem::take(&mut self.watches),
            patterns: self.patterns(),
            network: match profile.network.access {
                NetAccess::Open => Network::Host,
                NetAccess::Off | NetAccess::Rules => Network::Own,
            },
            doors: doors(&profile.network, self.host.notification),
            servers: servers(&profile.network),
            filter: Filter { user_namespaces: profile.user_namespaces, sockets: Sockets::Ordinary },
            limits: profile.limits,
        }
    }

    /// What every plan has: devices, processes, and in an empty root the links
    /// on the way.
    fn always(&self, list: &mut Vec<Mount>, root: Root) {
        let read_only = self.host.uid == 0 && !self.profile.user_namespaces;
        for (path, action) in
            [("/dev", MountAction::Devices), ("/proc", MountAction::Proc { read_only })]
        {
            if let Ok(path) = AbsPath::posix(path) {
                list.push(Mount { path, kind: MountKind::Directory, action });
            }
        }
        if root == Root::Empty {
            for (path, fact) in &self.host.paths {
                let PathKind::Link { target: Some(target), .. } = &fact.kind else { continue };
                if self.access(path) != Access::Deny {
                    list.push(Mount {
                        path: path.clone(),
                        kind: MountKind::Link,
                        action: MountAction::Link(target.as_bytes().to_vec()),
                    });
                }
            }
        }
    }

    fn patterns(&self) -> Vec<Pattern> {
        let policy = &self.profile.filesystem;
        let patterns = policy.rules.iter().enumerate().filter_map(|(index, rule)| {
            let FsTarget::Glob(glob) = &rule.target else { return None };
            let appears = match rule.access {
                Access::Deny => Appears::Mask,
                Access::Read => Appears::TakeAway,
                Access::Write => return None,
            };
            let matches = self.host.glob_matches.iter().filter(|found| found.rule == index);
            let mut existing: Vec<AbsPath> = matches.map(|found| found.path.clone()).collect();
            existing.sort();
            let depth = policy.glob_scan_max_depth;
            Some(Pattern { glob: glob.clone(), appears, depth, existing })
        });
        patterns.collect()
    }
}

/// Whether the supervisor had better hear of sockets: ports that something of the
/// proxy's listens on are too many to be captured one by one, or are needed by the command
/// itself, as any may be that an ordinary user can listen on; or none may be listened on.
pub fn wants_to_hear_of_sockets(policy: &NetPolicy) -> bool {
    const FIRST_OF_USERS: u16 = 1024;
    let rules = || policy.hosts.iter().filter(|rule| rule.action != HostAction::Deny);
    let mut ports = rules().flat_map(|rule| &rule.ports);
    let asks = |(first, last): &(u16, u16)| *last >= FIRST_OF_USERS || last - first >= WIDE;
    policy.access == NetAccess::Rules && (ports.any(asks) || !host_loopback(policy).is_empty())
        || !servers(policy)
}

/// Whether the command may listen, where that is said of a network of its own.
fn servers(policy: &NetPolicy) -> bool {
    policy.access == NetAccess::Open || policy.allow_local_binding != Some(false)
}

/// What a proxy has to listen on, when there are host rules.
fn doors(policy: &NetPolicy, notification: bool) -> Option<Doors> {
    if policy.access != NetAccess::Rules {
        return None;
    }
    if notification && wants_to_hear_of_sockets(policy) {
        return Some(Doors { proxy: PROXY_PORT, capture: Capture::All(host_loopback(policy)) });
    }
    // What programs reach without a word about a proxy, so that a refusal is told.
    let mut captured = BTreeSet::from([22, 80, 443]);
    for rule in policy.hosts.iter().filter(|rule| rule.action != HostAction::Deny) {
        // Ports of wide ranges are reached through the proxy's own door only.
        let narrow = rule.ports.iter().filter(|(first, last)| last - first < WIDE);
        captured.extend(narrow.flat_map(|(first, last)| *first..=*last));
    }
    captured.remove(&PROXY_PORT);
    captured.remove(&NAMES_PORT);
    let captured = captured.into_iter().take(MOST_CAPTURED).collect();
    Some(Doors { proxy: PROXY_PORT, capture: Capture::Ports(captured) })
}

fn limit_gaps(profile: &Profile, host: &LinuxHost) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if !servers(&profile.network) && !host.notification {
        gaps.push(Gap {
            name: "local-binding",
            rule: String::from("allow_local_binding = false"),
            origin: Some(profile.network.origin.clone()),
            reason: String::from("inside another sandbox nobody can hear of sockets that listen"),
            remedy: String::from("remove the key; nobody outside reaches servers inside"),
        });
    }
    if host.uid == 0 && profile.limits.processes.is_some() {
        gaps.push(Gap {
            name: "processes",
            rule: String::from("limits.processes"),
            origin: None,
            reason: String::from("the kernel does not count the processes of user 0"),
            remedy: String::from("run as an ordinary user"),
        });
    }
    gaps
}

fn proc_gap(rule: &FsRule) -> Gap {
    Gap {
        name: "proc",
        rule: rule.to_string(),
        origin: Some(rule.origin.clone()),
        reason: String::from("the sandbox has a /proc of its own, which shows its processes only"),
        remedy: String::from("remove the rule, or work in another directory"),
    }
}

fn missing_gap(rule: &FsRule, path: &AbsPath) -> Gap {
    Gap {
        name: "missing-path",
        rule: rule.to_string(),
        origin: Some(rule.origin.clone()),
        reason: format!("there is nothing at {path}"),
        remedy: String::from("create it first, or remove the rule"),
    }
}
