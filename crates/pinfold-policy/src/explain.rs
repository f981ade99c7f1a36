//! Profiles, plans and verdicts as text: stable, one fact per line.

use std::fmt::Write;

use crate::decide::{self, Operation, decide};
use crate::gap::Gap;
use crate::net::Host;
use crate::path::{AbsPath, Quoted};
use crate::plan::linux::{
    Capture, Doors, GrantAccess, LandlockPlan, MountAction, MountKind, Network, Plan, Reach, Root,
};
use crate::profile::{Confinement, EnvInherit, HostAction, NetAccess, NetMode, Profile};

/// A profile with the origin of every rule.
pub fn profile(profile: &Profile) -> String {
    let mut text = format!("profile {}\n", profile.name);
    if let Some(description) = &profile.description {
        let _ = writeln!(text, "  {description}");
    }
    if profile.confinement == Confinement::Unconfined {
        text.push_str("  no confinement: the command may do whatever its user may\n");
        return text;
    }
    text.push_str("files\n");
    for rule in &profile.filesystem.rules {
        let _ =
            writeln!(text, "  {:<5} {}  ({})", rule.access.to_string(), rule.target, rule.origin);
    }
    for (path, origin) in &profile.filesystem.private {
        let _ = writeln!(text, "  private {path}  ({origin})");
    }
    network(&mut text, profile);
    environment(&mut text, profile);
    limits(&mut text, profile);
    for (gap, origin) in &profile.allowed_gaps {
        let _ = writeln!(text, "accepted gap {gap}  ({origin})");
    }
    text
}

fn network(text: &mut String, profile: &Profile) {
    let policy = &profile.network;
    let access = match policy.access {
        NetAccess::Off => "off",
        NetAccess::Open => "open",
        NetAccess::Rules => "by rule",
    };
    let mode = match policy.mode {
        NetMode::Full => "",
        NetMode::Limited => ", GET, HEAD and OPTIONS only",
    };
    let _ = writeln!(text, "network {access}{mode}  ({})", policy.origin);
    if policy.upstream_resolves && policy.access == NetAccess::Rules {
        text.push_str("  the caller's own proxy resolves names; their addresses are not checked\n");
    }
    for rule in &policy.hosts {
        let action = match rule.action {
            HostAction::Allow => "allow",
            HostAction::Ask => "ask",
            HostAction::Deny => "deny",
        };
        let _ = writeln!(text, "  {action:<5} {}  ({})", rule.text, rule.origin);
    }
    for rule in &policy.unix_sockets {
        let action = if rule.allow { "allow" } else { "deny" };
        let _ = writeln!(text, "  {action:<5} socket {}  ({})", rule.path, rule.origin);
    }
}

fn environment(text: &mut String, profile: &Profile) {
    let policy = &profile.environment;
    let inherit = match policy.inherit {
        EnvInherit::All => "all",
        EnvInherit::Core => "core",
        EnvInherit::None => "none",
    };
    let secrets = if policy.default_excludes { ", without credentials" } else { "" };
    let _ = writeln!(text, "environment {inherit}{secrets}  ({})", policy.origin);
    for (label, names) in [("exclude", &policy.exclude), ("include_only", &policy.include_only)] {
        if !names.is_empty() {
            let _ = writeln!(text, "  {label} {}", names.join(" "));
        }
    }
    for (name, value) in &policy.set {
        let _ = writeln!(text, "  set {name}={}", Quoted(value.as_bytes()));
    }
    for name in &policy.pass {
        let _ = writeln!(text, "  let through {}  (--env)", Quoted(name));
    }
    for (name, value) in &policy.given {
        let _ = writeln!(text, "  set {}={}  (--env)", Quoted(name), Quoted(value));
    }
}

fn limits(text: &mut String, profile: &Profile) {
    let limits = &profile.limits;
    if let Some(time) = limits.wall_time {
        let _ = writeln!(text, "limit wall_time {} ms", time.as_millis());
    }
    if let Some(processes) = limits.processes {
        let _ = writeln!(text, "limit processes {processes}");
    }
    if let Some(memory) = limits.memory {
        let _ = writeln!(text, "limit memory {memory} bytes");
    }
    if let Some(size) = limits.tmp_size {
        let _ = writeln!(text, "limit tmp_size {size} bytes");
    }
}

