//! The conformance cases, judged by the models of macOS and Windows: what Linux really does,
//! the plans for the others must do too. A case may differ where it names a gap that the plan
//! reports, and only there. No macOS and no Windows has run them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "../seatbelt/evaluator.rs"]
#[allow(dead_code)]
mod evaluator;
mod files;
#[path = "../access/model.rs"]
mod model;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use evaluator::Profile as Seatbelt;
use files::{Entry, Files};
use model::Token;
use pinfold_policy::config::tree::{self, Item};
use pinfold_policy::config::{Layer, Source};
use pinfold_policy::gap::Gap;
use pinfold_policy::glob::Matcher;
use pinfold_policy::host::{GlobMatch, MacHost, System, WindowsHost, WindowsLevel};
use pinfold_policy::path::{AbsPath, PathStyle};
use pinfold_policy::plan::linux::paths_of_interest;
use pinfold_policy::plan::windows::{Confined, PROXY_PORT, mask};
use pinfold_policy::plan::{macos, windows};
use pinfold_policy::profile::{Access, FsTarget, Profile};
use pinfold_policy::repository::{GitDirectory, GitEntry, Repository};
use pinfold_policy::resolve::{Context, FlagRule, Own, Request, prepare};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

/// What of a case is looked at here.
#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    profile: String,
    builtin: Option<String>,
    #[serde(default)]
    given: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
    inside: Vec<String>,
    #[serde(default)]
    outside: Vec<String>,
    #[serde(default)]
    meanwhile: Vec<String>,
    /// Names of gaps by system.
    #[serde(default)]
    gap: BTreeMap<String, Vec<String>>,
}

/// A system whose plan is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    MacOs,
    Windows(WindowsLevel),
}

impl Target {
    /// What a case calls it.
    fn name(self) -> &'static str {
        match self {
            Target::MacOs => "macos",
            Target::Windows(WindowsLevel::RestrictedToken) => "windows",
            Target::Windows(WindowsLevel::Account { .. }) => "windows-account",
        }
    }

    fn base(self) -> &'static str {
        match self {
            Target::MacOs => "/Users/me/case",
            Target::Windows(_) => "C:/case",
        }
    }

    fn style(self) -> PathStyle {
        match self {
            Target::MacOs => PathStyle::Posix,
            Target::Windows(_) => PathStyle::Windows,
        }
    }

    /// A text of a case, with the directories of this system.
    fn text(self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in ["ws", "out", "home"] {
            text = text.replace(&format!("{{{name}}}"), &format!("{}/{name}", self.base()));
        }
        text.replace("{base}", self.base())
    }

    /// The path in a step, when it is one of the case's own.
    fn path(self, text: &str) -> Option<AbsPath> {
        let path = AbsPath::parse(self.style(), self.text(text).as_bytes()).ok()?;
        path.starts_with(&self.absolute("")).then_some(path)
    }

    fn absolute(self, below: &str) -> AbsPath {
        let text = format!("{}/{below}", self.base());
        AbsPath::parse(self.style(), text.trim_end_matches('/').as_bytes()).unwrap()
    }
}

enum Plan {
    Mac(Seatbelt),
    Windows(Confined, bool),
}

