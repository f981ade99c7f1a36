//! What git keeps for a workspace, read from its own files: git is never called.

mod leads;

use std::fs;

use pinfold_policy::path::AbsPath;
use pinfold_policy::repository::{GitDirectory, GitEntry, Repository};

use crate::{facts, name};
use leads::Leads;

/// More worktrees and submodules than this are not looked at.
const MOST: usize = 1024;

/// Submodules lie this deep in each other at most.
const DEEPEST: usize = 8;

/// The git directories of one workspace root. `home` is what `~` means, and
/// `personal` are the user's own configuration files, which hold everywhere.
pub fn repository(root: &AbsPath, home: Option<&AbsPath>, personal: &[AbsPath]) -> Repository {
    let mut search = Search {
        root,
        personal: Leads::none(home),
        found: Repository {
            root: root.clone(),
            entry: GitEntry::Missing,
            directories: Vec::new(),
            complete: true,
        },
    };
    let Ok(entry) = root.join(".git") else { return search.found };
    let Ok(found) = fs::symlink_metadata(name::path(&entry)) else { return search.found };
    search.found.entry = GitEntry::Pointer { confirmed: false };
    if found.is_dir() {
        search.found.entry = GitEntry::Directory;
        search.read_personal(personal);
        search.common(&entry);
    } else if let Some(directory) = pointer(&entry)
        && points_back(&directory, &entry, root)
    {
        search.found.entry = GitEntry::Pointer { confirmed: true };
        search.read_personal(personal);
        search.pointed(directory);
    }
    search.found
}

struct Search<'a> {
    root: &'a AbsPath,
    /// What the user's own configuration says.
    personal: Leads<'a>,
    found: Repository,
}

impl<'a> Search<'a> {
    fn read_personal(&mut self, files: &[AbsPath]) {
        for file in files {
            self.personal.read(file);
        }
        self.found.complete &= self.personal.complete;
    }

    /// The git directory that a confirmed `.git` file leads to.
    fn pointed(&mut self, directory: AbsPath) {
        if let Some(shared) = shared(&directory) {
            self.common(&shared);
        }
        if !self.found.directories.iter().any(|known| known.path == directory) {
            let leads = self.leads(&directory);
            self.add(directory, None, &leads);
        }
    }

    /// A git directory with the worktrees and submodules it knows.
    fn common(&mut self, path: &AbsPath) {
        let leads = self.leads(path);
        self.add(path.clone(), None, &leads);
        for worktree in self.entries(path, "worktrees") {
            let linked = read(&worktree, "gitdir")
                .and_then(|text| worktree.join(text.trim_end()).ok())
                .and_then(|entry| entry.parent());
            let mut leads = leads.clone();
            own(&mut leads, &worktree);
            self.add(worktree, linked, &leads);
        }
        self.submodules(path, "modules", DEEPEST);
    }

    /// The submodules in `path/name`.
    fn submodules(&mut self, path: &AbsPath, name: &str, depth: usize) {
        for module in self.entries(path, name) {
            if depth == 0 {
                self.found.complete = false;
                return;
            }
            // A name with a slash is a directory on the way.
            if read(&module, "HEAD").is_none() {
                self.submodules(&module, ".", depth - 1);
                continue;
            }
            let leads = self.leads(&module);
            let tree = leads.work_tree.as_ref().and_then(|tree| module.join(tree).ok());
            self.add(module.clone(), tree, &leads);
            self.submodules(&module, "modules", depth - 1);
        }
    }

    fn leads(&self, directory: &AbsPath) -> Leads<'a> {
        let mut leads = self.personal.clone();
        if let Ok(file) = directory.join("config") {
            leads.read(&file);
        }
        own(&mut leads, directory);
        leads
    }

    fn add(&mut self, path: AbsPath, work_tree: Option<AbsPath>, leads: &Leads) {
        let leads_to = leads.paths(work_tree.as_ref().unwrap_or(self.root));
        self.found.complete &= leads.complete;
        self.found.directories.push(GitDirectory { path, leads_to, work_tree });
    }

    /// The directories in `path/name`, as many as may still be looked at.
    fn entries(&mut self, path: &AbsPath, below: &str) -> Vec<AbsPath> {
        let Ok(directory) = path.join(below) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(name::path(&directory)) else { return Vec::new() };
        let room = MOST.saturating_sub(self.found.directories.len());
        let mut found: Vec<AbsPath> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| directory.join(name::bytes(&entry.file_name())).ok())
            .take(room + 1)
            .collect();
        if found.len() > room {
            self.found.complete = false;
            found.truncate(room);
        }
        found.sort();
        found
    }
}

/// What `config.worktree` of one worktree adds, where git looks at it.
fn own(leads: &mut Leads, directory: &AbsPath) {
    if let Some(file) = directory.join("config.worktree").ok().filter(|_| leads.per_worktree) {
        leads.read(&file);
    }
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
    let mut leads = Leads::none(None);
    if let Ok(file) = directory.join("config") {
        leads.read(&file);
    }
    leads.work_tree.is_some_and(|relative| same(directory.join(relative).ok(), root))
}

/// The git directory that a linked worktree shares with others.
fn shared(directory: &AbsPath) -> Option<AbsPath> {
    let text = read(directory, "commondir")?;
    real(&directory.join(text.trim_end()).ok()?)
}

/// A small text. Whoever made the project may have put a pipe or an endless file
/// there: neither is waited for, and bytes that are no text are passed over.
fn read_text(path: &AbsPath) -> Option<String> {
    let bytes = facts::read_file(path).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn real(path: &AbsPath) -> Option<AbsPath> {
    let real = fs::canonicalize(name::path(path)).ok()?;
    name::absolute(name::bytes(real.as_os_str())).ok()
}

fn read(directory: &AbsPath, file: &str) -> Option<String> {
    read_text(&directory.join(file).ok()?)
}
