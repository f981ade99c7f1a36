//! Configuration with types: what was written, one for one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::place::At;
use super::quantity;
use super::read::{Fields, entries, string, word};
use super::tree::{Item, Node};
use crate::profile::{EnvInherit, HostAction, LevelChoice, MacSwitch, MechanismChoice, NetMode};

/// All layers of configuration, merged.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// The profile to use.
    pub default_permissions: Option<At<String>>,
    /// The older syntax.
    pub sandbox_mode: Option<At<SandboxMode>>,
    /// `[sandbox_workspace_write]`.
    pub workspace_write: WorkspaceWrite,
    /// `[permissions.NAME]`.
    pub permissions: BTreeMap<String, At<ProfileTable>>,
    /// `[shell_environment_policy]`.
    pub environment: EnvTable,
    /// `[projects."/path"]`.
    pub projects: Vec<(At<String>, At<Trust>)>,
    /// `[linux] mechanism`.
    pub mechanism: Option<At<MechanismChoice>>,
    /// `[windows] level`.
    pub level: Option<At<LevelChoice>>,
}

/// The modes of the older syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxMode {
    /// Read everything.
    ReadOnly,
    /// And write the workspace.
    WorkspaceWrite,
    /// No confinement.
    DangerFullAccess,
}

/// Whether a project's own configuration may grant anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may.
    Trusted,
    /// It may only tighten.
    Untrusted,
}

/// `[sandbox_workspace_write]` of the older syntax.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceWrite {
    /// Further writable directories.
    pub writable_roots: Vec<At<String>>,
    /// Whether the network is open.
    pub network_access: Option<At<bool>>,
    /// Whether `$TMPDIR` stays read-only.
    pub exclude_tmpdir_env_var: Option<At<bool>>,
    /// Whether `/tmp` stays read-only.
    pub exclude_slash_tmp: Option<At<bool>>,
}

/// `[permissions.NAME]`.
#[derive(Clone, Debug, Default)]
pub struct ProfileTable {
    /// One line for listings.
    pub description: Option<At<String>>,
    /// The profile this one starts from.
    pub extends: Option<At<String>>,
    /// How git directories are protected.
    pub git: Option<At<Git>>,
    /// Whether `/tmp` is private.
    pub private_tmp: Option<At<bool>>,
    /// Whether user namespaces may be made inside.
    pub user_namespaces: Option<At<bool>>,
    /// How many directories deep default names are protected.
    pub protect_depth: Option<At<u32>>,
    /// Further workspace roots.
    pub workspace_roots: Vec<(At<String>, At<bool>)>,
    /// `[…filesystem]`, flattened.
    pub filesystem: Vec<FsEntry>,
    /// `glob_scan_max_depth`.
    pub glob_scan_max_depth: Option<At<u32>>,
    /// `[…network]`.
    pub network: NetTable,
    /// `[…environment]`.
    pub environment: EnvTable,
    /// `[…limits]`.
    pub limits: LimitsTable,
    /// Services that are opened on macOS.
    pub macos: Vec<At<MacSwitch>>,
    /// The level on Windows.
    pub level: Option<At<LevelChoice>>,
    /// The mechanism on Linux.
    pub mechanism: Option<At<MechanismChoice>>,
    /// Gaps that are accepted.
    pub allow_gaps: Vec<At<String>>,
}

/// One file rule as written.
#[derive(Clone, Debug)]
pub struct FsEntry {
    /// The path, pattern or token; for a nested entry that of its table.
    pub key: At<String>,
    /// The path or pattern below `key`, for a nested entry.
    pub below: Option<At<String>>,
    /// What it grants.
    pub access: At<WrittenAccess>,
}

/// The access words. `none` is an older word for `deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenAccess {
    /// Look and execute.
    Read,
    /// And change.
    Write,
    /// Neither.
    Deny,
}

/// How git directories are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Git {
    /// Everything but what runs programs may be written.
    Commit,
    /// Nothing may be written.
    Read,
    /// Everything may be written.
    Write,
}

/// `[…network]`.
#[derive(Clone, Debug, Default)]
pub struct NetTable {
    /// Whether there is a network.
    pub enabled: Option<At<bool>>,
    /// Which requests pass.
    pub mode: Option<At<NetMode>>,
    /// Whether the command may listen.
    pub allow_local_binding: Option<At<bool>>,
    /// Whether the caller's own proxy resolves names.
    pub upstream_resolves: Option<At<bool>>,
    /// Host rules.
    pub domains: Vec<(At<String>, At<HostAction>)>,
    /// Unix sockets; true allows.
    pub unix_sockets: Vec<(At<String>, At<bool>)>,
}

/// `[…environment]` and `[shell_environment_policy]`.
#[derive(Clone, Debug, Default)]
pub struct EnvTable {
    /// What to start from.
    pub inherit: Option<At<EnvInherit>>,
    /// Whether the default excludes are off.
    pub ignore_default_excludes: Option<At<bool>>,
    /// Names to drop.
    pub exclude: Option<Vec<At<String>>>,
    /// Variables to set.
    pub set: BTreeMap<String, At<String>>,
    /// The only names to keep.
    pub include_only: Option<Vec<At<String>>>,
}