impl Plan {
    fn token(&self) -> Option<Token<'_>> {
        match self {
            Plan::Mac(_) => None,
            Plan::Windows(plan, group) => Some(Token { plan, group: *group }),
        }
    }

    fn reads(&self, path: &AbsPath) -> bool {
        match self {
            Plan::Mac(plan) => plan.allows("file-read-data", path),
            Plan::Windows(..) => self.token().unwrap().allows(path, mask::READ),
        }
    }

    fn writes(&self, path: &AbsPath) -> bool {
        match self {
            Plan::Mac(plan) => plan.allows("file-write-data", path),
            Plan::Windows(..) => self.token().unwrap().allows(path, 0x2),
        }
    }

    fn creates(&self, path: &AbsPath) -> bool {
        match self {
            Plan::Mac(plan) => plan.allows("file-write-create", path),
            // `FILE_ADD_FILE` and `FILE_ADD_SUBDIRECTORY` of the directory.
            Plan::Windows(..) => self.token().unwrap().allows(&path.parent().unwrap(), 0x6),
        }
    }

    fn removes(&self, path: &AbsPath) -> bool {
        match self {
            Plan::Mac(plan) => plan.allows("file-write-unlink", path),
            Plan::Windows(..) => self.token().unwrap().removes(path),
        }
    }

    fn changes_mode(&self, path: &AbsPath) -> bool {
        match self {
            Plan::Mac(plan) => plan.allows("file-write-mode", path),
            // `WRITE_DAC`.
            Plan::Windows(..) => self.token().unwrap().allows(path, 0x4_0000),
        }
    }
}

fn load() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance");
    let read = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        toml::from_str::<Cases>(&text).unwrap_or_else(|error| panic!("{name}: {error}")).case
    };
    // The others are about the kernel of Linux.
    ["files.toml", "protected.toml"].iter().flat_map(|name| read(name)).collect()
}

/// Why a case says nothing about a system.
fn excluded(case: &Case, target: Target) -> Option<&'static str> {
    if case.given.iter().any(|step| step.starts_with("mode ")) {
        return Some("the models know no modes");
    }
    if matches!(target, Target::Windows(_)) {
        let hostile = |text: &String| text.contains(['"', '\n', '*', '<', '>', '|', '?']);
        if case.given.iter().any(hostile) || case.options.iter().any(hostile) {
            return Some("no file can have such a name");
        }
    }
    None
}

fn resolve(case: &Case, target: Target, files: &Files) -> Profile {
    let text = format!(
        "default_permissions = \"case\"\n[permissions.case]\nextends = \":workspace\"\n{}",
        target.text(&case.profile)
    );
    let home = target.absolute("home");
    let source = Source::new("case.toml".into(), home.clone(), Layer::User, text);
    let (item, problems): (Item, _) = tree::parse(&Arc::new(source));
    assert!(problems.is_empty(), "{}: {problems:?}", case.name);
    let working = target.absolute("ws");
    let git = working.join(".git").unwrap();
    let repository = || Repository {
        root: working.clone(),
        entry: GitEntry::Directory,
        directories: vec![GitDirectory {
            path: git.clone(),
            leads_to: Vec::new(),
            work_tree: None,
        }],
        complete: true,
    };
    let has_git = files.all().any(|(path, _)| *path != git && path.starts_with(&git));
    let (system, volume) = match target {
        Target::MacOs => (System::MacOs, AbsPath::root()),
        Target::Windows(_) => (System::Windows, working.ancestors().last().unwrap()),
    };
    let context = Context {
        system,
        volumes: vec![volume],
        working: working.clone(),
        home: Some(home),
        tmpdir: None,
        slash_tmp: target == Target::MacOs,
        repositories: if has_git { vec![repository()] } else { Vec::new() },
        git_files: Vec::new(),
        own: Own::default(),
    };
    let mut request = Request::plain();
    request.profile.clone_from(&case.builtin);
    for option in case.options.chunks(2) {
        let access = match option[0].as_str() {
            "--read" => Access::Read,
            "--write" => Access::Write,
            "--deny" => Access::Deny,
            other => panic!("{}: {other}", case.name),
        };
        let path = target.text(&option[1]).into_bytes();
        request.rules.push(FlagRule { option: option[0].as_str().into(), access, path });
    }
    let prepared = prepare(item, &request, &context).unwrap();
    prepared.resolve(Vec::new(), None, &request, &context).unwrap_or_else(|problems| {
        panic!("{}: {}", case.name, problems.iter().map(ToString::to_string).collect::<String>())
    })
}

