//! What rules cost: a verdict on a host among many, and plans for systems that list every
//! path. Medians of many rounds.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use pinfold_policy::config::{Layer, Source, tree};
use pinfold_policy::host::{MacHost, PathFact, PathKind, System, WindowsHost, WindowsLevel};
use pinfold_policy::net::{Host, IndexedPolicy};
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::paths_of_interest;
use pinfold_policy::plan::{macos, windows};
use pinfold_policy::profile::Profile;
use pinfold_policy::resolve::{Context, Own, Request, prepare};

fn main() {
    for count in [100, 1_000, 10_000] {
        hosts(count);
    }
    for count in [100, 1_000] {
        plans(count);
    }
}

fn hosts(count: usize) {
    let rules: String = (0..count)
        .map(|index| match index % 4 {
            0 => format!("\"host{index}.example\" = \"allow\"\n"),
            1 => format!("\"*.zone{index}.example:443,8443\" = \"allow\"\n"),
            2 => format!("\"bad{index}.example\" = \"deny\"\n"),
            _ => format!("\"10.{}.{}.0/24\" = \"allow\"\n", index / 256 % 256, index % 256),
        })
        .collect();
    let policy = IndexedPolicy::new(
        profile(&format!(
            "[permissions.p.network]\nenabled = true\n[permissions.p.network.domains]\n{rules}"
        ))
        .network,
    );
    let asked = ["host4.example", "a.b.zone5.example", "no.such.test", "10.0.3.9", "bad6.example"];
    let hosts = asked.map(|host| Host::parse(host).unwrap());
    let micros = median(2_000, || {
        for host in &hosts {
            black_box(policy.decide_host(black_box(host), 443));
        }
    });
    println!("a verdict among {count} host rules: {:.2} us", micros / hosts.len() as f64);
}

fn plans(count: usize) {
    let rules: String = (0..count)
        .map(|index| {
            let access = ["read", "write", "deny"][index % 3];
            format!("\"/srv/d{}/p{index}\" = \"{access}\"\n", index % 37)
        })
        .collect();
    let profile = profile(&format!("[permissions.p.filesystem]\n{rules}"));
    let fact = |path: AbsPath| (path.clone(), PathFact { kind: PathKind::Directory, real: path });
    let paths: BTreeMap<AbsPath, PathFact> =
        paths_of_interest(&profile).into_iter().map(fact).collect();
    let host = MacHost { paths: paths.clone() };
    let micros = median(50, || {
        black_box(macos::compile(&profile, &host));
    });
    println!("a plan for macOS from {count} rules: {:.2} ms", micros / 1e3);
    for level in
        [WindowsLevel::RestrictedToken, WindowsLevel::Account { proxy_port: windows::PROXY_PORT }]
    {
        let host = WindowsHost {
            level,
            paths: paths.clone(),
            glob_matches: Vec::new(),
            world_writable: Vec::new(),
        };
        let micros = median(50, || {
            black_box(windows::compile(&profile, &host));
        });
        println!("a plan for Windows ({level:?}) from {count} rules: {:.2} ms", micros / 1e3);
    }
}

fn profile(more: &str) -> Profile {
    let text =
        format!("default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n{more}");
    let root = AbsPath::posix("/etc/pinfold").unwrap();
    let source = Arc::new(Source::new("bench.toml".into(), root, Layer::User, text));
    let (item, problems) = tree::parse(&source);
    assert!(problems.is_empty(), "{problems:?}");
    let context = Context {
        system: System::Linux,
        volumes: vec![AbsPath::root()],
        working: AbsPath::posix("/home/me/project").unwrap(),
        home: AbsPath::posix("/home/me").ok(),
        tmpdir: None,
        slash_tmp: true,
        repositories: Vec::new(),
        git_files: Vec::new(),
        own: Own::default(),
    };
    let request = Request::plain();
    let prepared = prepare(item, &request, &context).unwrap();
    prepared.resolve(Vec::new(), None, &request, &context).unwrap()
}

/// The median time in microseconds.
fn median(rounds: usize, mut act: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            act();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}
