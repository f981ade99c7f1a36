//! Plans as text: a folder per case with a profile and a made-up host, and what
//! comes out. `PINFOLD_BLESS=1` writes the expected files anew.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pinfold_policy::config::tree;
use pinfold_policy::config::{Layer, Source};
use pinfold_policy::explain;
use pinfold_policy::gap;
use pinfold_policy::host::{
    EntryKind, GlobMatch, LinuxHost, MacHost, PathFact, PathKind, System, WindowsHost, WindowsLevel,
};
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{compile, directories_to_list, paths_of_interest};
use pinfold_policy::plan::{macos, windows};
use pinfold_policy::profile::{FsTarget, Profile};
use pinfold_policy::repository::{GitDirectory, GitEntry, Repository};
use pinfold_policy::resolve::{Context, Own, Request, prepare};
use serde::Deserialize;

/// A made-up host. What it does not list does not exist.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    uid: u32,
    working: String,
    home: String,
    /// `directory`, `file`, `socket` or `link /target`, by path.
    paths: BTreeMap<String, String>,
    /// Whether the workspace has a `.git` directory.
    #[serde(default)]
    git: bool,
    #[serde(default)]
    sockets: Vec<String>,
    /// The version of Landlock; a new one when it is not said.
    landlock_abi: Option<u32>,
    /// Whether calls can be listened to, which they cannot be twice.
    #[serde(default)]
    listened_to: bool,
}

fn path(text: &str) -> AbsPath {
    AbsPath::posix(text).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

#[test]
fn plans_are_as_expected() {
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 15, "{} cases", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with one case.
fn check(case: &Path) -> Option<String> {
    let host: Host = toml::from_str(&fs::read_to_string(case.join("host.toml")).unwrap()).unwrap();
    let profile = profile(case, &host);
    let facts = facts(&profile, &host);
    let (plan, gaps) = compile(&profile, &facts);
    let windows = windows(&profile, &facts);
    let (mac_plan, mac_gaps) = macos::compile(&profile, &MacHost { paths: facts.paths });
    for gap in gaps.iter().chain(&mac_gaps) {
        assert!(gap::NAMES.contains(&gap.name), "{} is in no list", gap.name);
    }
    let mac_gaps = explain::gaps(&mac_gaps).lines().map(|line| format!("; {line}\n")).collect();
    let produced = [
        ("macos.sbpl", [macos::render(&mac_plan), mac_gaps].concat()),
        ("linux.txt", format!("{}{}", explain::plan(&plan), explain::gaps(&gaps))),
        ("windows.txt", windows),
        ("explain.txt", explain::profile(&profile)),
    ];
    let mut wrong = String::new();
    for (name, text) in produced {
        let file = case.join(name);
        if std::env::var_os("PINFOLD_BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != text {
            wrong.push_str(&format!("{}:\n{text}\ninstead of\n{expected}\n", file.display()));
        }
    }
    (!wrong.is_empty()).then_some(wrong)
}

/// Both levels, as if the host's files were those of a Windows.
fn windows(profile: &Profile, facts: &LinuxHost) -> String {
    let mut text = String::new();
    for level in
        [WindowsLevel::RestrictedToken, WindowsLevel::Account { proxy_port: windows::PROXY_PORT }]
    {
        let host = WindowsHost {
            level,
            paths: facts.paths.clone(),
            glob_matches: facts.glob_matches.clone(),
            world_writable: Vec::new(),
        };
        let (plan, gaps) = windows::compile(profile, &host);
        text.push_str(&format!("{level:?}\n{}{}\n", windows::render(&plan), explain::gaps(&gaps)));
    }
    text
}

fn profile(case: &Path, host: &Host) -> Profile {
    let source = Arc::new(Source::new(
        "profile.toml".into(),
        path("/etc/pinfold"),
        Layer::User,
        fs::read_to_string(case.join("profile.toml")).unwrap(),
    ));
    let (item, problems) = tree::parse(&source);
    assert!(problems.is_empty(), "{problems:?}");
    let working = path(&host.working);
    let git = working.join(".git").unwrap();
    let directory = GitDirectory { path: git, leads_to: Vec::new(), work_tree: None };
    let repository = Repository {
        root: working.clone(),
        entry: GitEntry::Directory,
        directories: vec![directory],
        complete: true,
    };
    let context = Context {
        system: System::Linux,
        volumes: vec![AbsPath::root()],
        working,
        home: Some(path(&host.home)),
        tmpdir: None,
        slash_tmp: true,
        repositories: if host.git { vec![repository] } else { Vec::new() },
        git_files: Vec::new(),
        own: Own::default(),
    };
    let request = Request::plain();
    let prepared = prepare(item, &request, &context).unwrap();
    prepared.resolve(Vec::new(), None, &request, &context).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<String>())
    })
}

