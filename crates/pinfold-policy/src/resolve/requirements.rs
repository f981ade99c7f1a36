//! What the administrator bounds, above every layer.

use super::choose::Chosen;
use super::rules::{self, Rules};
use super::{Context, put};
use crate::config::diagnostic::Diagnostic;
use crate::config::file::{FsEntry, SandboxMode, WrittenAccess};
use crate::config::place::At;
use crate::config::tree::Item;
use crate::config::{Place, requirements};
use crate::origin::Origin;
use crate::profile::{Confinement, NetAccess, Profile};

/// `requirements.toml`, read.
#[derive(Clone, Debug)]
pub struct Requirements {
    table: requirements::Table,
}

impl Requirements {
    /// Reads the file.
    pub fn read(item: Item) -> (Requirements, Vec<Diagnostic>) {
        let (table, diagnostics) = requirements::Table::read(item);
        (Requirements { table }, diagnostics)
    }

    /// Refuses what is out of bounds, and adds what is always denied.
    pub(super) fn bound(
        &self,
        profile: &mut Profile,
        chosen: &Chosen,
        context: &Context,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        self.bound_choice(profile, chosen, diagnostics);
        if let Some(enabled) = self.table.network.as_ref().filter(|enabled| !enabled.value)
            && profile.network.access != NetAccess::Off
        {
            diagnostics.push(out_of_bounds("network", &profile.network.origin, enabled));
        }
        let mut denied = Rules::new();
        let entries: Vec<FsEntry> = self
            .table
            .deny_read
            .iter()
            .map(|path| FsEntry {
                key: path.clone(),
                below: None,
                access: At { value: WrittenAccess::Deny, place: path.place.clone() },
            })
            .collect();
        let roots = profile.directories.workspace_roots.clone();
        rules::add_entries(&mut denied, &entries, &roots, context, diagnostics);
        if profile.confinement == Confinement::Unconfined && !denied.is_empty() {
            let message = format!(
                "invalid value for `profile`: `{}` leaves paths readable that must be denied",
                profile.name
            );
            diagnostics.push(with_place(message, self.table.deny_read.first().map(|at| &at.place)));
        }
        for rule in rules::in_order(denied) {
            // No more specific rule may open what must stay closed.
            if let crate::profile::FsTarget::Tree(tree) = &rule.target {
                profile.filesystem.rules.retain(|existing| match &existing.target {
                    crate::profile::FsTarget::Tree(path) => !path.starts_with(tree),
                    crate::profile::FsTarget::Glob(glob) => !glob.base.starts_with(tree),
                });
            }
            put(&mut profile.filesystem, rule);
        }
    }

    fn bound_choice(&self, profile: &Profile, chosen: &Chosen, diagnostics: &mut Vec<Diagnostic>) {
        // A mode of the older syntax counts as the built-in profile that it
        // means: allowing profiles bounds it as well.
        let meant = match chosen.mode {
            None => profile.name.as_str(),
            Some(SandboxMode::ReadOnly) => ":read-only",
            Some(SandboxMode::WorkspaceWrite) => ":workspace",
            Some(SandboxMode::DangerFullAccess) => ":danger-full-access",
        };
        if let Some(allowed) = &self.table.allowed_profiles {
            let listed = allowed.value.iter().any(|(name, on)| name == meant && *on);
            if !listed {
                let set: Vec<&str> = allowed
                    .value
                    .iter()
                    .filter(|(_, on)| *on)
                    .map(|(name, _)| name.as_str())
                    .collect();
                diagnostics.push(not_allowed("profile", &profile.name, &set, &allowed.place));
            }
        }
        let mode = chosen.mode.map_or(implied_mode(profile), mode_name);
        if let Some(allowed) = &self.table.allowed_modes
            && !allowed.value.iter().any(|name| name == mode)
        {
            let set: Vec<&str> = allowed.value.iter().map(String::as_str).collect();
            diagnostics.push(not_allowed("sandbox_mode", mode, &set, &allowed.place));
        }
    }
}

fn mode_name(mode: SandboxMode) -> &'static str {
    match mode {
        SandboxMode::ReadOnly => "read-only",
        SandboxMode::WorkspaceWrite => "workspace-write",
        SandboxMode::DangerFullAccess => "danger-full-access",
    }
}

/// The mode that a profile amounts to.
fn implied_mode(profile: &Profile) -> &'static str {
    let writes = profile.filesystem.rules.iter().any(|r| r.access == crate::profile::Access::Write);
    match (profile.confinement, writes) {
        (Confinement::Unconfined, _) => "danger-full-access",
        (_, true) => "workspace-write",
        (_, false) => "read-only",
    }
}

fn not_allowed(field: &str, value: &str, set: &[&str], place: &Place) -> Diagnostic {
    let message = format!(
        "invalid value for `{field}`: `{value}` is not in the allowed set [{}] (set by {})",
        set.join(", "),
        place.origin()
    );
    with_place(message, Some(place)).hint("choose one that the administrator allows")
}

fn out_of_bounds(field: &str, origin: &Origin, bound: &At<bool>) -> Diagnostic {
    let message = format!(
        "invalid value for `{field}`: enabled by {origin}, but it must be off (set by {})",
        bound.place.origin()
    );
    with_place(message, Some(&bound.place))
}

fn with_place(message: String, place: Option<&Place>) -> Diagnostic {
    match place {
        Some(place) => Diagnostic::at(place, message),
        None => Diagnostic::general(message),
    }
}