fn compile(profile: &Profile, target: Target, files: &Files) -> (Plan, Vec<Gap>) {
    let asked = paths_of_interest(profile);
    let paths = asked.into_iter().map(|path| (path.clone(), files.fact(&path))).collect();
    match target {
        Target::MacOs => match macos::compile(profile, &MacHost { paths }) {
            (macos::Plan::Seatbelt(plan), gaps) => (Plan::Mac(Seatbelt::read(&plan)), gaps),
            (macos::Plan::Unconfined(_), _) => panic!("nothing would be enforced"),
        },
        Target::Windows(level) => {
            let mut glob_matches = Vec::new();
            for (rule, found) in profile.filesystem.rules.iter().enumerate() {
                let FsTarget::Glob(glob) = &found.target else { continue };
                let matcher = Matcher::new(glob);
                for (path, entry) in files.all().filter(|(path, _)| matcher.matches(path)) {
                    let directory = *entry == Entry::Directory;
                    glob_matches.push(GlobMatch { rule, path: path.clone(), directory });
                }
            }
            let host = WindowsHost { level, paths, glob_matches, world_writable: Vec::new() };
            match windows::compile(profile, &host) {
                (windows::Plan::Confined(plan), gaps) => {
                    (Plan::Windows(plan, level != WindowsLevel::RestrictedToken), gaps)
                }
                (windows::Plan::Unconfined(_), _) => panic!("nothing would be enforced"),
            }
        }
    }
}

fn give(step: &str, target: Target, files: &mut Files) {
    let words: Vec<&str> = step.splitn(3, ' ').collect();
    let path = target.path(words[1]).unwrap();
    files.make(
        &path,
        match words[0] {
            "dir" => Entry::Directory,
            "file" | "save" => Entry::File,
            "link" => Entry::Link(target.text(words[2])),
            other => panic!("unknown step {other}"),
        },
    );
}

/// The file that a step puts another in the place of, as editors do.
fn replaced(step: &str) -> Option<&str> {
    step.strip_prefix("save ")?.split(' ').next()
}

/// Whether an operation succeeds, and does what it does if so; nothing for one that is not
/// about these files.
fn perform(operation: &str, target: Target, plan: &Plan, files: &mut Files) -> Option<bool> {
    let words: Vec<&str> = operation.split(' ').collect();
    let rest = operation.split_once(' ').map_or("", |(_, rest)| rest);
    let there = |files: &Files, path: &AbsPath| files.resolved(path);
    Some(match words[0] {
        "read" | "list" => {
            let path = target.path(rest)?;
            there(files, &path).is_some_and(|path| plan.reads(&path))
        }
        "stat" => there(files, &target.path(rest)?).is_some(),
        "write" => {
            let path = target.path(rest)?;
            there(files, &path).is_some_and(|path| plan.writes(&path))
        }
        "chmod" => plan.changes_mode(&there(files, &target.path(rest)?)?),
        "create" | "mkdir" => {
            let path = files.place(&target.path(rest)?)?;
            let made = !files.has(&path) && plan.creates(&path);
            if made {
                let kind = if words[0] == "mkdir" { Entry::Directory } else { Entry::File };
                files.make(&path, kind);
            }
            made
        }
        "symlink" => {
            let path = files.place(&target.path(words[2])?)?;
            let made = !files.has(&path) && plan.creates(&path);
            if made {
                files.make(&path, Entry::Link(words[1].to_owned()));
            }
            made
        }
        "remove" => {
            let path = files.place(&target.path(rest)?)?;
            let removed = files.has(&path) && plan.removes(&path);
            if removed {
                files.remove(&path);
            }
            removed
        }
        // Neither system lets what cannot be removed get another name by a link: Seatbelt
        // refuses the operation that nothing allows, Windows asks for the right to write.
        "link" => {
            let from = files.place(&target.path(words[1])?)?;
            plan.token().is_some() && plan.writes(&from)
        }
        "rename" | "exchange" => {
            let from = files.place(&target.path(words[1])?)?;
            let to = files.place(&target.path(words[2])?)?;
            let free = |path: &AbsPath| !files.has(path) || plan.removes(path);
            let both = words[0] == "exchange";
            let moved = plan.removes(&from)
                && plan.creates(&to)
                && free(&to)
                && (!both || plan.creates(&from));
            if moved && !both {
                files.rename(&from, &to);
            }
            moved
        }
        _ => return None,
    })
}

