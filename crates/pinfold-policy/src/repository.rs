//! Git repositories as facts, so that their hooks and configuration can be
//! protected wherever they are.

use crate::path::AbsPath;

/// What git keeps for one workspace root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The workspace root.
    pub root: AbsPath,
    /// What `.git` is there.
    pub entry: GitEntry,
    /// Every git directory that belongs to it, the common one first.
    pub directories: Vec<GitDirectory>,
    /// Whether that is all: a repository may have more worktrees, submodules and
    /// included files than are looked at.
    pub complete: bool,
}

/// What the name `.git` is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitEntry {
    /// Nothing.
    Missing,
    /// A git directory.
    Directory,
    /// A file that leads to one. `confirmed` says that the directory points back,
    /// so that a stray file cannot pass anything off as a git directory.
    Pointer {
        /// Whether it does.
        confirmed: bool,
    },
}

/// One git directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitDirectory {
    /// The directory, links resolved.
    pub path: AbsPath,
    /// Where its configuration leads: other hooks (`core.hooksPath`) and files
    /// that it includes.
    pub leads_to: Vec<AbsPath>,
    /// The work tree, when it is not the workspace root: of a linked worktree or
    /// a submodule.
    pub work_tree: Option<AbsPath>,
}

/// The names in a git directory that make programs run code, or that lead
/// programs to other such files.
pub const RUNS_CODE: [&str; 5] = ["config", "config.worktree", "hooks", "commondir", "gitdir"];

/// The hooks that git runs (githooks(5)).
pub const HOOKS: [&str; 28] = [
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "p4-prepare-changelist",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
];

/// Names at the root of a work tree that make editors, agents and shells outside
/// run code.
pub const PROTECTED_NAMES: [&str; 11] = [
    ".agents",
    ".claude",
    ".codex",
    ".cursor",
    ".envrc",
    ".gemini",
    ".idea",
    ".mcp.json",
    ".pinfold",
    ".vscode",
    ".zed",
];
