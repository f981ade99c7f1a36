//! What git keeps for a workspace, read from its own files: git is never called.

use std::fs;

use pinfold_policy::path::AbsPath;
use pinfold_policy::repository::{GitDirectory, GitEntry, Repository};

use super::super::name::os_path;

/// More worktrees and submodules than this are not looked at one by one.
const MOST: usize = 1024;

/// Submodules lie this deep in each other at most.
const DEEPEST: usize = 8;

/// The git directories of one workspace root.
pub fn repository(root: &AbsPath) -> Repository {
    let mut repository =
        Repository { root: root.clone(), entry: GitEntry::Missing, directories: Vec::new() };
    let Ok(entry) = root.join(".git") else { return repository };
    let Ok(found) = fs::symlink_metadata(os_path(&entry)) else { return repository };
    if found.is_dir() {
        repository.entry = GitEntry::Directory;
        common(&entry, None, root, &mut repository.directories);
    } else if let Some(directory) = pointer(&entry) {
        let confirmed = points_back(&directory, &entry, root);
        repository.entry = GitEntry::Pointer { confirmed };
        if confirmed {
            let shared = shared(&directory);
            if let Some(shared) = &shared {
                common(shared, None, root, &mut repository.directories);
            }
            let own =
                GitDirectory { hooks: hooks(&directory, root), path: directory, work_tree: None };
            if !repository.directories.iter().any(|known| known.path == own.path) {
                repository.directories.push(own);
            }
        }
    } else {
        repository.entry = GitEntry::Pointer { confirmed: false };
    }
    repository
}

/// A git directory with the worktrees and submodules it knows.
fn common(path: &AbsPath, work_tree: Option<AbsPath>, root: &AbsPath, all: &mut Vec<GitDirectory>) {
    let tree = work_tree.clone().unwrap_or_else(|| root.clone());
    all.push(GitDirectory { hooks: hooks(path, &tree), path: path.clone(), work_tree });
    for worktree in entries(path, "worktrees") {
        let linked = read(&worktree, "gitdir")
            .and_then(|text| AbsPath::posix(text.trim_end().as_bytes()).ok())
            .and_then(|entry| entry.parent());
        all.push(GitDirectory { path: worktree, hooks: None, work_tree: linked });
    }
    submodules(path, root, DEEPEST, all);
}

fn submodules(path: &AbsPath, root: &AbsPath, depth: usize, all: &mut Vec<GitDirectory>) {
    if depth == 0 || all.len() > MOST {
        return;
    }
    for module in entries(path, "modules") {
        // A name with a slash is a directory on the way.
        if read(&module, "HEAD").is_none() {
            submodules_named(&module, root, depth - 1, all);
            continue;
        }
        let work_tree =
            setting(&module, "core", "worktree").and_then(|relative| module.join(relative).ok());
        let tree = work_tree.clone().unwrap_or_else(|| root.clone());
        all.push(GitDirectory { hooks: hooks(&module, &tree), path: module.clone(), work_tree });
        submodules(&module, root, depth - 1, all);
    }
}

/// The submodules whose names continue below a directory of `modules`.
fn submodules_named(path: &AbsPath, root: &AbsPath, depth: usize, all: &mut Vec<GitDirectory>) {
    if depth == 0 || all.len() > MOST {
        return;
    }
    for module in entries(path, ".") {
        if read(&module, "HEAD").is_none() {
            submodules_named(&module, root, depth - 1, all);
            continue;
        }
        let work_tree =
            setting(&module, "core", "worktree").and_then(|relative| module.join(relative).ok());
        all.push(GitDirectory { hooks: None, path: module.clone(), work_tree });
        submodules(&module, root, depth - 1, all);
    }
}

/// The directories in `path/name`.
fn entries(path: &AbsPath, name: &str) -> Vec<AbsPath> {
    let Ok(directory) = path.join(name) else { return Vec::new() };
    let Ok(entries) = fs::read_dir(os_path(&directory)) else { return Vec::new() };
    let mut found: Vec<AbsPath> = entries
        .flatten()
        .take(MOST)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            use std::os::unix::ffi::OsStrExt;
            directory.join(entry.file_name().as_bytes()).ok()
        })
        .collect();
    found.sort();
    found
}

/// Where a `.git` file leads, links resolved.
fn pointer(entry: &AbsPath) -> Option<AbsPath> {
    let text = read_text(entry)?;
    let target = text.strip_prefix("gitdir:")?.trim();
    let directory = entry.parent()?.join(target).ok()?;
    real(&directory)
}

/// Whether a git directory says that it belongs to this `.git` file: a linked
/// worktree names the file, a submodule names the work tree.
fn points_back(directory: &AbsPath, entry: &AbsPath, root: &AbsPath) -> bool {
    let same = |path: Option<AbsPath>, expected: &AbsPath| {
        path.and_then(|path| real(&path)) == real(expected)
    };
    if let Some(text) = read(directory, "gitdir") {
        return same(directory.join(text.trim_end()).ok(), entry);
    }
    match setting(directory, "core", "worktree") {
        Some(relative) => same(directory.join(relative).ok(), root),
        None => false,
    }
}

/// The git directory that a linked worktree shares with others.
fn shared(directory: &AbsPath) -> Option<AbsPath> {
    let text = read(directory, "commondir")?;
    real(&directory.join(text.trim_end()).ok()?)
}

/// Where `core.hooksPath` moves the hooks, relative to the work tree.
fn hooks(directory: &AbsPath, work_tree: &AbsPath) -> Option<AbsPath> {
    let path = setting(directory, "core", "hookspath")?;
    work_tree.join(path).ok()
}

/// A small text. Whoever made the project may have put a pipe or an endless file
/// there: neither is waited for, and bytes that are no text are passed over.
fn read_text(path: &AbsPath) -> Option<String> {
    let bytes = super::read_file(path).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn real(path: &AbsPath) -> Option<AbsPath> {
    use std::os::unix::ffi::OsStrExt;
    let real = fs::canonicalize(os_path(path)).ok()?;
    AbsPath::posix(real.as_os_str().as_bytes()).ok()
}

fn read(directory: &AbsPath, name: &str) -> Option<String> {
    read_text(&directory.join(name).ok()?)
}

/// A value of git's configuration, by section and key in lower case.
fn setting(directory: &AbsPath, section: &str, key: &str) -> Option<String> {
    let text = read(directory, "config")?;
    let mut inside = false;
    let mut value = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim().eq_ignore_ascii_case(section);
            continue;
        }
        let Some((name, found)) = line.split_once('=').filter(|_| inside) else { continue };
        if name.trim().eq_ignore_ascii_case(key) {
            value = Some(found.trim().trim_matches('"').to_string());
        }
    }
    value
}
