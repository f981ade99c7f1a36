//! The profiles and lists that come with pinfold.

use crate::config::file::{FsEntry, Git, NetTable, ProfileTable, WrittenAccess};
use crate::config::place::At;

/// The built-in profiles: name and one line.
pub const PROFILES: [(&str, &str); 4] = [
    (READ_ONLY, "read everything, write nothing, no network"),
    (WORKSPACE, "read everything but credentials, write the workspace, private /tmp, no network"),
    (RESTRICTED, "read only the system's programs and the workspace, write the workspace"),
    (DANGER, "no confinement at all"),
];

/// `:read-only`.
pub const READ_ONLY: &str = ":read-only";
/// `:workspace`.
pub const WORKSPACE: &str = ":workspace";
/// `:restricted`.
pub const RESTRICTED: &str = ":restricted";
/// `:danger-full-access`.
pub const DANGER: &str = ":danger-full-access";

/// The table of a built-in profile that can be extended, or nothing.
pub fn table(name: &str) -> Option<ProfileTable> {
    let (name, rules, git): (&'static str, &[(&str, WrittenAccess)], Git) = match name {
        READ_ONLY => (READ_ONLY, &[(":root", WrittenAccess::Read)], Git::Read),
        WORKSPACE => (
            WORKSPACE,
            &[
                (":root", WrittenAccess::Read),
                (":secrets", WrittenAccess::Deny),
                (":workspace_roots", WrittenAccess::Write),
            ],
            Git::Commit,
        ),
        RESTRICTED => (
            RESTRICTED,
            &[(":minimal", WrittenAccess::Read), (":workspace_roots", WrittenAccess::Write)],
            Git::Commit,
        ),
        _ => return None,
    };
    let at = |value: WrittenAccess| At::built_in(value, name);
    let entries = rules.iter().map(|(key, access)| FsEntry {
        key: At::built_in(String::from(*key), name),
        below: None,
        access: at(*access),
    });
    let mut table = ProfileTable {
        git: Some(At::built_in(git, name)),
        filesystem: entries.collect(),
        network: NetTable { enabled: Some(At::built_in(false, name)), ..NetTable::default() },
        ..ProfileTable::default()
    };
    if name != READ_ONLY {
        table.private_tmp = Some(At::built_in(true, name));
        table.environment.ignore_default_excludes = Some(At::built_in(false, name));
    }
    Some(table)
}
