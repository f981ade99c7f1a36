//! The files of configuration, from the weakest to the strongest.

use std::sync::Arc;

use pinfold_policy::config::tree::{self, Item};
use pinfold_policy::config::{Diagnostic, File, Layer, Source};
use pinfold_policy::path::AbsPath;
use pinfold_policy::resolve::Requirements;

use crate::{Caller, Error};

const REQUIREMENTS: &str = "requirements.toml";

/// Project roots are not looked for beyond so many directories.
const DEEPEST_PROJECT: usize = 64;

/// All configuration that applies to a caller.
#[derive(Clone, Debug)]
pub struct Sources {
    /// System, user and trusted project files and the command line, merged.
    pub merged: Item,
    /// Files of a project that is not trusted, weakest first.
    pub untrusted: Vec<Item>,
    /// What the administrator bounds.
    pub requirements: Option<Requirements>,
    /// The files that were found, in the order of their layers.
    pub files: Vec<AbsPath>,
    /// The root of the project: the nearest directory with a `.git`.
    pub project: AbsPath,
    /// Whether the user trusts that.
    pub trusted: bool,
    /// Whether the working directory itself has a `.git`.
    pub git_here: bool,
}

impl Sources {
    /// Reads everything. `overrides` are `KEY=VALUE` of the command line.
    ///
    /// # Errors
    /// Syntax errors and files that cannot be read, all at once.
    pub fn read(caller: &Caller, overrides: &[String]) -> Result<Sources, Error> {
        let mut reader = Reader { problems: Vec::new(), files: Vec::new() };
        let requirements = reader.requirements();
        let mut merged = Item::empty();
        let system = administration("config.toml");
        let user = caller.configuration()?.and_then(|home| home.join("config.toml").ok());
        for (file, layer) in [(system, Layer::System), (user, Layer::User)] {
            if let Some(item) = file.and_then(|file| reader.file(&file, layer)) {
                tree::merge(&mut merged, item);
            }
        }
        let (project, files, git_here) = project(&caller.working);
        let trusted = is_trusted(&merged, &project);
        let mut untrusted = Vec::new();
        for file in files {
            match reader.file(&file, Layer::Project) {
                Some(item) if trusted => tree::merge(&mut merged, item),
                Some(item) => untrusted.push(item),
                None => {}
            }
        }
        for text in overrides {
            match tree::parse_assignment(&flag_source(text, caller)) {
                Ok(item) => tree::merge(&mut merged, item),
                Err(problem) => reader.problems.push(problem),
            }
        }
        if reader.problems.is_empty() {
            let files = reader.files;
            Ok(Sources { merged, untrusted, requirements, files, project, trusted, git_here })
        } else {
            Err(Error::Configuration(reader.problems))
        }
    }
}

impl Sources {
    /// The root of the project that a caller works in.
    pub fn project(caller: &Caller) -> AbsPath {
        project(&caller.working).0
    }
}

/// Checks one file on its own: every problem of its syntax and its fields.
pub fn check(file: &AbsPath) -> Vec<Diagnostic> {
    let mut reader = Reader { problems: Vec::new(), files: Vec::new() };
    if file.name() == Some(REQUIREMENTS.as_bytes()) {
        if let Some(item) = reader.file(file, Layer::System) {
            reader.problems.extend(Requirements::read(item).1);
        }
        return reader.problems;
    }
    match reader.file(file, Layer::User) {
        Some(item) => reader.problems.extend(File::read(item).1),
        None if reader.problems.is_empty() => {
            reader.problems.push(
                Diagnostic::general(format!("cannot read {file}: no such file or directory"))
                    .hint("name a configuration file that exists"),
            );
        }
        None => {}
    }
    reader.problems
}

struct Reader {
    problems: Vec<Diagnostic>,
    files: Vec<AbsPath>,
}

impl Reader {
    /// Reads and parses a file, if there is one.
    fn file(&mut self, path: &AbsPath, layer: Layer) -> Option<Item> {
        let bytes = match pinfold_sys::facts::read_file(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return None,
            Err(code) => {
                let why = pinfold_sys::describe(code);
                self.problems.push(
                    Diagnostic::general(format!("cannot read {path}: {why}"))
                        .hint("a file that cannot be read could hold a rule; mend or remove it"),
                );
                return None;
            }
        };
        self.files.push(path.clone());
        let Ok(text) = String::from_utf8(bytes) else {
            self.problems.push(Diagnostic::general(format!("cannot read {path}: not UTF-8")));
            return None;
        };
        let directory = path.parent().unwrap_or_else(|| path.clone());
        let name = String::from_utf8_lossy(path.as_bytes()).into_owned().into();
        let source = Arc::new(Source::new(name, directory, layer, text));
        let (item, mut problems) = tree::parse(&source);
        self.problems.append(&mut problems);
        Some(item)
    }

    fn requirements(&mut self) -> Option<Requirements> {
        let item = self.file(&administration(REQUIREMENTS)?, Layer::System)?;
        let (requirements, mut problems) = Requirements::read(item);
        self.problems.append(&mut problems);
        Some(requirements)
    }
}

/// A file of the administrator.
fn administration(name: &str) -> Option<AbsPath> {
    pinfold_sys::places::administration()?.join(name).ok()
}

fn flag_source(text: &str, caller: &Caller) -> Arc<Source> {
    Arc::new(Source::new(
        format!("-c {text}").into(),
        caller.working.clone(),
        Layer::Flags,
        text.into(),
    ))
}

/// The root of the project that a directory belongs to, and where its files of
/// configuration would be, from the root down. Without a `.git` above, the
/// directory is a project of its own.
fn project(working: &AbsPath) -> (AbsPath, Vec<AbsPath>, bool) {
    let mut directories = Vec::new();
    let mut root = None;
    for directory in working.ancestors().take(DEEPEST_PROJECT) {
        directories.push(directory.clone());
        let git = directory.join(".git").ok();
        if git.is_some_and(|git| pinfold_sys::facts::exists(&git)) {
            root = Some(directory);
            break;
        }
    }
    let Some(root) = root else {
        let file = working.join(".pinfold/config.toml");
        return (working.clone(), file.into_iter().collect(), false);
    };
    directories.reverse();
    let files =
        directories.iter().filter_map(|directory| directory.join(".pinfold/config.toml").ok());
    let git_here = root == *working;
    (root, files.collect(), git_here)
}

/// Whether the user's own files say that a project is trusted.
fn is_trusted(merged: &Item, project: &AbsPath) -> bool {
    use pinfold_policy::config::tree::Node;
    let table = |item: &Item, key: &str| match &item.node {
        Node::Table(table) => table.get(key).map(|entry| entry.item.clone()),
        _ => None,
    };
    // A name that is not UTF-8 cannot be in the file, and must not look like one.
    let Ok(name) = std::str::from_utf8(project.as_bytes()) else { return false };
    let level = table(merged, "projects")
        .and_then(|projects| table(&projects, name))
        .and_then(|project| table(&project, "trust_level"));
    matches!(level, Some(Item { node: Node::String(level), .. }) if level == "trusted")
}
