//! The built-in tokens and absolute paths of profiles on each system.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use pinfold_policy::config::{Layer, Source, tree};
use pinfold_policy::decide::access;
use pinfold_policy::host::System;
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{Access, Profile};
use pinfold_policy::resolve::{Context, Own, Request, prepare};

fn path(system: System, text: &str) -> AbsPath {
    AbsPath::parse(system.style(), text.as_bytes()).unwrap()
}

fn profile(system: System, text: &str) -> Profile {
    let at = |text: &str| path(system, text);
    let windows = system == System::Windows;
    let (volumes, home, temporary) = match windows {
        true => (vec![at("C:\\"), at("D:\\")], at("C:\\Users\\u"), at("C:\\Users\\u\\Temp")),
        false => (vec![at("/")], at("/Users/u"), at("/var/folders/x")),
    };
    let working = home.join("work").unwrap();
    let written = Source::new("t".into(), working.clone(), Layer::User, text.to_owned());
    let (item, problems) = tree::parse(&Arc::new(written));
    assert!(problems.is_empty(), "{problems:?}");
    let context = Context {
        system,
        volumes,
        working,
        home: Some(home),
        tmpdir: Some(temporary),
        slash_tmp: !windows,
        repositories: Vec::new(),
        git_files: Vec::new(),
        own: Own { settings: Vec::new(), state: Vec::new() },
    };
    let request = Request::plain();
    let prepared = prepare(item, &request, &context).unwrap();
    prepared.resolve(Vec::new(), None, &request, &context).unwrap()
}

fn check(system: System, text: &str, expected: &[(&str, Access)]) {
    let text = format!("default_permissions = \"p\"\n[permissions.p.filesystem]\n{text}");
    let profile = profile(system, &text);
    for (place, wanted) in expected {
        let found = access(&profile.filesystem, &path(system, place)).0;
        assert_eq!(found, *wanted, "{place} on {system:?} under\n{text}");
    }
}

#[test]
fn windows_tokens_name_places_of_windows() {
    use Access::{Deny, Read, Write};
    check(
        System::Windows,
        "\":minimal\" = \"read\"\n\":tmpdir\" = \"write\"\n\"D:\\\\data\" = \"read\"\n",
        &[
            ("C:\\Windows\\System32\\cmd.exe", Read),
            ("C:\\Program Files (x86)\\x", Read),
            ("C:\\Users\\u\\Temp\\x", Write),
            ("D:\\data\\x", Read),
            ("D:\\x", Deny),
            ("C:\\ProgramData\\x", Deny),
        ],
    );
    check(
        System::Windows,
        "\":root\" = \"read\"\n\":home\" = \"write\"\n\":secrets\" = \"deny\"\n\
         \"D:\\\\data\\\\*.pem\" = \"deny\"\n",
        &[
            ("D:\\x", Read),
            ("C:\\Users\\u\\x", Write),
            ("C:\\Users\\u\\.ssh\\id", Deny),
            ("C:\\Users\\u\\AppData\\Roaming\\Microsoft\\Protect\\x", Deny),
            ("D:\\data\\a.pem", Deny),
            ("D:\\data\\a.txt", Read),
        ],
    );
}

#[test]
fn macos_tokens_name_places_of_macos() {
    use Access::{Deny, Read};
    check(
        System::MacOs,
        "\":minimal\" = \"read\"\n",
        &[("/System/Library/x", Read), ("/opt/homebrew/bin/x", Read), ("/Users/u/x", Deny)],
    );
    check(
        System::MacOs,
        "\":root\" = \"read\"\n\":secrets\" = \"deny\"\n",
        &[("/Users/u/Library/Keychains/x", Deny), ("/Users/u/Library/x", Read)],
    );
}
