//! Which profile a run uses, and the tables it is made of.

use super::builtin;
use super::{Context, Request};
use crate::config::diagnostic::{Diagnostic, nearest};
use crate::config::file::{File, FsEntry, Git, ProfileTable, SandboxMode, WrittenAccess};
use crate::config::place::{At, Place};
use crate::profile::Confinement;

/// Which command asks for a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// `run`, `shell`, `explain`: `:workspace` unless configured otherwise.
    Run,
    /// `sandbox`: the predecessor's defaults.
    Sandbox {
        /// `--full-auto`.
        full_auto: bool,
    },
}

/// A choice.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) confinement: Confinement,
    /// The tables it is made of, the farthest ancestor first.
    pub(super) tables: Vec<ProfileTable>,
    /// Whether the older syntax was used.
    pub(super) mode: Option<SandboxMode>,
}

/// Chooses: the command line, then the strongest layer that names a profile or
/// a mode, then the default of the command.
pub(super) fn profile(
    file: &File,
    request: &Request,
    context: &Context,
) -> Result<Chosen, Diagnostic> {
    let full_auto = request.front == (Front::Sandbox { full_auto: true });
    if let Some(name) = &request.profile {
        return named(file, &At::built_in(name.clone(), "--profile"));
    }
    let by_profile = file.default_permissions.as_ref().filter(|name| {
        let mode = file.sandbox_mode.as_ref().and_then(|mode| mode.place.layer());
        name.place.layer() >= mode
    });
    if let Some(name) = by_profile {
        if full_auto {
            return Err(Diagnostic::at(
                &name.place,
                "`pinfold sandbox --full-auto` works only with the older `sandbox_mode` syntax",
            )
            .hint(
                "choose a writable `[permissions]` profile instead, for example \":workspace\"",
            ));
        }
        if !name.value.starts_with(':') && file.permissions.is_empty() {
            return Err(Diagnostic::at(
                &name.place,
                "default_permissions requires a `[permissions]` table",
            )
            .hint("define the profile, or use a built-in one such as \":workspace\""));
        }
        return named(file, name);
    }
    if let Some((name, table)) = file.permissions.first_key_value()
        && file.sandbox_mode.is_none()
    {
        return Err(Diagnostic::at(
            &table.place,
            "config defines `[permissions]` profiles but does not set `default_permissions`",
        )
        .hint(format!("add default_permissions = \"{name}\", or pass --profile {name}")));
    }
    let mode = file.sandbox_mode.as_ref().map(|mode| (mode.value, mode.place.clone()));
    match (mode, request.front) {
        (_, Front::Sandbox { full_auto: true }) => {
            Ok(older(file, SandboxMode::WorkspaceWrite, &Place::BuiltIn("--full-auto"), context))
        }
        (Some((mode, place)), _) => Ok(older(file, mode, &place, context)),
        (None, Front::Sandbox { .. }) => {
            Ok(older(file, SandboxMode::ReadOnly, &Place::BuiltIn("sandbox default"), context))
        }
        (None, Front::Run) => {
            named(file, &At::built_in(String::from(builtin::WORKSPACE), "default"))
        }
    }
}

/// A profile by name, with everything it extends.
pub(super) fn named(file: &File, name: &At<String>) -> Result<Chosen, Diagnostic> {
    if name.value == builtin::DANGER {
        return Ok(Chosen {
            name: name.value.clone(),
            confinement: Confinement::Unconfined,
            tables: Vec::new(),
            mode: None,
        });
    }
    let mut tables = Vec::new();
    let mut seen = Vec::new();
    let mut next = name.clone();
    loop {
        if seen.contains(&next.value) {
            seen.push(next.value.clone());
            let message = format!("profiles extend each other: {}", seen.join(" -> "));
            return Err(Diagnostic::at(&next.place, message).hint("remove one `extends`"));
        }
        seen.push(next.value.clone());
        let table = match builtin::table(&next.value) {
            Some(table) => table,
            None => match file.permissions.get(&next.value) {
                Some(table) => table.value.clone(),
                None => return Err(unknown(file, &next, seen.len() == 1)),
            },
        };
        let parent = table.extends.clone();
        tables.push(table);
        match parent {
            Some(parent) => next = parent,
            None => break,
        }
    }
    tables.reverse();
    Ok(Chosen { name: name.value.clone(), confinement: Confinement::Confined, tables, mode: None })
}

fn unknown(file: &File, name: &At<String>, chosen: bool) -> Diagnostic {
    let message = match (name.value.as_str(), chosen) {
        (builtin::DANGER, false) => {
            return Diagnostic::at(&name.place, "\":danger-full-access\" cannot be extended")
                .hint("extend \":workspace\" and grant what is missing");
        }
        (value, true) if matches!(name.place, Place::BuiltIn(_)) => {
            format!("there is no profile \"{value}\"")
        }
        (value, true) => format!("default_permissions refers to undefined profile `{value}`"),
        (value, false) => format!("extends refers to undefined profile `{value}`"),
    };
    let known: Vec<&str> = builtin::PROFILES
        .iter()
        .map(|(name, _)| *name)
        .chain(file.permissions.keys().map(String::as_str))
        .collect();
    let hint = match nearest(&name.value, known.iter().copied()) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => format!("profiles are {}", known.join(" ")),
    };
    Diagnostic::at(&name.place, message).hint(hint)
}

/// The older syntax as a profile.
fn older(file: &File, mode: SandboxMode, place: &Place, context: &Context) -> Chosen {
    let at = |value: WrittenAccess| At { value, place: place.clone() };
    let entry = |key: &str, access: WrittenAccess| FsEntry {
        key: At { value: String::from(key), place: place.clone() },
        below: None,
        access: at(access),
    };
    let mut table = ProfileTable {
        git: Some(At { value: Git::Read, place: place.clone() }),
        filesystem: vec![entry(":root", WrittenAccess::Read)],
        ..ProfileTable::default()
    };
    let settings = &file.workspace_write;
    if mode == SandboxMode::WorkspaceWrite {
        let excluded = |value: &Option<At<bool>>| value.as_ref().is_some_and(|value| value.value);
        table.filesystem.push(entry(":workspace_roots", WrittenAccess::Write));
        if !excluded(&settings.exclude_slash_tmp) {
            table.filesystem.push(entry(":slash_tmp", WrittenAccess::Write));
        }
        if !excluded(&settings.exclude_tmpdir_env_var) && context.tmpdir.is_some() {
            table.filesystem.push(entry(":tmpdir", WrittenAccess::Write));
        }
        for root in &settings.writable_roots {
            table.filesystem.push(FsEntry {
                key: root.clone(),
                below: None,
                access: At { value: WrittenAccess::Write, place: root.place.clone() },
            });
        }
        table.network.enabled = settings.network_access.clone();
    }
    let name = match mode {
        SandboxMode::ReadOnly => "read-only",
        SandboxMode::WorkspaceWrite => "workspace-write",
        SandboxMode::DangerFullAccess => "danger-full-access",
    };
    Chosen {
        name: String::from(name),
        confinement: match mode {
            SandboxMode::DangerFullAccess => Confinement::Unconfined,
            _ => Confinement::Confined,
        },
        tables: vec![table],
        mode: Some(mode),
    }
}