/// A Linux plan.
pub fn plan(plan: &Plan) -> String {
    let plan = match plan {
        Plan::Unconfined(None) => return String::from("plan: nothing is enforced\n"),
        Plan::Unconfined(Some(time)) => {
            return format!("plan: nothing is enforced but a wall time of {time:?}\n");
        }
        Plan::Landlock(plan) => return landlock(plan),
        Plan::Namespaces(plan) => plan,
    };
    let mut text = String::from(match plan.root {
        Root::InPlace => "plan: namespaces, the host's tree read-only\n",
        Root::Empty => "plan: namespaces, an empty tree\n",
    });
    for mount in &plan.mounts {
        let action = match &mount.action {
            MountAction::Write => String::from("write"),
            MountAction::Pin => String::from("pin"),
            MountAction::Read => String::from("read"),
            MountAction::Mask => String::from("mask"),
            MountAction::Private => String::from("private"),
            MountAction::Devices => String::from("devices"),
            MountAction::Proc { read_only: true } => String::from("processes, read-only"),
            MountAction::Proc { read_only: false } => String::from("processes"),
            MountAction::Link(target) => format!("link to {}", Quoted(target)),
            MountAction::Directory => String::from("directory"),
        };
        let kind = match mount.kind {
            MountKind::Directory => "",
            MountKind::File => " (file)",
            MountKind::Link => " (link)",
            MountKind::Socket => " (socket)",
        };
        let _ = writeln!(text, "  {action} {}{kind}", mount.path);
    }
    for watch in &plan.watches {
        let _ = writeln!(text, "  watch {} for {}: {:?}", watch.nearest, watch.path, watch.appears);
    }
    for pattern in &plan.patterns {
        let _ = writeln!(text, "  watch for {}: {:?}", pattern.glob, pattern.appears);
    }
    let network = match plan.network {
        Network::Own => "own network with loopback",
        Network::Host => "the host's network",
    };
    let _ = writeln!(text, "  {network}");
    if let Some(Doors { proxy, capture }) = &plan.doors {
        let _ = write!(text, "  a proxy on port {proxy}, names on port 53, ");
        let _ = match capture {
            Capture::Ports(ports) => writeln!(text, "captured ports {ports:?}"),
            Capture::All(ports) if ports.is_empty() => {
                writeln!(text, "every connection is captured")
            }
            Capture::All(ports) => {
                let range = |(first, last): &(u16, u16)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                };
                let ports = ports.iter().map(range).collect::<Vec<String>>().join(" ");
                writeln!(text, "every connection is captured, the host's loopback at {ports}")
            }
        };
    }
    if !plan.servers {
        text.push_str("  nothing listens but unix sockets\n");
    }
    if plan.filter.user_namespaces {
        text.push_str("  user namespaces allowed\n");
    }
    text
}

fn landlock(plan: &LandlockPlan) -> String {
    let mut text = String::from("plan: Landlock, nothing but this\n");
    for grant in &plan.grants {
        let access = match grant.access {
            GrantAccess::Read => "read",
            GrantAccess::Write => "write",
            GrantAccess::Device => "device",
            GrantAccess::SharedMemory => "shared memory",
        };
        let kind = if grant.kind == MountKind::File { " (file)" } else { "" };
        let _ = writeln!(text, "  {access} {}{kind}", grant.path);
    }
    text.push_str(match plan.reach {
        Reach::Everything => "  the host's network\n",
        Reach::Proxy => "  a proxy that the supervisor connects every TCP socket to\n",
        Reach::Nothing => "  no network\n",
    });
    if let Some(deputy) = &plan.deputy {
        let what = if deputy.reads { "opens, makes" } else { "makes" };
        let _ = writeln!(text, "  the supervisor {what} and changes what appears later");
    }
    text
}

/// The gaps of a host.
pub fn gaps(gaps: &[Gap]) -> String {
    if gaps.is_empty() {
        return String::from("gaps: none\n");
    }
    let mut text = String::from("gaps\n");
    for gap in gaps {
        let origin = gap.origin.as_ref().map_or(String::new(), |origin| format!("  ({origin})"));
        let _ = writeln!(text, "  {}: {gap}{origin}", gap.name);
    }
    text
}

/// What may be done with one path, which must be free of links.
pub fn path(profile: &Profile, path: &AbsPath) -> String {
    let mut text = format!("{path}\n");
    for (label, operation) in [
        ("read", Operation::Read(path)),
        ("write", Operation::Write(path)),
        ("remove", Operation::Remove(path)),
    ] {
        let _ = writeln!(text, "  {label:<6} {}", decide(profile, operation));
    }
    text
}

/// Whether one host and port may be reached.
pub fn host(profile: &Profile, host: &Host, port: u16) -> String {
    format!("{host} port {port}: {}", decide::host(profile, host, port))
}