fn facts(profile: &Profile, host: &Host) -> LinuxHost {
    let fact = |asked: &AbsPath| {
        let text = host.paths.get(std::str::from_utf8(asked.as_bytes()).unwrap());
        let kind = match text.map(String::as_str) {
            Some("directory") => PathKind::Directory,
            Some("file") => PathKind::File,
            Some("socket") => PathKind::Socket,
            Some(text) => {
                let target = text.strip_prefix("link ").unwrap();
                let directory = host.paths.get(target).is_none_or(|kind| kind == "directory");
                PathKind::Link { target: Some(path(target)), directory }
            }
            None => PathKind::Missing { nearest: nearest(asked, host) },
        };
        (asked.clone(), PathFact { kind, real: asked.clone() })
    };
    let mut glob_matches = Vec::new();
    for (rule, found) in profile.filesystem.rules.iter().enumerate() {
        let FsTarget::Glob(glob) = &found.target else { continue };
        let matcher = pinfold_policy::glob::Matcher::new(glob);
        for (name, kind) in &host.paths {
            if matcher.matches(&path(name)) {
                let directory = kind == "directory";
                glob_matches.push(GlobMatch { rule, path: path(name), directory });
            }
        }
    }
    glob_matches.sort();
    let mut facts = LinuxHost {
        uid: host.uid,
        namespaces: Ok(()),
        landlock_abi: host.landlock_abi.unwrap_or(7),
        seccomp: true,
        notification: !host.listened_to,
        paths: paths_of_interest(profile).iter().map(fact).collect(),
        glob_matches,
        sockets: host.sockets.iter().map(|socket| path(socket)).collect(),
        listings: BTreeMap::new(),
    };
    let listed = directories_to_list(profile, &facts);
    facts.listings =
        listed.into_iter().map(|above| (above.clone(), listing(&above, host))).collect();
    facts
}

/// The nearest directory above that exists.
fn nearest(asked: &AbsPath, host: &Host) -> AbsPath {
    let exists = |above: &AbsPath| {
        above.is_root() || host.paths.keys().any(|name| path(name).starts_with(above))
    };
    asked.ancestors().skip(1).find(exists).unwrap()
}

/// The entries of a directory; what only leads to something is a directory.
fn listing(above: &AbsPath, host: &Host) -> BTreeMap<Vec<u8>, EntryKind> {
    let mut entries = BTreeMap::new();
    for (name, kind) in &host.paths {
        let name = path(name);
        let Some(below) = name.strip_prefix(above).filter(|below| !below.is_empty()) else {
            continue;
        };
        let mut parts = below.split(|byte| *byte == b'/');
        let first = parts.next().unwrap().to_vec();
        let kind = match (parts.next(), kind.as_str()) {
            (Some(_), _) | (None, "directory") => EntryKind::Directory,
            (None, kind) if kind.starts_with("link ") => EntryKind::Link,
            (None, _) => EntryKind::File,
        };
        entries.entry(first).or_insert(kind);
    }
    entries
}
