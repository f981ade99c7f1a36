//! The parts of a profile other than its file rules.

use super::choose::Chosen;
use super::{Context, last};
use crate::config::diagnostic::Diagnostic;
use crate::config::file::{EnvTable, File, LimitsTable, ProfileTable};
use crate::config::place::{At, Place};
use crate::host::System;
use crate::net::parse_host_rule;
use crate::origin::Origin;
use crate::path::AbsPath;
use crate::profile::{
    EnvInherit, EnvPolicy, HostAction, HostRule, Limits, NetAccess, NetMode, NetPolicy, SocketRule,
};

/// The workspace roots: the working directory and those that tables add.
pub(super) fn roots(chosen: &Chosen, context: &Context) -> (Vec<AbsPath>, Vec<Diagnostic>) {
    let mut roots = vec![context.working.clone()];
    let mut problems = Vec::new();
    let listed = chosen.tables.iter().flat_map(|table| &table.workspace_roots);
    for (path, enabled) in listed {
        match root(path, context) {
            Ok(root) if enabled.value => roots.push(root),
            Ok(root) => roots.retain(|existing| *existing != root),
            Err(message) => problems.push(Diagnostic::at(&path.place, message)),
        }
    }
    roots.sort();
    roots.dedup();
    (roots, problems)
}

fn root(path: &At<String>, context: &Context) -> Result<AbsPath, String> {
    let base = path.place.directory().unwrap_or(&context.working);
    let home = context.home.as_ref();
    let joined = match (path.value.strip_prefix('~'), home) {
        (Some(""), Some(home)) => Ok(home.clone()),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => base.join(&path.value),
    };
    joined.map_err(|error| format!("cannot use the workspace root \"{}\": {error}", path.value))
}

/// The directories that `private_tmp` replaces.
pub(super) fn private(setting: Option<&At<bool>>, context: &Context) -> Vec<(AbsPath, Origin)> {
    let Some(setting) = setting.filter(|setting| setting.value) else { return Vec::new() };
    let shared = match context.system {
        System::Windows => context.tmpdir.clone(),
        System::Linux | System::MacOs => AbsPath::posix("/tmp").ok().filter(|_| context.slash_tmp),
    };
    shared.into_iter().map(|directory| (directory, setting.place.origin())).collect()
}

/// The network rules.
pub(super) fn network(
    chosen: &Chosen,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) -> NetPolicy {
    let tables = &chosen.tables;
    let enabled = last(tables, |table| table.network.enabled.as_ref());
    let default = Place::BuiltIn("default: no network");
    let mut policy = NetPolicy {
        access: match enabled {
            Some(enabled) if enabled.value => NetAccess::Open,
            _ if chosen.confinement == crate::profile::Confinement::Unconfined => NetAccess::Open,
            _ => NetAccess::Off,
        },
        origin: enabled.map_or(&default, |enabled| &enabled.place).origin(),
        mode: last(tables, |table| table.network.mode.as_ref())
            .map_or(NetMode::Full, |mode| mode.value),
        allow_local_binding: last(tables, |table| table.network.allow_local_binding.as_ref())
            .map(|allowed| allowed.value),
        upstream_resolves: last(tables, |table| table.network.upstream_resolves.as_ref())
            .is_some_and(|resolves| resolves.value),
        hosts: Vec::new(),
        unix_sockets: Vec::new(),
    };
    for (host, action) in tables.iter().flat_map(|table| &table.network.domains) {
        match parse_host_rule(&host.value) {
            Ok((pattern, ports)) => put_host(
                &mut policy,
                HostRule {
                    text: host.value.clone(),
                    host: pattern,
                    ports,
                    action: action.value,
                    origin: host.place.origin(),
                },
            ),
            Err(error) => {
                let message = format!("cannot use the host rule \"{}\": {error}", host.value);
                diagnostics.push(Diagnostic::at(&host.place, message).hint(error.hint()));
            }
        }
    }
    if policy.access == NetAccess::Open && !policy.hosts.is_empty() {
        policy.access = NetAccess::Rules;
    }
    for (path, allow) in tables.iter().flat_map(|table| &table.network.unix_sockets) {
        match AbsPath::parse(context.system.style(), path.value.as_bytes()) {
            Ok(socket) => policy.unix_sockets.push(SocketRule {
                path: socket,
                allow: allow.value,
                origin: path.place.origin(),
            }),
            Err(error) => {
                let message = format!("cannot use the socket \"{}\": {error}", path.value);
                diagnostics
                    .push(Diagnostic::at(&path.place, message).hint("write an absolute path"));
            }
        }
    }
    policy
}

