//! From configuration to the one [`Profile`] that a command runs under.

pub mod builtin;
mod choose;
mod protect;
mod requirements;
mod rules;
pub mod stores;
mod tables;
mod tighten;

use std::sync::Arc;
use std::time::Duration;

pub use choose::Front;
pub use protect::{OWN, SERVICES};
pub use requirements::Requirements;
pub use rules::secrets;

use crate::config::diagnostic::Diagnostic;
use crate::config::file::{File, Git, ProfileTable};
use crate::config::place::At;
use crate::config::tree::Item;
use crate::gap;
use crate::host::System;
use crate::origin::Origin;
use crate::path::{AbsPath, Quoted};
use crate::profile::{
    Access, Confinement, Directories, FsPolicy, FsRule, FsTarget, LevelChoice, MechanismChoice,
    Profile, SocketRule,
};
use crate::repository::Repository;

/// The facts about the caller that configuration is read against.
#[derive(Clone, Debug)]
pub struct Context {
    /// The system that the command runs on; the built-in lists are its own.
    pub system: System,
    /// The roots of all file systems, that of the system first: `/`, or the drives.
    pub volumes: Vec<AbsPath>,
    /// The working directory, links resolved.
    pub working: AbsPath,
    /// The user's home.
    pub home: Option<AbsPath>,
    /// `$TMPDIR`, when it names an existing directory.
    pub tmpdir: Option<AbsPath>,
    /// Whether `/tmp` is a directory.
    pub slash_tmp: bool,
    /// Git facts for the workspace roots; see [`workspace_roots`].
    pub repositories: Vec<Repository>,
    /// The user's own git configuration files, there or not.
    pub git_files: Vec<AbsPath>,
    /// What pinfold itself believes.
    pub own: Own,
}

/// Where pinfold keeps what it believes, there or not: a command that could
/// write it would choose its own rules, or those of the next command.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Files and directories of configuration; read at most.
    pub settings: Vec<AbsPath>,
    /// Notes of past runs and the sockets of servers; out of sight.
    pub state: Vec<AbsPath>,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// `--profile`.
    pub profile: Option<String>,
    /// `--read`, `--write` and `--deny`, in order.
    pub rules: Vec<FlagRule>,
    /// `--net`.
    pub hosts: Vec<String>,
    /// `--allow-unix-socket`: absolute paths.
    pub sockets: Vec<String>,
    /// `--env NAME` lets one through, `--env NAME=VALUE` sets one.
    pub environment: Vec<Vec<u8>>,
    /// `--allow-gap`.
    pub allowed_gaps: Vec<String>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// Which command asks.
    pub front: Front,
}

impl Request {
    /// A request for the everyday form without any option.
    pub fn plain() -> Request {
        Request {
            profile: None,
            rules: Vec::new(),
            hosts: Vec::new(),
            sockets: Vec::new(),
            environment: Vec::new(),
            allowed_gaps: Vec::new(),
            timeout: None,
            front: Front::Run,
        }
    }
}

/// One file rule of the command line.
#[derive(Clone, Debug)]
pub struct FlagRule {
    /// The option as it was typed, for messages.
    pub option: Arc<str>,
    /// What it grants.
    pub access: Access,
    /// The path or pattern; relative ones start from the working directory.
    pub path: Vec<u8>,
}

/// Configuration that has been read, before the facts that depend on it.
#[derive(Clone, Debug)]
pub struct Prepared {
    file: File,
    chosen: choose::Chosen,
    diagnostics: Vec<Diagnostic>,
}

/// Reads the merged layers and chooses a profile.
///
/// # Errors
/// Every problem found so far, when no profile could be chosen.
pub fn prepare(
    merged: Item,
    request: &Request,
    context: &Context,
) -> Result<Prepared, Vec<Diagnostic>> {
    let (file, mut diagnostics) = File::read(merged);
    match choose::profile(&file, request, context) {
        Ok(chosen) => Ok(Prepared { file, chosen, diagnostics }),
        Err(problem) => {
            diagnostics.push(problem);
            Err(diagnostics)
        }
    }
}

impl Prepared {
    /// The workspace roots, so that the caller can look at their git directories.
    pub fn workspace_roots(&self, context: &Context) -> Vec<AbsPath> {
        match self.chosen.confinement {
            Confinement::Confined => tables::roots(&self.chosen, context).0,
            Confinement::Unconfined => Vec::new(),
        }
    }