/// `[…limits]`.
#[derive(Clone, Debug, Default)]
pub struct LimitsTable {
    /// Wall-clock time.
    pub wall_time: Option<At<Duration>>,
    /// Processes and threads.
    pub processes: Option<At<u32>>,
    /// Bytes of memory.
    pub memory: Option<At<u64>>,
    /// Bytes of private temporary directories.
    pub tmp_size: Option<At<u64>>,
}

const ACCESS: [(&str, WrittenAccess); 4] = [
    ("read", WrittenAccess::Read),
    ("write", WrittenAccess::Write),
    ("deny", WrittenAccess::Deny),
    ("none", WrittenAccess::Deny),
];
const MAC_SWITCHES: [(&str, MacSwitch); 6] = [
    ("chromium", MacSwitch::Chromium),
    ("graphics", MacSwitch::Graphics),
    ("keychain", MacSwitch::Keychain),
    ("launch-services", MacSwitch::LaunchServices),
    ("nested-sandbox", MacSwitch::NestedSandbox),
    ("trustd", MacSwitch::Trustd),
];
const LEVELS: [(&str, LevelChoice); 3] = [
    ("auto", LevelChoice::Automatic),
    ("restricted-token", LevelChoice::RestrictedToken),
    ("account", LevelChoice::Account),
];
const MECHANISMS: [(&str, MechanismChoice); 3] = [
    ("auto", MechanismChoice::Automatic),
    ("namespaces", MechanismChoice::Namespaces),
    ("landlock", MechanismChoice::Landlock),
];

impl File {
    /// Reads merged layers. Everything that is wrong is reported; what is right
    /// is returned all the same.
    pub fn read(item: Item) -> (File, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        let mut fields = Fields::of(item, "the configuration", &mut diagnostics);
        let file = File {
            default_permissions: fields.string("default_permissions"),
            sandbox_mode: fields.word(
                "sandbox_mode",
                &[
                    ("read-only", SandboxMode::ReadOnly),
                    ("workspace-write", SandboxMode::WorkspaceWrite),
                    ("danger-full-access", SandboxMode::DangerFullAccess),
                ],
            ),
            workspace_write: fields
                .table("sandbox_workspace_write")
                .map(workspace_write)
                .unwrap_or_default(),
            permissions: permissions(&mut fields),
            environment: fields
                .table("shell_environment_policy")
                .map(environment)
                .unwrap_or_default(),
            projects: projects(&mut fields),
            mechanism: fields.table("linux").and_then(|mut linux| {
                let mechanism = linux.word("mechanism", &MECHANISMS);
                linux.finish();
                mechanism
            }),
            level: fields.table("windows").and_then(|mut windows| {
                let level = windows.word("level", &LEVELS);
                windows.finish();
                level
            }),
        };
        fields.finish();
        (file, diagnostics)
    }
}

fn workspace_write(mut fields: Fields<'_>) -> WorkspaceWrite {
    let table = WorkspaceWrite {
        writable_roots: fields.strings("writable_roots").unwrap_or_default(),
        network_access: fields.boolean("network_access"),
        exclude_tmpdir_env_var: fields.boolean("exclude_tmpdir_env_var"),
        exclude_slash_tmp: fields.boolean("exclude_slash_tmp"),
    };
    fields.finish();
    table
}

fn permissions(fields: &mut Fields<'_>) -> BTreeMap<String, At<ProfileTable>> {
    let mut profiles = BTreeMap::new();
    for (name, item) in fields.entries("permissions") {
        if name.value.starts_with(':') || name.value.is_empty() {
            let message = format!("a profile cannot be called \"{}\"", name.value);
            let hint = "names that begin with a colon are built in; extend them instead";
            fields.diagnostics.push(Diagnostic::at(&name.place, message).hint(hint));
            continue;
        }
        let table = Fields::of(item, format!("permissions.{}", name.value), fields.diagnostics);
        profiles.insert(name.value, At { value: profile(table), place: name.place });
    }
    profiles
}

fn profile(mut fields: Fields<'_>) -> ProfileTable {
    let mut table = ProfileTable {
        description: fields.string("description"),
        extends: fields.string("extends"),
        git: fields
            .word("git", &[("commit", Git::Commit), ("read", Git::Read), ("write", Git::Write)]),
        private_tmp: fields.boolean("private_tmp"),
        user_namespaces: fields.boolean("user_namespaces"),
        protect_depth: fields.count("protect_depth"),
        level: fields.word("level", &LEVELS),
        mechanism: fields.word("mechanism", &MECHANISMS),
        allow_gaps: fields.strings("allow_gaps").unwrap_or_default(),
        network: fields.table("network").map(network).unwrap_or_default(),
        environment: fields.table("environment").map(environment).unwrap_or_default(),
        limits: fields.table("limits").map(limits).unwrap_or_default(),
        ..ProfileTable::default()
    };
    for name in fields.strings("macos").unwrap_or_default() {
        table.macos.extend(word(&name, "a service of macOS", &MAC_SWITCHES, fields.diagnostics));
    }
    for (path, item) in fields.entries("workspace_roots") {
        if let Some(value) = boolean(item, "workspace_roots", fields.diagnostics) {
            table.workspace_roots.push((path, value));
        }
    }
    if let Some(mut inner) = fields.table("filesystem") {
        table.glob_scan_max_depth = inner.count("glob_scan_max_depth");
        table.filesystem = filesystem(inner);
    }
    fields.finish();
    table
}

