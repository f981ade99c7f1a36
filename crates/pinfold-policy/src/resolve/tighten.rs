//! What a project that nobody trusts may say: only less.

use super::rules::{self, Rules};
use super::{Context, put};
use crate::config::diagnostic::Diagnostic;
use crate::config::file::{File, LimitsTable, ProfileTable};
use crate::config::place::{At, Place};
use crate::config::tree::Item;
use crate::decide;
use crate::net::parse_host_rule;
use crate::profile::{
    Access, EnvInherit, FsTarget, HostAction, HostRule, Limits, NetAccess, NetMode, Profile,
};

/// Applies one file of an untrusted project to a profile.
pub(super) fn apply(
    profile: &mut Profile,
    layer: Item,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let (file, mut problems) = File::read(layer);
    diagnostics.append(&mut problems);
    let mut refuse = |place: &Place, what: &str| diagnostics.push(refused(place, what));
    if let Some(name) = &file.default_permissions
        && name.value != profile.name
    {
        refuse(&name.place, "choose a profile");
    }
    if let Some(mode) = &file.sandbox_mode {
        refuse(&mode.place, "choose a mode");
    }
    for (path, _) in &file.projects {
        refuse(&path.place, "say which projects are trusted");
    }
    if let Some(mechanism) = &file.mechanism {
        refuse(&mechanism.place, "choose the mechanism");
    }
    if let Some(level) = &file.level {
        refuse(&level.place, "choose the level");
    }
    for root in &file.workspace_write.writable_roots {
        refuse(&root.place, "add a writable root");
    }
    if let Some(access) = file.workspace_write.network_access.as_ref().filter(|at| at.value) {
        refuse(&access.place, "turn the network on");
    }
    for value in file.environment.set.values() {
        refuse(&value.place, "set a variable");
    }
    for (name, table) in &file.permissions {
        if *name == profile.name {
            narrow(profile, &table.value, context, diagnostics);
        } else {
            diagnostics.push(refused(&table.place, "define a profile"));
        }
    }
}

fn refused(place: &Place, what: &str) -> Diagnostic {
    Diagnostic::at(place, format!("a project that is not trusted cannot {what}"))
        .hint("look at the file, then run \"pinfold trust\" in the project to accept it")
}

fn narrow(
    profile: &mut Profile,
    table: &ProfileTable,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut refuse = |place: &Place, what: &str| diagnostics.push(refused(place, what));
    if let Some(extends) = &table.extends {
        refuse(&extends.place, "extend a profile");
    }
    if let Some(git) = &table.git {
        refuse(&git.place, "change how git directories are protected");
    }
    for (root, _) in &table.workspace_roots {
        refuse(&root.place, "change the workspace roots");
    }
    for gap in &table.allow_gaps {
        refuse(&gap.place, "accept a gap");
    }
    for switch in &table.macos {
        refuse(&switch.place, "open a service of macOS");
    }
    if let Some(level) = &table.level {
        refuse(&level.place, "choose the level");
    }
    if let Some(mechanism) = &table.mechanism {
        refuse(&mechanism.place, "choose the mechanism");
    }
    if let Some(private) = table.private_tmp.as_ref().filter(|at| !at.value) {
        refuse(&private.place, "share /tmp");
    }
    if let Some(allowed) = &table.user_namespaces {
        if allowed.value {
            refuse(&allowed.place, "allow user namespaces");
        } else {
            profile.user_namespaces = false;
        }
    }
    environment(profile, table, diagnostics);
    network(profile, table, diagnostics);
    limits(&mut profile.limits, &table.limits, diagnostics);
    filesystem(profile, table, context, diagnostics);
}

fn environment(profile: &mut Profile, table: &ProfileTable, diagnostics: &mut Vec<Diagnostic>) {
    for value in table.environment.set.values() {
        diagnostics.push(refused(&value.place, "set a variable"));
    }
    if let Some(inherit) = &table.environment.inherit {
        let rank = |inherit: EnvInherit| match inherit {
            EnvInherit::All => 2,
            EnvInherit::Core => 1,
            EnvInherit::None => 0,
        };
        if rank(inherit.value) > rank(profile.environment.inherit) {
            diagnostics.push(refused(&inherit.place, "pass more variables on"));
        } else {
            profile.environment.inherit = inherit.value;
        }
    }
    if let Some(ignore) = &table.environment.ignore_default_excludes {
        if ignore.value {
            diagnostics.push(refused(&ignore.place, "pass credentials on"));
        } else {
            profile.environment.default_excludes = true;
        }
    }
    if let Some(names) = table.environment.include_only.as_ref().and_then(|names| names.first()) {
        diagnostics.push(refused(&names.place, "replace include_only"));
    }
    let excluded = table.environment.exclude.iter().flatten();
    profile.environment.exclude.extend(excluded.map(|name| name.value.clone()));
}