    /// Resolves everything into a profile. `untrusted` are the files of a project
    /// that nobody trusts, weakest first.
    ///
    /// # Errors
    /// Every problem of the configuration at once.
    pub fn resolve(
        mut self,
        untrusted: Vec<Item>,
        requirements: Option<&Requirements>,
        request: &Request,
        context: &Context,
    ) -> Result<Profile, Vec<Diagnostic>> {
        let diagnostics = &mut self.diagnostics;
        let mut profile = draft(&self.file, &self.chosen, context, diagnostics);
        flags(&mut profile, request, context, diagnostics);
        // Not after what only an untrusted project says, which must open nothing.
        let roots = &profile.directories.workspace_roots;
        drop_private(&mut profile.filesystem, |(directory, private), rule| match rule.origin {
            _ if roots.contains(directory) => true,
            Origin::BuiltIn(_) => false,
            Origin::File { .. } => matches!(private, Origin::BuiltIn(_)),
            Origin::Flag(_) => true,
        });
        for layer in untrusted {
            tighten::apply(&mut profile, layer, context, diagnostics);
        }
        if git(&self.chosen) != Git::Write {
            protect::configuration(&mut profile.filesystem, context);
        }
        if profile.confinement == Confinement::Confined {
            protect::starts(&mut profile.filesystem, context);
            protect::own(&mut profile.filesystem, &context.own);
        }
        if let Some(requirements) = requirements {
            requirements.bound(&mut profile, &self.chosen, context, diagnostics);
        }
        drop_private(&mut profile.filesystem, |_, rule| rule.access == Access::Deny);
        if self.diagnostics.is_empty() { Ok(profile) } else { Err(self.diagnostics) }
    }
}

/// The profile of the tables alone.
fn draft(
    file: &File,
    chosen: &choose::Chosen,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) -> Profile {
    let (roots, mut problems) = tables::roots(chosen, context);
    diagnostics.append(&mut problems);
    let mut rules = rules::Rules::new();
    for table in &chosen.tables {
        rules::add_entries(&mut rules, &table.filesystem, &roots, context, diagnostics);
    }
    let git = git(chosen);
    let depth = last(&chosen.tables, |table| table.protect_depth.as_ref());
    if chosen.confinement == Confinement::Confined {
        if context.system == System::Linux {
            protect::hide_services(&mut rules);
        }
        for root in &roots {
            let repository = context.repositories.iter().find(|found| found.root == *root);
            let depth = depth.map(|depth| depth.value);
            protect::add(&mut rules, root, repository, (git, depth));
            if let Some(found) = repository.filter(|found| !found.complete && git != Git::Write) {
                diagnostics.push(protect::incomplete(found));
            }
        }
    }
    let setting = |pick: fn(&ProfileTable) -> Option<&At<bool>>| last(&chosen.tables, pick);
    let mechanism = last(&chosen.tables, |table| table.mechanism.as_ref())
        .or(file.mechanism.as_ref())
        .map_or(MechanismChoice::Automatic, |choice| choice.value);
    let private = setting(|table| table.private_tmp.as_ref());
    for gap in chosen.tables.iter().flat_map(|table| &table.allow_gaps) {
        if let Some(hint) = gap::correction(&gap.value) {
            diagnostics.push(Diagnostic::at(&gap.place, unknown_gap(&gap.value)).hint(hint));
        }
    }
    Profile {
        name: chosen.name.clone(),
        description: last(&chosen.tables, |table| table.description.as_ref())
            .map(|text| text.value.clone()),
        confinement: chosen.confinement,
        directories: Directories {
            working: context.working.clone(),
            home: context.home.clone(),
            workspace_roots: roots,
            tmpdir: context.tmpdir.clone(),
        },
        filesystem: FsPolicy {
            rules: with_room(rules),
            private: tables::private(private, context),
            glob_scan_max_depth: last(&chosen.tables, |table| table.glob_scan_max_depth.as_ref())
                .map(|depth| depth.value),
        },
        network: tables::network(chosen, context, diagnostics),
        environment: tables::environment(file, chosen),
        limits: tables::limits(&chosen.tables),
        user_namespaces: setting(|table| table.user_namespaces.as_ref())
            .is_some_and(|allowed| allowed.value),
        macos: chosen
            .tables
            .iter()
            .flat_map(|table| table.macos.iter().map(|switch| switch.value))
            .collect(),
        level: last(&chosen.tables, |table| table.level.as_ref())
            .or(file.level.as_ref())
            .map_or(LevelChoice::Automatic, |choice| choice.value),
        mechanism,
        allowed_gaps: chosen
            .tables
            .iter()
            .flat_map(|table| &table.allow_gaps)
            .map(|gap| (gap.value.clone(), gap.place.origin()))
            .collect(),
    }
}

