//! What a launch costs, next to the bare command and, where it is installed,
//! bubblewrap. All rows of a table are interleaved round by round, so that load
//! on the machine meets them alike; compare the tenth percentiles.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let base = PathBuf::from(format!("/var/tmp/pinfold-bench-{}", std::process::id()));
    for directory in ["ws", "home"] {
        fs::create_dir_all(base.join(directory)).unwrap();
    }
    profiles(&base);
    let bench = Bench { base: base.clone(), rounds };
    bench.table("true", &["/bin/true"], &["bare", "bench", ":workspace"]);
    bench.protected();
    bench.patterns();
    let _ = fs::remove_dir_all(base);
}

/// A writable workspace, a private /tmp and no network; and the same with 100 and
/// with 1,000 protected paths, and with four deny patterns.
fn profiles(base: &Path) {
    // Each in a configuration of its own, which costs what it costs to read.
    let profile = |name: &str, rules: &str| {
        let text = format!(
            "default_permissions = \"{name}\"\n\
             [permissions.{name}]\nprivate_tmp = true\ngit = \"write\"\n\
             [permissions.{name}.filesystem]\n\":root\" = \"read\"\n\
             [permissions.{name}.filesystem.\":workspace_roots\"]\n\".\" = \"write\"\n{rules}"
        );
        fs::create_dir_all(base.join(name)).unwrap();
        fs::write(base.join(name).join("config.toml"), text).unwrap();
    };
    profile("bench", "");
    for count in [100, 1000] {
        let rules: String =
            (0..count).map(|index| format!("\"protected/p{index}\" = \"read\"\n")).collect();
        profile(&format!("protect{count}"), &rules);
    }
    let patterns = ["**/*.pem", "**/.env*", "**/id_rsa", "**/*.key"];
    let rules: String = patterns.iter().map(|one| format!("\"{one}\" = \"deny\"\n")).collect();
    profile("patterns", &rules);
}

struct Bench {
    base: PathBuf,
    rounds: usize,
}

impl Bench {
    fn workspace(&self) -> PathBuf {
        self.base.join("ws")
    }

    /// How to start a command under a row of a table.
    fn row(&self, name: &str, command: &[&str]) -> Option<Command> {
        let workspace = self.workspace().display().to_string();
        let words: Vec<String> = match name {
            "bare" => Vec::new(),
            "bubblewrap" => format!(
                "bwrap --as-pid-1 --die-with-parent --ro-bind / / --dev /dev --tmpfs /tmp --bind \
                 {workspace} {workspace} --unshare-user --unshare-pid --unshare-ipc --unshare-net \
                 --proc /proc --cap-drop ALL --"
            )
            .split_whitespace()
            .map(String::from)
            .collect(),
            profile => vec![
                PINFOLD.into(),
                "run".into(),
                "-q".into(),
                "-p".into(),
                profile.into(),
                "--".into(),
            ],
        };
        let mut all = words.iter().map(String::as_str).chain(command.iter().copied());
        let mut started = Command::new(all.next()?);
        started.args(all).current_dir(self.workspace());
        started.env("PINFOLD_HOME", self.base.join(name)).env("HOME", self.base.join("home"));
        started.stdin(Stdio::null()).stdout(Stdio::null());
        Some(started)
    }

    fn table(&self, title: &str, command: &[&str], rows: &[&str]) {
        let mut rows = rows.to_vec();
        if Command::new("bwrap").arg("--version").output().is_ok() {
            rows.push("bubblewrap");
        } else {
            println!("bubblewrap is not installed and left out");
        }
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); rows.len()];
        for round in 0..self.rounds + 5 {
            for (name, times) in rows.iter().zip(&mut times) {
                let mut started = self.row(name, command).unwrap();
                let began = Instant::now();
                let status = started.status().unwrap();
                // The first rounds warm the caches.
                if round >= 5 {
                    times.push(began.elapsed());
                }
                assert!(status.success(), "{name}: {status}");
            }
        }
        println!(
            "\n{title}: {} rounds\n{:<14} {:>9} {:>9} {:>7}",
            self.rounds, "", "p10 ms", "p50 ms", "r10"
        );
        let first = percentile(&mut times[0], 10);
        for (name, mut times) in rows.iter().zip(times) {
            let (p10, p50) = (percentile(&mut times, 10), percentile(&mut times, 50));
            println!(
                "{name:<14} {:>9.3} {:>9.3} {:>7.2}",
                milliseconds(p10),
                milliseconds(p50),
                p10.as_secs_f64() / first.as_secs_f64()
            );
        }
    }

    fn protected(&self) {
        // What else is in a directory costs as well, so there are never more than the rules name.
        for count in [100, 1000] {
            for index in 0..count {
                fs::create_dir_all(self.workspace().join(format!("protected/p{index}"))).unwrap();
            }
            let protected = format!("protect{count}");
            self.table("protected paths", &["/bin/true"], &["bench", &protected]);
        }
        fs::remove_dir_all(self.workspace().join("protected")).unwrap();
    }

    /// 100,000 files in 1,000 directories.
    fn patterns(&self) {
        for directory in 0..1000 {
            let path = self.workspace().join(format!("tree/d{}/d{directory}", directory % 30));
            fs::create_dir_all(&path).unwrap();
            for file in 0..100 {
                fs::write(path.join(format!("f{file}.txt")), "").unwrap();
            }
        }
        let few = Bench { base: self.base.clone(), rounds: self.rounds.min(20) };
        few.table("four deny patterns over 100,000 files", &["/bin/true"], &["bench", "patterns"]);
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
