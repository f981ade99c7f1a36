//! What is protected by default in a writable workspace: whatever makes programs
//! outside run code.

use super::rules::Rules;
use super::{Context, Own, stores};
use crate::config::diagnostic::Diagnostic;
use crate::config::file::Git;
use crate::decide;
use crate::origin::Origin;
use crate::path::AbsPath;
use crate::profile::{Access, FsPolicy, FsRule, FsTarget, Glob};
use crate::repository::{GitDirectory, GitEntry, HOOKS, PROTECTED_NAMES, RUNS_CODE, Repository};

/// Directories of running services, and what programs need from them: names of
/// hosts, and programs of systems that keep them there.
const DIRECTORIES: &[(&str, &[&str])] = &[("/run", &["current-system", "systemd/resolve"])];

/// The origin of the rules that hide them.
pub const SERVICES: Origin = Origin::BuiltIn("services of the host");

/// The origin of the rules for what pinfold itself believes.
pub const OWN: Origin = Origin::BuiltIn("pinfold's own files");

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
        // Hooks may lie beside the sources, which stay writable.
        let tree = directory.work_tree.as_ref().unwrap_or(root);
        if directory.leads_to.contains(tree) {
            for hook in HOOKS {
                protect(rules, tree, hook.as_bytes());
            }
        }
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
}

/// Protects what git's configuration leads to, and the user's own, wherever the
/// tables and flags together let the command write. Explicit rules stay.
pub(super) fn configuration(policy: &mut FsPolicy, context: &Context) {
    let directories = context.repositories.iter().flat_map(|found| &found.directories);
    let led_to = directories.flat_map(|directory| &directory.leads_to);
    for path in led_to.chain(&context.git_files) {
        where_writable(policy, path.clone());
    }
}

/// Protects what runs when the user next logs in, or starts a shell or an editor, in the
/// same way.
pub(super) fn starts(policy: &mut FsPolicy, context: &Context) {
    let Some(home) = &context.home else { return };
    for name in stores::starts(context.system) {
        if let Ok(path) = home.join(name) {
            where_writable(policy, path);
        }
    }
}

/// A path that is writable by a rule for something above it can be read only.
fn where_writable(policy: &mut FsPolicy, path: AbsPath) {
    let place = |path: AbsPath| {
        policy.rules.binary_search_by(|rule| rule.target.cmp(&FsTarget::Tree(path.clone())))
    };
    let above = path.ancestors().skip(1).find_map(|above| place(above).ok());
    let writable = above.is_some_and(|index| policy.rules[index].access == Access::Write);
    if let (true, Err(index)) = (writable, place(path.clone())) {
        let rule = FsRule { target: FsTarget::Tree(path), access: Access::Read, origin: DEFAULT };
        policy.rules.insert(index, rule);
    }
}

/// Keeps what pinfold itself believes out of the command's hands. No rule of the
/// user stands against this: there is always another directory to work in.
pub(super) fn own(policy: &mut FsPolicy, own: &Own) {
    for (paths, most) in [(&own.settings, Access::Read), (&own.state, Access::Deny)] {
        for path in paths {
            if decide::private(policy, path).is_some() {
                continue;
            }
            policy.rules.retain(|rule| match &rule.target {
                FsTarget::Tree(tree) => rule.access == Access::Deny || !tree.starts_with(path),
                FsTarget::Glob(_) => true,
            });
            // The path may be another name of something writable, so this holds
            // whatever surrounds the name.
            let access = decide::access(policy, path).0.max(most);
            let access = if access == Access::Write { most } else { access };
            let target = FsTarget::Tree(path.clone());
            if let Err(index) = policy.rules.binary_search_by(|rule| rule.target.cmp(&target)) {
                policy.rules.insert(index, FsRule { target, access, origin: OWN });
            }
        }
    }
}

/// What could not be looked at in a repository.
pub(super) fn incomplete(repository: &Repository) -> Diagnostic {
    let root = &repository.root;
    Diagnostic::general(format!(
        "cannot protect the git repository of {root}: it has more than 1,024 worktrees and \
         submodules, or includes too many files in its configuration"
    ))
    .hint("run \"git worktree prune\", or set git = \"write\" in the profile to protect none of it")
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
        rules.entry(target).or_insert((Access::Read, DEFAULT));
    }
}

fn protect(rules: &mut Rules, directory: &AbsPath, name: &[u8]) {
    if let Ok(path) = directory.join(name) {
        insert(rules, path, Access::Read, DEFAULT);
    }
}

fn insert(rules: &mut Rules, path: AbsPath, access: Access, origin: Origin) {
    rules.entry(FsTarget::Tree(path)).or_insert((access, origin));
}

/// What the rules for trees say about a path so far.
fn written(rules: &Rules, path: &AbsPath) -> Option<Access> {
    path.ancestors().find_map(|path| rules.get(&FsTarget::Tree(path)).map(|said| said.0))
}