/// The rules in order, with room for those that are added to every profile.
fn with_room(rules: rules::Rules) -> Vec<FsRule> {
    const ADDED: usize = 16;
    let mut list = Vec::with_capacity(rules.len() + ADDED);
    list.extend(rules::in_order(rules));
    list
}

fn git(chosen: &choose::Chosen) -> Git {
    last(&chosen.tables, |table| table.git.as_ref()).map_or(Git::Commit, |git| git.value)
}

/// What the command line adds.
fn flags(
    profile: &mut Profile,
    request: &Request,
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let roots = profile.directories.workspace_roots.clone();
    for rule in &request.rules {
        match rules::flag_rules(rule, &roots, context) {
            Ok(added) => added.into_iter().for_each(|rule| put(&mut profile.filesystem, rule)),
            Err(problem) => diagnostics.push(problem),
        }
    }
    for text in &request.hosts {
        let origin = Origin::Flag(format!("--net {text}").into());
        if let Err(problem) = tables::add_host(&mut profile.network, text, origin) {
            diagnostics.push(problem);
        }
    }
    for text in &request.sockets {
        let origin = Origin::Flag(format!("--allow-unix-socket {text}").into());
        match context.working.join(text) {
            Ok(path) => profile.network.unix_sockets.push(SocketRule { path, allow: true, origin }),
            Err(error) => diagnostics.push(Diagnostic::general(format!("{origin}: {error}"))),
        }
    }
    for text in &request.environment {
        match text.iter().position(|byte| *byte == b'=') {
            Some(end @ 1..) => {
                let value = text[end + 1..].to_vec();
                profile.environment.given.insert(text[..end].to_vec(), value);
            }
            None if !text.is_empty() => profile.environment.pass.push(text.clone()),
            _ => diagnostics.push(
                Diagnostic::general(format!("--env {}: a variable needs a name", Quoted(text)))
                    .hint("write --env NAME or --env NAME=VALUE"),
            ),
        }
    }
    for gap in &request.allowed_gaps {
        let origin = Origin::Flag(format!("--allow-gap {gap}").into());
        if let Some(hint) = gap::correction(gap) {
            diagnostics.push(Diagnostic::general(unknown_gap(gap)).hint(hint));
        }
        profile.allowed_gaps.insert(gap.clone(), origin);
    }
    if request.timeout.is_some() {
        profile.limits.wall_time = request.timeout;
    }
}

/// Directories are not private where a rule for exactly that directory counts more than
/// what makes it so.
fn drop_private(filesystem: &mut FsPolicy, counts: impl Fn(&(AbsPath, Origin), &FsRule) -> bool) {
    let rules = &filesystem.rules;
    filesystem.private.retain(|private| {
        let target = FsTarget::Tree(private.0.clone());
        let rule = rules.binary_search_by(|rule| rule.target.cmp(&target));
        !rule.is_ok_and(|index| counts(private, &rules[index]))
    });
}

fn unknown_gap(name: &str) -> String {
    format!("no gap is called {}", Quoted(name.as_bytes()))
}

/// Adds a rule, in place of one with the same target.
fn put(filesystem: &mut FsPolicy, rule: FsRule) {
    match filesystem.rules.binary_search_by(|existing| existing.target.cmp(&rule.target)) {
        Ok(index) => filesystem.rules[index] = rule,
        Err(index) => filesystem.rules.insert(index, rule),
    }
}

/// The value of the table nearest to the chosen profile that has one.
fn last<'t, T: 't>(
    tables: &'t [ProfileTable],
    pick: impl Fn(&'t ProfileTable) -> Option<&'t At<T>>,
) -> Option<&'t At<T>> {
    tables.iter().rev().find_map(pick)
}
