//! `requirements.toml`: the administrator's bounds, as written.

use super::diagnostic::Diagnostic;
use super::place::At;
use super::read::{Fields, string};
use super::tree::{Item, Node};

/// The file.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// `allowed_permission_profiles`: name and whether it is allowed.
    pub allowed_profiles: Option<At<Vec<(String, bool)>>>,
    /// `allowed_sandbox_modes`.
    pub allowed_modes: Option<At<Vec<String>>>,
    /// `[permissions.filesystem] deny_read`.
    pub deny_read: Vec<At<String>>,
    /// `[network] enabled`: false keeps the network off.
    pub network: Option<At<bool>>,
}

impl Table {
    /// Reads the file strictly.
    pub fn read(item: Item) -> (Table, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let mut fields = Fields::of(item, "the requirements", &mut diagnostics);
        let mut table = Table::default();
        if let Some(profiles) = fields.take("allowed_permission_profiles") {
            let place = profiles.place.clone();
            let mut value = Vec::new();
            let entries = Fields::of(profiles, "allowed_permission_profiles", fields.diagnostics);
            let (entries, problems) = entries.rest();
            for (name, item) in entries {
                match item.node {
                    Node::Boolean(allowed) => value.push((name.value, allowed)),
                    node => problems.push(Diagnostic::at(
                        &item.place,
                        format!("{} must be true or false, not {}", name.value, node.kind()),
                    )),
                }
            }
            table.allowed_profiles = Some(At { value, place });
        }
        table.allowed_modes = modes(&mut fields);
        if let Some(mut permissions) = fields.table("permissions") {
            if let Some(mut filesystem) = permissions.table("filesystem") {
                table.deny_read = filesystem.strings("deny_read").unwrap_or_default();
                filesystem.finish();
            }
            permissions.finish();
        }
        if let Some(mut network) = fields.table("network") {
            table.network = network.boolean("enabled");
            network.finish();
        }
        fields.finish();
        (table, diagnostics)
    }
}

/// The allowed modes. An empty list would allow nothing, or everything: it is an
/// error.
fn modes(fields: &mut Fields<'_>) -> Option<At<Vec<String>>> {
    let item = fields.take("allowed_sandbox_modes")?;
    let place = item.place.clone();
    let mut value = Vec::new();
    match item.node {
        Node::Array(items) if !items.is_empty() => {
            for item in items {
                value.extend(string(item, "allowed_sandbox_modes", fields.diagnostics));
            }
        }
        _ => {
            let message = "allowed_sandbox_modes must be a list with at least one mode";
            fields.diagnostics.push(Diagnostic::at(&place, message));
        }
    }
    Some(At { value: value.into_iter().map(|mode| mode.value).collect(), place })
}
