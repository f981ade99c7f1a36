//! `decide` is the specification: random profiles over a small tree are run on
//! the real kernel, and what it did is compared with what `decide` says.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use pinfold::policy::decide::{Operation, decide};
use pinfold::policy::path::AbsPath;
use pinfold::{Caller, Options, Sandbox};
use world::World;

/// How many profiles are drawn.
const ROUNDS: u64 = 60;

/// The directories of the tree; each holds a file `f`.
const DIRECTORIES: [&str; 9] = ["", "a", "a/b", "a/b/c", "a/d", "e", "e/g", "e/g/h", "i"];

/// Small, fast and the same everywhere (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A profile with up to six rules.
fn profile(numbers: &mut Numbers) -> String {
    let mut text = String::from(
        "default_permissions = \"drawn\"\n[permissions.drawn]\nextends = \":workspace\"\n\
         [permissions.drawn.filesystem.\":workspace_roots\"]\n",
    );
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..numbers.below(7) {
        let directory = numbers.choose(&DIRECTORIES);
        let key = match numbers.below(5) {
            0 if !directory.is_empty() => format!("{directory}/f"),
            0 => String::from("f"),
            1 => String::from(*numbers.choose(&["**/c", "**/h", "*/f", "{a,e}/*/f"])),
            _ if directory.is_empty() => String::from("."),
            _ => String::from(*directory),
        };
        let pattern = key.contains(['*', '{']);
        let access = *numbers.choose(if pattern {
            &["read", "deny"][..]
        } else {
            &["read", "write", "deny"]
        });
        if keys.insert(key.clone()) {
            let _ = writeln!(text, "\"{key}\" = \"{access}\"");
        }
    }
    text
}

#[test]
fn the_kernel_does_what_decide_says() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..ROUNDS {
        let text = profile(&mut numbers);
        let world = World::new(&format!("oracle-{round}"));
        let mut script = String::new();
        let mut paths = Vec::new();
        for directory in DIRECTORIES {
            let name =
                if directory.is_empty() { String::from("f") } else { format!("{directory}/f") };
            world.file(&name, "x");
            let _ = writeln!(
                script,
                "head -c1 {name} >/dev/null 2>&1 && echo yes || echo no\n\
                 (: >> {name}) 2>/dev/null && echo yes || echo no"
            );
            paths.push(name);
        }
        world.configuration(&text);
        let output = world.pinfold(&["run", "-q", "--", "sh", "-c", &script]);
        let results: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(results.len(), paths.len() * 2, "{text}\n{}", output.stderr);
        compare(&world, &text, &paths, &results);
    }
}

fn compare(world: &World, text: &str, paths: &[String], results: &[&str]) {
    let path = |path: &std::path::Path| AbsPath::posix(path.as_os_str().as_bytes()).unwrap();
    let variable =
        |name: &str, value: std::path::PathBuf| format!("{name}={}", value.display()).into_bytes();
    let caller = Caller {
        working: path(&world.path("")),
        environment: vec![
            variable("HOME", world.home()),
            variable("PINFOLD_HOME", world.config_file().parent().unwrap().into()),
        ],
    };
    let sandbox = Sandbox::open(&caller, &Options::default()).unwrap();
    for (index, name) in paths.iter().enumerate() {
        let file = path(&world.path(name));
        for (offset, operation) in [(0, Operation::Read(&file)), (1, Operation::Write(&file))] {
            let verdict = decide(sandbox.profile(), operation);
            let did = results[index * 2 + offset] == "yes";
            assert_eq!(did, verdict.allowed, "{operation:?}: {verdict}\n{text}");
        }
    }
}
