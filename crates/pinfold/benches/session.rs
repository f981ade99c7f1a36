//! What a command costs in a session that is there, next to one that is started bare
//! from the same process, with the same standard streams. Rounds are interleaved; compare
//! the tenth percentiles. `COMMAND` names another program, `ROUNDS` their number.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio as Bare};
use std::time::{Duration, Instant};

use pinfold::{Caller, Options, Sandbox, Session, Start, Stdio};

fn main() {
    let text = |name: &str| std::env::var(name).ok();
    let rounds: usize = text("ROUNDS").and_then(|text| text.parse().ok()).unwrap_or(1000);
    let command = text("COMMAND").unwrap_or_else(|| String::from("/bin/true"));
    let base = PathBuf::from(format!("/var/tmp/pinfold-bench-{}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    let caller = Caller::at_root().in_directory(base.as_os_str()).unwrap();
    let options = Options {
        request: pinfold::policy::resolve::Request {
            profile: Some(String::from(":workspace")),
            ..pinfold::policy::resolve::Request::plain()
        },
        ..Options::default()
    };
    let session = Sandbox::open(&caller, &options).unwrap().start().unwrap();
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds + 20 {
        let taken = [bare(&command), inside(&session, &command)];
        // The first rounds warm the caches.
        if round >= 20 {
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
        }
    }
    println!(
        "\n{command}: {rounds} rounds\n{:<12} {:>9} {:>9} {:>7}",
        "", "p10 ms", "p50 ms", "r10"
    );
    let mut first = None;
    for (name, mut times) in ["bare", "in a session"].into_iter().zip(times) {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        let base = *first.get_or_insert(at(10));
        println!("{name:<12} {:>9.3} {:>9.3} {:>7.2}", at(10), at(50), at(10) / base);
    }
    session.stop().unwrap();
    std::fs::remove_dir_all(base).unwrap();
}

fn bare(command: &str) -> Duration {
    let began = Instant::now();
    let mut bare = Command::new(command);
    bare.stdin(Bare::null()).stdout(Bare::null()).stderr(Bare::null());
    assert!(bare.status().unwrap().success());
    began.elapsed()
}

fn inside(session: &Session, command: &str) -> Duration {
    let began = Instant::now();
    let nothing = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
    let start = Start {
        stdio: Stdio::Given([nothing(), nothing(), nothing()]),
        ..Start::piped(vec![OsString::from(command)])
    };
    let ended = session.spawn(start).unwrap().process.wait();
    assert_eq!(ended.code(), 0);
    began.elapsed()
}
