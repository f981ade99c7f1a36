//! Every parser of hostile text over many changed seeds: it answers, whatever it
//! is given. The changes are the same in each run.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use pinfold_policy::config::file::File;
use pinfold_policy::config::place::{Layer, Source};
use pinfold_policy::config::tree;
use pinfold_policy::git_config;
use pinfold_policy::glob::Matcher;
use pinfold_policy::net::{parse_authority, parse_destination, parse_host_rule};
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::Glob;

/// Calls `parse` with each seed and with changes of it.
fn check(seeds: &[&str], parse: impl Fn(&[u8])) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (bound.max(1) as u64)).unwrap()
    };
    let all: Vec<u8> = seeds.concat().into_bytes();
    for seed in seeds {
        parse(seed.as_bytes());
        for _ in 0..2_000 {
            let mut text = seed.as_bytes().to_vec();
            for _ in 0..=draw(4) {
                let at = draw(text.len() + 1);
                match draw(4) {
                    0 if at < text.len() => text[at] = u8::try_from(draw(256)).unwrap(),
                    1 => text.truncate(at),
                    2 => {
                        let from = draw(all.len());
                        let to = (from + draw(12)).min(all.len());
                        text.splice(at..at, all[from..to].iter().copied());
                    }
                    _ => text.insert(at, b"[]{}*?\\\"'#=.,:/-\n\0\xff"[draw(19)]),
                }
            }
            parse(&text);
        }
    }
}

#[test]
fn configuration_text() {
    let seeds = [
        "default_permissions = \"x\"\n[permissions.x]\nextends = \":workspace\"\n",
        "[permissions.x.filesystem]\n\"**/*.pem\" = \"deny\"\n[permissions.x.network.domains]\n\"a.b:1-2\" = \"ask\"\n",
        "sandbox_mode = 'workspace-write'\n[sandbox_workspace_write]\nwritable_roots = [\"/a\"]\n",
        "[permissions.x.limits]\nwall_time = \"10m\"\nmemory = \"4 GiB\"\nprocesses = 5\n",
    ];
    check(&seeds, |text| {
        let source = Arc::new(Source::new(
            "fuzz".into(),
            AbsPath::root(),
            Layer::User,
            String::from_utf8_lossy(text).into_owned(),
        ));
        let (item, diagnostics) = tree::parse(&source);
        let (_, more) = File::read(item);
        for problem in diagnostics.iter().chain(&more) {
            let _ = problem.to_string();
        }
    });
}

#[test]
fn host_rules_and_destinations() {
    let seeds = [
        "**.a.example:443,8000-8080",
        "[2606:4700::/32]:*",
        "10.0.0.0/8",
        "https://u@a.example:1/x",
    ];
    check(&seeds, |text| {
        let text = String::from_utf8_lossy(text);
        let _ = parse_host_rule(&text);
        let _ = parse_destination(&text);
        let _ = parse_authority(&text);
    });
}

#[test]
fn patterns() {
    let seeds = ["**/*.pem", "{a,b/{c,d}}/[!a-z]?*", "\\*[[:alpha:]]**", "a/**/b/**/c"];
    let path = AbsPath::posix("/srv/a/b/c.pem").unwrap();
    check(&seeds, |text| {
        let base = AbsPath::posix("/srv").unwrap();
        let matcher = Matcher::new(&Glob { base, pattern: text.to_vec() });
        let _ = matcher.matches(&path);
        let _ = matcher.may_match_below(&[b"a"]);
    });
}

#[test]
fn git_configuration() {
    let seeds = [
        "[core]\n\thooksPath = \"a b\" ; c\n",
        "[includeIf \"gitdir:~/x\\\"\"] path = a\\\nb\n[core.old]bare\n",
    ];
    check(&seeds, |text| {
        let _ = git_config::settings(text);
    });
}