/// Adds a host rule of the command line, `HOST[:PORTS]`; it turns the network on.
pub(super) fn add_host(
    policy: &mut NetPolicy,
    text: &str,
    origin: Origin,
) -> Result<(), Diagnostic> {
    match text {
        "on" | "open" => {
            policy.access = NetAccess::Open;
            policy.hosts.clear();
            policy.origin = origin;
            return Ok(());
        }
        "off" => {
            policy.access = NetAccess::Off;
            policy.origin = origin;
            return Ok(());
        }
        _ => {}
    }
    let (rest, action) = match text.split_once('=') {
        Some((rest, "allow")) => (rest, HostAction::Allow),
        Some((rest, "deny")) => (rest, HostAction::Deny),
        Some((rest, "ask")) => (rest, HostAction::Ask),
        Some(_) => {
            let message = format!("--net {text}: after \"=\" comes allow, deny or ask");
            return Err(Diagnostic::general(message));
        }
        None => (text, HostAction::Allow),
    };
    let (host, ports) = parse_host_rule(rest).map_err(|error| {
        Diagnostic::general(format!("--net {text}: {error}")).hint(error.hint())
    })?;
    if policy.access == NetAccess::Off {
        policy.access = NetAccess::Rules;
        policy.origin = origin.clone();
    }
    put_host(policy, HostRule { text: rest.into(), host, ports, action, origin });
    Ok(())
}

/// A rule with the same text replaces the earlier one.
fn put_host(policy: &mut NetPolicy, rule: HostRule) {
    policy.hosts.retain(|existing| existing.text != rule.text);
    let at = policy.hosts.partition_point(|existing| existing.text < rule.text);
    policy.hosts.insert(at, rule);
}

/// The environment policy: the profile's own fields win over the older table of
/// the whole configuration.
pub(super) fn environment(file: &File, chosen: &Chosen) -> EnvPolicy {
    let layers: Vec<&EnvTable> = std::iter::once(&file.environment)
        .chain(chosen.tables.iter().map(|table| &table.environment))
        .collect();
    let inherit = layers.iter().rev().find_map(|table| table.inherit.as_ref());
    let ignore = layers.iter().rev().find_map(|table| table.ignore_default_excludes.as_ref());
    let names = |pick: fn(&EnvTable) -> Option<&Vec<At<String>>>| -> Vec<String> {
        let list = layers.iter().rev().find_map(|table| pick(table));
        list.into_iter().flatten().map(|name| name.value.clone()).collect()
    };
    let mut set = std::collections::BTreeMap::new();
    for table in &layers {
        set.extend(table.set.iter().map(|(name, value)| (name.clone(), value.value.clone())));
    }
    EnvPolicy {
        inherit: inherit.map_or(EnvInherit::All, |inherit| inherit.value),
        default_excludes: ignore.is_some_and(|ignore| !ignore.value),
        exclude: names(|table| table.exclude.as_ref()),
        set,
        include_only: names(|table| table.include_only.as_ref()),
        pass: Vec::new(),
        given: std::collections::BTreeMap::new(),
        origin: inherit
            .map(|inherit| inherit.place.origin())
            .or(ignore.map(|ignore| ignore.place.origin()))
            .unwrap_or(Origin::BuiltIn("default environment")),
    }
}

/// The limits.
pub(super) fn limits(tables: &[ProfileTable]) -> Limits {
    fn pick<T: Copy>(tables: &[ProfileTable], of: fn(&LimitsTable) -> Option<&At<T>>) -> Option<T> {
        last(tables, |table| of(&table.limits)).map(|limit| limit.value)
    }
    Limits {
        wall_time: pick(tables, |limits| limits.wall_time.as_ref()),
        processes: pick(tables, |limits| limits.processes.as_ref()),
        memory: pick(tables, |limits| limits.memory.as_ref()),
        tmp_size: pick(tables, |limits| limits.tmp_size.as_ref()),
    }
}
