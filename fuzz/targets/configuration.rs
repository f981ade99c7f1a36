//! The text of a configuration, up to the plans that come of it.
//!
//! Every problem has its place in the text; what is accepted means the same when it is
//! read again; what is compiled holds nothing that the profile does not say about its
//! own paths; an untrusted project with the same text takes nothing back that is denied.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pinfold_policy::config::tree::{self, Item};
use pinfold_policy::config::{Layer, Source};
use pinfold_policy::decide::{Operation, decide};
use pinfold_policy::explain;
use pinfold_policy::host::{LinuxHost, MacHost, System, WindowsHost, WindowsLevel};
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::{linux, macos, windows};
use pinfold_policy::profile::Profile;
use pinfold_policy::resolve::{Context, Own, Request, prepare};

fn at(path: &str) -> AbsPath {
    AbsPath::posix(path).unwrap()
}

fn context() -> Context {
    Context {
        system: System::Linux,
        volumes: vec![AbsPath::root()],
        working: at("/home/me/project"),
        home: Some(at("/home/me")),
        tmpdir: None,
        slash_tmp: true,
        repositories: Vec::new(),
        git_files: Vec::new(),
        own: Own { settings: vec![at("/home/me/.config/pinfold")], state: Vec::new() },
    }
}

fn item(text: &str, layer: Layer) -> Option<Item> {
    let source = Source::new("config.toml".into(), at("/home/me"), layer, text.into());
    let (item, problems) = tree::parse(&Arc::new(source));
    let lines = text.lines().count().max(1) as u32 + 1;
    for problem in &problems {
        let text = problem.to_string();
        let place = text.lines().find_map(|line| line.trim().strip_prefix("--> config.toml:"));
        let line = place.and_then(|place| place.split(':').next()?.parse::<u32>().ok());
        assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{text}");
    }
    problems.is_empty().then_some(item)
}

fn profile(text: &str, untrusted: Vec<Item>) -> Option<Profile> {
    let (context, request) = (context(), Request::plain());
    let prepared = prepare(item(text, Layer::User)?, &request, &context).ok()?;
    prepared.resolve(untrusted, None, &request, &context).ok()
}

fuzz_target!(|text: &str| {
    let Some(read) = profile(text, Vec::new()) else { return };
    assert_eq!(profile(text, Vec::new()).as_ref(), Some(&read));
    let host = LinuxHost {
        uid: 1000,
        namespaces: Ok(()),
        landlock_abi: 7,
        seccomp: true,
        notification: true,
        paths: BTreeMap::new(),
        glob_matches: Vec::new(),
        sockets: Vec::new(),
        listings: BTreeMap::new(),
    };
    let (plan, gaps) = linux::compile(&read, &host);
    let _ = (explain::plan(&plan), explain::gaps(&gaps));
    let closed = LinuxHost { namespaces: Err("closed".into()), ..host };
    let _ = linux::compile(&read, &closed);
    let (seatbelt, _) = macos::compile(&read, &MacHost { paths: BTreeMap::new() });
    let seatbelt = macos::render(&seatbelt);
    assert!(seatbelt.lines().filter(|line| !line.starts_with(';')).all(|line| line.is_ascii()));
    let level = WindowsLevel::Account { proxy_port: 1 };
    let (paths, glob_matches, world_writable) = (BTreeMap::new(), Vec::new(), Vec::new());
    let _ = windows::compile(&read, &WindowsHost { level, paths, glob_matches, world_writable });
    // What pinfold believes is never written, whatever the text says.
    let own = at("/home/me/.config/pinfold/config.toml");
    let confined = !matches!(plan, linux::Plan::Unconfined(_));
    assert!(!confined || !decide(&read, Operation::Write(&own)).allowed, "{text}");
    // A project that nobody trusts can only take away.
    let project = item(text, Layer::Project).unwrap();
    let base = "default_permissions = \":workspace\"\n";
    let (Some(base), Some(tight)) = (profile(base, Vec::new()), profile(base, vec![project]))
    else {
        return;
    };
    for probe in ["/etc/passwd", "/home/me/.ssh/id", "/home/me/project/a", "/home/me/b", "/a"] {
        let probe = at(probe);
        for operation in [Operation::Read(&probe), Operation::Write(&probe)] {
            let (before, after) = (decide(&base, operation), decide(&tight, operation));
            assert!(before.allowed || !after.allowed, "{operation:?} {after}");
        }
    }
});
