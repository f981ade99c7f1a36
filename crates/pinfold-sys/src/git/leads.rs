//! Where git's configuration leads: to hooks, and to more configuration.

use pinfold_policy::git_config::{Setting, settings};
use pinfold_policy::path::AbsPath;

/// Files that include each other are followed this deep, as git does.
const DEEPEST: usize = 10;

/// More files than this are not followed.
const MOST: usize = 256;

/// What some configuration files lead to, together.
#[derive(Clone, Debug)]
pub(super) struct Leads<'h> {
    home: Option<&'h AbsPath>,
    /// Every value of `core.hooksPath`: which one holds may depend on the branch
    /// and on which program asks, so that all of them count.
    hooks: Vec<Vec<u8>>,
    /// Every included file, whatever its condition.
    included: Vec<AbsPath>,
    /// `core.worktree`, the last one.
    pub(super) work_tree: Option<Vec<u8>>,
    /// `extensions.worktreeConfig`: each worktree has a file of its own.
    pub(super) per_worktree: bool,
    /// Whether everything was followed.
    pub(super) complete: bool,
}

impl<'h> Leads<'h> {
    pub(super) fn none(home: Option<&'h AbsPath>) -> Leads<'h> {
        Leads {
            home,
            hooks: Vec::new(),
            included: Vec::new(),
            work_tree: None,
            per_worktree: false,
            complete: true,
        }
    }

    /// Adds what one file says, and the files that it includes.
    pub(super) fn read(&mut self, file: &AbsPath) {
        self.follow(file, DEEPEST);
    }

    /// The paths that they lead to from one work tree: hooks and files.
    pub(super) fn paths(&self, work_tree: &AbsPath) -> Vec<AbsPath> {
        let hooks = self.hooks.iter().filter_map(|path| self.place(work_tree, path));
        let mut paths: Vec<AbsPath> = hooks.chain(self.included.iter().cloned()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn follow(&mut self, file: &AbsPath, depth: usize) {
        // Whoever made the project may have put a pipe there: it is not waited for.
        let Ok(Some(text)) = crate::facts::read_file(file) else { return };
        for setting in settings(&text) {
            self.setting(file, setting, depth);
        }
    }

    fn setting(&mut self, file: &AbsPath, setting: Setting, depth: usize) {
        let plain = !setting.subsection;
        match (setting.section.as_slice(), setting.name.as_slice(), setting.value) {
            (b"core", b"hookspath", Some(value)) if plain => self.hooks.push(value),
            (b"core", b"worktree", Some(value)) if plain => self.work_tree = Some(value),
            (b"extensions", b"worktreeconfig", value) if plain => {
                self.per_worktree |= value.is_none_or(|value| is_true(&value));
            }
            (b"include" | b"includeif", b"path", Some(value)) => {
                let directory = file.parent().unwrap_or_else(AbsPath::root);
                if let Some(included) = self.place(&directory, &value) {
                    self.include(included, depth);
                }
            }
            _ => {}
        }
    }

    fn include(&mut self, file: AbsPath, depth: usize) {
        if self.included.contains(&file) {
            return;
        }
        if depth == 0 || self.included.len() >= MOST {
            self.complete = false;
            return;
        }
        self.included.push(file.clone());
        self.follow(&file, depth - 1);
    }

    /// A path of the configuration: below the home, absolute, or from a directory.
    fn place(&self, directory: &AbsPath, path: &[u8]) -> Option<AbsPath> {
        match path.strip_prefix(b"~/") {
            Some(rest) => self.home?.join(rest).ok(),
            None => directory.join(path).ok(),
        }
    }
}

fn is_true(value: &[u8]) -> bool {
    !["false", "no", "off", "0", ""].iter().any(|no| value.eq_ignore_ascii_case(no.as_bytes()))
}