/// What the operations of a case do otherwise than on Linux, and how many were judged.
fn differences(
    case: &Case,
    target: Target,
    plan: &mut Plan,
    files: &mut Files,
) -> (Vec<String>, usize) {
    let (mut wrong, mut judged) = (Vec::new(), 0);
    let stays_away =
        |name: &str| case.outside.iter().any(|claim| *claim == format!("missing {name}"));
    for line in &case.inside {
        let (operation, expected) = line.rsplit_once(" => ").unwrap();
        if operation.starts_with("sleep ") {
            for step in &case.meanwhile {
                give(step, target, files);
                if let (Plan::Windows(plan, _), Some(name)) = (&mut *plan, replaced(step)) {
                    // The entries were those of the file that was there.
                    let path = target.path(name).unwrap();
                    plan.entries.retain(|entry| entry.path != path);
                }
            }
            continue;
        }
        let Some(done) = perform(operation, target, plan, files) else { continue };
        judged += 1;
        // Linux takes away what appears where nothing may; to refuse it is as good.
        let name = operation.rsplit(' ').next().unwrap_or_default();
        let taken_away = expected == "ok" && !done && stays_away(name);
        if done != expected.starts_with("ok") && !taken_away {
            wrong.push(format!("{operation}: {}", if done { "done" } else { "refused" }));
        }
    }
    (wrong, judged)
}

/// Whether a gap can be why an operation went otherwise.
fn excuses(gap: &str, operation: &str) -> bool {
    let reads = ["read ", "list ", "stat "].iter().any(|word| operation.starts_with(word));
    reads || !matches!(gap, "deny-read" | "restricted-read" | "volume-root")
}

#[test]
fn the_plans_of_all_systems_hold_what_linux_holds() {
    let targets = [
        Target::MacOs,
        Target::Windows(WindowsLevel::RestrictedToken),
        Target::Windows(WindowsLevel::Account { proxy_port: PROXY_PORT }),
    ];
    let mut failed = Vec::new();
    for target in targets {
        let (mut all, mut skipped) = (0, 0);
        for case in load() {
            if let Some(why) = excluded(&case, target) {
                println!("{}: {}: left out: {why}", target.name(), case.name);
                skipped += 1;
                continue;
            }
            let mut files = Files::default();
            for name in ["ws", "out", "home"] {
                files.make(&target.absolute(name), Entry::Directory);
            }
            case.given.iter().for_each(|step| give(step, target, &mut files));
            let profile = resolve(&case, target, &files);
            let (mut plan, reported) = compile(&profile, target, &files);
            let (wrong, judged) = differences(&case, target, &mut plan, &mut files);
            all += judged;
            let named = case.gap.get(target.name()).cloned().unwrap_or_default();
            for name in &named {
                if !reported.iter().any(|gap| gap.name == name) {
                    failed.push(format!("{}: {}: no gap {name}", target.name(), case.name));
                }
            }
            let unexcused: Vec<&String> =
                wrong.iter().filter(|wrong| !named.iter().any(|gap| excuses(gap, wrong))).collect();
            if !unexcused.is_empty() {
                let reported: Vec<&str> = reported.iter().map(|gap| gap.name).collect();
                let what = format!("{unexcused:?}; gaps: {reported:?}");
                failed.push(format!("{}: {}: {what}", target.name(), case.name));
            }
            for gap in named.iter().filter(|gap| !wrong.iter().any(|wrong| excuses(gap, wrong))) {
                failed.push(format!("{}: {}: nothing differs by {gap}", target.name(), case.name));
            }
        }
        println!("{}: {all} operations judged, {skipped} cases left out", target.name());
        assert!(all > 80, "{}: {all}", target.name());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
