//! A profile in macOS's own terms: the text of a Seatbelt profile and its
//! parameters, as `sandbox-exec` takes them.
//!
//! Later rules win, so broad ones come first. Every rule is written for the same
//! few operations, because it is not documented whether a rule for an operation
//! prevails over a later one for the group it belongs to. Paths are parameters
//! and never stand in the text, except in expressions.

mod expression;
mod gaps;
mod switch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use std::time::Duration;

use crate::decide;
use crate::gap::Gap;
use crate::glob::Matcher;
use crate::host::{MacHost, PathKind};
use crate::path::AbsPath;
use crate::profile::{Access, Confinement, FsRule, FsTarget, NetAccess, Profile};

use expression::{Expression, expression};

/// What will be enforced on macOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing but this wall-clock time (`:danger-full-access`).
    Unconfined(Option<Duration>),
    /// A Seatbelt profile.
    Seatbelt(Seatbelt),
}

/// What `sandbox-exec` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seatbelt {
    /// The profile: printable ASCII.
    pub text: String,
    /// The paths that the text names as parameters: `P0`, `P1`, ...
    pub parameters: Vec<AbsPath>,
    /// Whether the text also needs [`PROXY_PORT`], the port of the proxy.
    pub proxy: bool,
    /// Wall-clock time until everything is killed.
    pub wall_time: Option<Duration>,
}

/// The name of the parameter that holds the port of the proxy on loopback.
pub const PROXY_PORT: &str = "PROXY_PORT";

