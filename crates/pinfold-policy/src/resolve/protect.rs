//! What is protected by default in a writable workspace: whatever makes programs
//! outside run code.

use super::rules::Rules;
use crate::config::file::Git;
use crate::origin::Origin;
use crate::path::AbsPath;
use crate::profile::{Access, FsRule, FsTarget, Glob};
use crate::repository::{GitDirectory, GitEntry, PROTECTED_NAMES, RUNS_CODE, Repository};

/// Directories of running services, and what programs need from them: names of
/// hosts, and programs of systems that keep them there.
const DIRECTORIES: &[(&str, &[&str])] = &[("/run", &["current-system", "systemd/resolve"])];

/// The origin of the rules that hide them.
pub const SERVICES: Origin = Origin::BuiltIn("services of the host");

const DEFAULT: Origin = Origin::BuiltIn("protected by default");
const GIT: Origin = Origin::BuiltIn("git = \"commit\"");

/// Adds the default protections of one workspace root. An explicit rule for
/// exactly the same target stays.
pub(super) fn add(
    rules: &mut Rules,
    root: &AbsPath,
    repository: Option<&Repository>,
    (git, depth): (Git, Option<u32>),
) {
    if written(rules, root) != Some(Access::Write) {
        return;
    }
    names(rules, root);
    if let Some(depth) = depth {
        deeper(rules, root, depth);
    }
    if git == Git::Write {
        return;
    }
    let Some(repository) = repository else {
        protect(rules, root, b".git");
        return;
    };
    // A work tree of a submodule, or another linked one, has its own names.
    for directory in &repository.directories {
        if let Some(tree) = &directory.work_tree {
            names(rules, tree);
            protect(rules, tree, b".git");
        }
    }
    let confirmed = repository.entry != (GitEntry::Pointer { confirmed: false });
    match (repository.entry, git) {
        (GitEntry::Directory, Git::Commit) => {}
        _ => protect(rules, root, b".git"),
    }
    for directory in &repository.directories {
        git_directory(rules, directory, git, confirmed);
    }
}

fn git_directory(rules: &mut Rules, directory: &GitDirectory, git: Git, confirmed: bool) {
    if git == Git::Read || !confirmed {
        insert(rules, directory.path.clone(), Access::Read, DEFAULT);
        return;
    }
    // The git directory of a linked worktree lies outside the workspace.
    if written(rules, &directory.path) == Some(Access::Read) {
        insert(rules, directory.path.clone(), Access::Write, GIT);
    }
    for name in RUNS_CODE {
        protect(rules, &directory.path, name.as_bytes());
    }
    match &directory.hooks {
        Some(hooks) if written(rules, hooks) == Some(Access::Write) => {
            insert(rules, hooks.clone(), Access::Read, DEFAULT);
        }
        _ => {}
    }
}

/// Hides the sockets and state of the host's services, where a profile shows
/// everything without a word about them.
pub(super) fn hide_services(rules: &mut Rules) {
    let shown = |rules: &Rules, path: &AbsPath| {
        written(rules, path).is_some_and(|access| access != Access::Deny)
    };
    for (directory, needed) in DIRECTORIES {
        let Ok(directory) = AbsPath::posix(directory) else { continue };
        if rules.contains_key(&FsTarget::Tree(directory.clone())) || !shown(rules, &directory) {
            continue;
        }
        insert(rules, directory.clone(), Access::Deny, SERVICES);
        for name in *needed {
            if let Ok(path) = directory.join(name) {
                insert(rules, path, Access::Read, SERVICES);
            }
        }
    }
}

fn names(rules: &mut Rules, root: &AbsPath) {
    for name in PROTECTED_NAMES {
        protect(rules, root, name.as_bytes());
    }
}

/// The same names up to `depth` directories below the root.
fn deeper(rules: &mut Rules, root: &AbsPath, depth: u32) {
    let names = PROTECTED_NAMES.join(",");
    for level in 1..=depth.min(32) {
        let pattern = format!("{}{{{names}}}", "*/".repeat(level as usize)).into_bytes();
        let target = FsTarget::Glob(Glob { base: root.clone(), pattern });
        let rule = FsRule { target: target.clone(), access: Access::Read, origin: DEFAULT };
        rules.entry(target).or_insert(rule);
    }
}

fn protect(rules: &mut Rules, directory: &AbsPath, name: &[u8]) {
    if let Ok(path) = directory.join(name) {
        insert(rules, path, Access::Read, DEFAULT);
    }
}

fn insert(rules: &mut Rules, path: AbsPath, access: Access, origin: Origin) {
    let target = FsTarget::Tree(path);
    let rule = FsRule { target: target.clone(), access, origin };
    rules.entry(target).or_insert(rule);
}

/// What the rules for trees say about a path so far.
fn written(rules: &Rules, path: &AbsPath) -> Option<Access> {
    path.ancestors().find_map(|path| rules.get(&FsTarget::Tree(path)).map(|rule| rule.access))
}