fn filesystem(fields: Fields<'_>) -> Vec<FsEntry> {
    let mut rules = Vec::new();
    let (keys, diagnostics) = fields.rest();
    for (key, item) in keys {
        let nested = matches!(item.node, Node::Table(_));
        let inner = if nested {
            let inner = entries(item, &key.value, diagnostics);
            inner.into_iter().map(|(below, item)| (Some(below), item)).collect()
        } else {
            vec![(None, item)]
        };
        for (below, item) in inner {
            let name = below.as_ref().map_or(&key.value, |below| &below.value);
            let text = string(item, &format!("the access of \"{name}\""), diagnostics);
            let access = text.and_then(|text| word(&text, "an access", &ACCESS, diagnostics));
            if let Some(access) = access {
                rules.push(FsEntry { key: key.clone(), below, access });
            }
        }
    }
    rules
}

fn network(mut fields: Fields<'_>) -> NetTable {
    let mut table = NetTable {
        enabled: fields.boolean("enabled"),
        mode: fields.word("mode", &[("full", NetMode::Full), ("limited", NetMode::Limited)]),
        allow_local_binding: fields.boolean("allow_local_binding"),
        upstream_resolves: fields.boolean("upstream_resolves"),
        ..NetTable::default()
    };
    const ACTIONS: [(&str, HostAction); 3] =
        [("allow", HostAction::Allow), ("deny", HostAction::Deny), ("ask", HostAction::Ask)];
    for (host, item) in fields.entries("domains") {
        let text = string(item, "a host rule", fields.diagnostics);
        let action = text.and_then(|text| word(&text, "a host rule", &ACTIONS, fields.diagnostics));
        if let Some(action) = action {
            table.domains.push((host, action));
        }
    }
    const SOCKETS: [(&str, bool); 3] = [("allow", true), ("deny", false), ("none", false)];
    for (path, item) in fields.entries("unix_sockets") {
        let text = string(item, "a socket rule", fields.diagnostics);
        let allow =
            text.and_then(|text| word(&text, "a socket rule", &SOCKETS, fields.diagnostics));
        if let Some(allow) = allow {
            table.unix_sockets.push((path, allow));
        }
    }
    fields.finish();
    table
}

fn environment(mut fields: Fields<'_>) -> EnvTable {
    let mut table = EnvTable {
        inherit: fields.word(
            "inherit",
            &[("all", EnvInherit::All), ("core", EnvInherit::Core), ("none", EnvInherit::None)],
        ),
        ignore_default_excludes: fields.boolean("ignore_default_excludes"),
        exclude: fields.strings("exclude"),
        include_only: fields.strings("include_only"),
        ..EnvTable::default()
    };
    for (name, item) in fields.entries("set") {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            let message = format!("a variable cannot be called \"{}\"", name.value);
            fields.diagnostics.push(Diagnostic::at(&name.place, message));
        } else if let Some(value) = string(item, "a variable", fields.diagnostics) {
            if value.value.contains('\0') {
                let message = format!("the value of \"{}\" holds a NUL byte", name.value);
                fields.diagnostics.push(Diagnostic::at(&value.place, message));
            }
            table.set.insert(name.value, value);
        }
    }
    fields.finish();
    table
}

fn limits(mut fields: Fields<'_>) -> LimitsTable {
    let table = LimitsTable {
        wall_time: fields.parsed("wall_time", quantity::duration),
        processes: fields.count("processes"),
        memory: fields.parsed("memory", quantity::size),
        tmp_size: fields.parsed("tmp_size", quantity::size),
    };
    fields.finish();
    table
}

fn projects(fields: &mut Fields<'_>) -> Vec<(At<String>, At<Trust>)> {
    let mut projects = Vec::new();
    for (path, item) in fields.entries("projects") {
        let mut inner =
            Fields::of(item, format!("projects.\"{}\"", path.value), fields.diagnostics);
        let trust = inner
            .word("trust_level", &[("trusted", Trust::Trusted), ("untrusted", Trust::Untrusted)]);
        inner.finish();
        projects.extend(trust.map(|trust| (path, trust)));
    }
    projects
}

fn boolean(item: Item, name: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<At<bool>> {
    match item.node {
        Node::Boolean(value) => Some(At { value, place: item.place }),
        node => {
            let message = format!("{name} must be true or false, not {}", node.kind());
            diagnostics.push(Diagnostic::at(&item.place, message));
            None
        }
    }
}