/// What every program needs, whatever the profile says about files.
const BASE: &str = r#"(version 1)
(deny default)
(allow process-fork)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow sysctl-read)
(allow pseudo-tty)
(allow file-ioctl (literal "/dev/tty") (regex #"^/dev/ttys[0-9]+$"))
(allow mach-lookup
  (global-name "com.apple.system.opendirectoryd.libinfo")
  (global-name "com.apple.system.logger")
  (global-name "com.apple.system.notification_center"))
"#;

/// What a program cannot start without, or takes for granted.
const SYSTEM: [(&str, Access); 10] = [
    ("/System", Access::Read),
    ("/dev/fd", Access::Write),
    ("/dev/null", Access::Write),
    ("/dev/random", Access::Read),
    ("/dev/tty", Access::Write),
    ("/dev/urandom", Access::Read),
    ("/dev/zero", Access::Write),
    ("/private/var/db/dyld", Access::Read),
    ("/private/var/db/timezone", Access::Read),
    ("/usr/lib", Access::Read),
];

/// Compiles a profile. The same profile and host give the same plan everywhere.
pub fn compile(profile: &Profile, host: &MacHost) -> (Plan, Vec<Gap>) {
    if profile.confinement == Confinement::Unconfined {
        // It cannot be extended, so no other limit can be set.
        return (Plan::Unconfined(profile.limits.wall_time), Vec::new());
    }
    let mut writer = Writer { host, text: String::from(BASE), parameters: BTreeMap::new() };
    let mut gaps = gaps::of_mechanism(profile, host);
    writer.text.push_str(switch::NO_TYPING);
    profile.macos.iter().for_each(|opened| writer.text.push_str(switch::text(*opened)));
    writer.files(profile, &mut gaps);
    writer.network(profile);
    let parameters = writer.in_order();
    let proxy = profile.network.access == NetAccess::Rules;
    let wall_time = profile.limits.wall_time;
    (Plan::Seatbelt(Seatbelt { text: writer.text, parameters, proxy, wall_time }), gaps)
}

/// A plan as text: the parameters as comments, then the profile.
pub fn render(plan: &Plan) -> String {
    let Plan::Seatbelt(plan) = plan else {
        return String::from("; nothing is enforced\n");
    };
    let mut text = String::new();
    for (index, path) in plan.parameters.iter().enumerate() {
        let _ = writeln!(text, "; P{index} = {path}");
    }
    if plan.proxy {
        let _ = writeln!(text, "; {PROXY_PORT} = the port of the proxy");
    }
    if let Some(time) = plan.wall_time {
        let _ = writeln!(text, "; wall time {time:?}");
    }
    text + &plan.text
}

/// Where macOS keeps what it shows under another name; rules hold for the place.
fn real(path: &AbsPath, host: &MacHost) -> AbsPath {
    let found = host.paths.get(path).map(|fact| match &fact.kind {
        PathKind::Link { target: Some(target), .. } => target,
        _ => &fact.real,
    });
    let path = found.unwrap_or(path);
    match path.components().next() {
        Some(b"tmp" | b"var" | b"etc") => {
            AbsPath::posix([b"/private", path.as_bytes()].concat()).unwrap_or_else(|_| path.clone())
        }
        _ => path.clone(),
    }
}

struct Writer<'h> {
    host: &'h MacHost,
    text: String,
    parameters: BTreeMap<AbsPath, usize>,
}

impl Writer<'_> {
    fn files(&mut self, profile: &Profile, gaps: &mut Vec<Gap>) {
        let rules = &profile.filesystem.rules;
        let trees = self.trees(rules);
        // 1. Trees, each after the ones around it.
        for (path, access) in &trees {
            self.tree(path, *access);
        }
        // 2. Patterns, the strict ones last. A tree inside a match comes again
        //    when it is stricter than the match.
        for access in [Access::Write, Access::Read, Access::Deny] {
            for rule in rules.iter().filter(|rule| rule.access == access) {
                if let FsTarget::Glob(glob) = &rule.target {
                    let mut glob = glob.clone();
                    glob.base = real(&glob.base, self.host);
                    self.pattern(rule, &Matcher::new(&glob), &trees, gaps);
                }
            }
        }
        // 3. No rename of a name that leads to a rule takes the rule away.
        let mut held = BTreeSet::new();
        for rule in rules {
            if let FsTarget::Tree(path) = &rule.target
                && !decide::is_idle(&profile.filesystem, path)
            {
                held.extend(path.ancestors().filter(|path| !path.is_root()));
                held.extend(real(path, self.host).ancestors().filter(|path| !path.is_root()));
            }
        }
        if !held.is_empty() {
            self.text.push_str("(deny file-write-unlink");
            for path in &held {
                let parameter = self.parameter(path);
                let _ = write!(self.text, "\n  (literal {parameter})");
            }
            self.text.push_str(")\n");
        }
    }

    /// The trees in their real places, the outer before the inner.
    fn trees(&self, rules: &[FsRule]) -> Vec<(AbsPath, Access)> {
        let mut trees: BTreeMap<AbsPath, Access> = BTreeMap::new();
        for (path, access) in SYSTEM {
            trees.extend(AbsPath::posix(path).ok().map(|path| (path, access)));
        }
        let mut written: BTreeMap<AbsPath, Access> = BTreeMap::new();
        for rule in rules {
            if let FsTarget::Tree(path) = &rule.target {
                let access = written.entry(real(path, self.host)).or_insert(rule.access);
                *access = rule.access.max(*access);
            }
        }
        trees.extend(written);
        let mut trees: Vec<_> = trees.into_iter().collect();
        trees.sort_by_key(|(path, access)| (path.depth(), *access));
        trees
    }

    fn tree(&mut self, path: &AbsPath, access: Access) {
        let parameter = self.parameter(path);
        self.rules(access, &format!("(subpath {parameter})"));
    }

    fn pattern(
        &mut self,
        rule: &FsRule,
        matcher: &Matcher,
        trees: &[(AbsPath, Access)],
        gaps: &mut Vec<Gap>,
    ) {
        let Expression { text, exact } = expression(matcher);
        let covered = format!("(regex #\"{text}\")");
        match (exact, rule.access) {
            (true, access) => self.rules(access, &covered),
            // Never grant more than the pattern says; refusing more is safe.
            (false, Access::Write) => {}
            (false, Access::Read) => {
                let _ = writeln!(self.text, "(deny file-write* {covered})");
            }
            (false, Access::Deny) => self.rules(Access::Deny, &covered),
        }
        if !exact {
            gaps.push(gaps::inexact(rule));
        }
        for (path, access) in trees {
            let Some(found) = matcher.deepest_match(path) else { continue };
            let wins = (path.depth(), *access) > (found.depth(), rule.access);
            if !wins || *access == rule.access {
                continue;
            }
            gaps.push(gaps::exception(rule, path));
            if strictness(*access) > strictness(rule.access) {
                for (inner, access) in trees.iter().filter(|(inner, _)| inner.starts_with(path)) {
                    self.tree(inner, *access);
                }
            }
        }
    }

    /// Both words for the same operations, so that the last rule decides.
    fn rules(&mut self, access: Access, covered: &str) {
        let (read, write) = match access {
            Access::Read => ("allow", "deny"),
            Access::Write => ("allow", "allow"),
            Access::Deny => ("deny", "deny"),
        };
        let _ =
            writeln!(self.text, "({read} file-read* file-map-executable process-exec* {covered})");
        let _ = writeln!(self.text, "({write} file-write* {covered})");
    }

    fn network(&mut self, profile: &Profile) {
        match profile.network.access {
            NetAccess::Off => {}
            NetAccess::Open => self.text.push_str(
                "(allow system-socket)\n(allow network-outbound (remote ip))\n\
                 (allow network-bind (local ip))\n(allow network-inbound (local ip))\n\
                 (allow network-outbound (literal \"/private/var/run/mDNSResponder\"))\n",
            ),
            NetAccess::Rules => {
                let _ = writeln!(
                    self.text,
                    "(allow system-socket)\n(allow network-outbound \
                     (remote ip (string-append \"localhost:\" (param \"{PROXY_PORT}\"))))"
                );
            }
        }
        if profile.network.access != NetAccess::Open
            && profile.network.allow_local_binding == Some(true)
        {
            if profile.network.access == NetAccess::Off {
                self.text.push_str("(allow system-socket)\n");
            }
            // Where to is said of what goes out: a filter of the local end would let it go anywhere.
            self.text.push_str(
                "(allow network-bind (local ip \"localhost:*\"))\n\
                 (allow network-inbound (local ip \"localhost:*\"))\n\
                 (allow network-outbound (remote ip \"localhost:*\"))\n",
            );
        }
        for rule in profile.network.unix_sockets.iter().filter(|rule| rule.allow) {
            let parameter = self.parameter(&real(&rule.path, self.host));
            let _ = writeln!(self.text, "(allow network-outbound (literal {parameter}))");
        }
        for rule in profile.network.unix_sockets.iter().filter(|rule| !rule.allow) {
            let parameter = self.parameter(&real(&rule.path, self.host));
            let _ = writeln!(self.text, "(deny network-outbound (literal {parameter}))");
        }
    }

    fn parameter(&mut self, path: &AbsPath) -> String {
        let next = self.parameters.len();
        let index = self.parameters.entry(path.clone()).or_insert(next);
        format!("(param \"P{index}\")")
    }

    fn in_order(&self) -> Vec<AbsPath> {
        let mut parameters: Vec<_> = self.parameters.iter().collect();
        parameters.sort_by_key(|(_, index)| **index);
        parameters.into_iter().map(|(path, _)| path.clone()).collect()
    }
}

/// How much an access takes away.
fn strictness(access: Access) -> u8 {
    match access {
        Access::Write => 0,
        Access::Read => 1,
        Access::Deny => 2,
    }
}