fn network(profile: &mut Profile, table: &ProfileTable, diagnostics: &mut Vec<Diagnostic>) {
    let policy = &mut profile.network;
    if let Some(enabled) = &table.network.enabled {
        if !enabled.value {
            policy.access = NetAccess::Off;
            policy.origin = enabled.place.origin();
        } else if policy.access == NetAccess::Off {
            diagnostics.push(refused(&enabled.place, "turn the network on"));
        }
    }
    match &table.network.mode {
        Some(mode) if mode.value == NetMode::Limited => policy.mode = NetMode::Limited,
        Some(mode) if policy.mode == NetMode::Limited => {
            diagnostics.push(refused(&mode.place, "allow more requests"));
        }
        _ => {}
    }
    match &table.network.allow_local_binding {
        Some(binding) if binding.value => {
            diagnostics.push(refused(&binding.place, "allow local binding"));
        }
        Some(_) => policy.allow_local_binding = Some(false),
        None => {}
    }
    match &table.network.upstream_resolves {
        Some(resolves) if resolves.value => {
            diagnostics.push(refused(&resolves.place, "leave addresses unchecked"));
        }
        Some(_) => policy.upstream_resolves = false,
        None => {}
    }
    for (path, allow) in &table.network.unix_sockets {
        if allow.value {
            diagnostics.push(refused(&path.place, "open a socket"));
        }
    }
    for (host, action) in &table.network.domains {
        if action.value != HostAction::Deny {
            diagnostics.push(refused(&host.place, "allow a host"));
            continue;
        }
        match parse_host_rule(&host.value) {
            Ok((pattern, ports)) => policy.hosts.push(HostRule {
                text: host.value.clone(),
                host: pattern,
                ports,
                action: HostAction::Deny,
                origin: host.place.origin(),
            }),
            Err(error) => {
                let message = format!("cannot use the host rule \"{}\": {error}", host.value);
                diagnostics.push(Diagnostic::at(&host.place, message).hint(error.hint()));
            }
        }
        if policy.access == NetAccess::Open {
            // Everything but the denied hosts: that needs the proxy.
            policy.access = NetAccess::Rules;
            policy.hosts.push(HostRule {
                text: String::from("*"),
                host: crate::profile::HostPattern::Any,
                ports: vec![(1, u16::MAX)],
                action: HostAction::Allow,
                origin: policy.origin.clone(),
            });
        }
    }
    policy.hosts.sort();
}

fn limits(limits: &mut Limits, table: &LimitsTable, diagnostics: &mut Vec<Diagnostic>) {
    fn lower<T: Copy + PartialOrd>(
        limit: &mut Option<T>,
        wanted: &Option<At<T>>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        match wanted {
            Some(wanted) if limit.is_some_and(|limit| wanted.value > limit) => {
                diagnostics.push(refused(&wanted.place, "raise a limit"));
            }
            Some(wanted) => *limit = Some(wanted.value),
            None => {}
        }
    }
    lower(&mut limits.wall_time, &table.wall_time, diagnostics);
    lower(&mut limits.processes, &table.processes, diagnostics);
    lower(&mut limits.memory, &table.memory, diagnostics);
    lower(&mut limits.tmp_size, &table.tmp_size, diagnostics);
}

fn filesystem(
    profile: &mut Profile,
    table: &ProfileTable,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for entry in &table.filesystem {
        let mut added = Rules::new();
        let roots = &profile.directories.workspace_roots;
        let entries = std::slice::from_ref(entry);
        rules::add_entries(&mut added, entries, roots, context, diagnostics);
        for rule in rules::in_order(added) {
            let current = match &rule.target {
                FsTarget::Tree(path) => decide::access(&profile.filesystem, path).0,
                // A pattern can match anywhere: only denying is surely less.
                FsTarget::Glob(_) => Access::Deny,
            };
            let place = entry.below.as_ref().map_or(&entry.key.place, |below| &below.place);
            if rule.access == Access::Deny || freedom(rule.access) <= freedom(current) {
                put(&mut profile.filesystem, rule);
            } else {
                let what = format!("grant {} access", rule.access);
                diagnostics.push(refused(place, &what));
            }
        }
    }
}

fn freedom(access: Access) -> u8 {
    match access {
        Access::Deny => 0,
        Access::Read => 1,
        Access::Write => 2,
    }
}
