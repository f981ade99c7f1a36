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
    compared(0x9e37_79b9_7f4a_7c15, "namespaces", &["-c", "linux.mechanism=\"namespaces\""]);
}

#[test]
fn landlock_and_the_supervisor_do_what_decide_says() {
    let mut options = world::landlock();
    options.extend(["--allow-gap", "later-matches"]);
    compared(0x2545_f491_4f6c_dd1d, "landlock", &options);
}

/// Draws profiles, does everything under each, and compares.
fn compared(seed: u64, mechanism: &str, options: &[&str]) {
    let mut numbers = Numbers(seed);
    for round in 0..ROUNDS {
        let text = profile(&mut numbers);
        let world = World::new(&format!("oracle-{mechanism}-{round}"));
        let mut script = String::new();
        for directory in DIRECTORIES {
            let file = below(directory, "f");
            world.file(&file, "x");
            let new = below(directory, "new");
            let moved = if directory.is_empty() { "../m".into() } else { format!("{directory}.m") };
            let directory = below(directory, ".");
            let _ = writeln!(
                script,
                "try() {{ \"$@\" >/dev/null 2>&1 && echo yes || echo no; }}
                 try head -c1 {file}; try sh -c ': >> {file}'; try sh -c ': > {new}'
                 try mv {file} {file}.m && mv {file}.m {file} 2>/dev/null
                 try mv {} {moved} && mv {moved} {} 2>/dev/null",
                directory.trim_end_matches("/."),
                directory.trim_end_matches("/."),
            );
        }
        world.configuration(&text);
        let arguments = [&["run", "-q"][..], options, &["--", "sh", "-c", &script]].concat();
        let output = world.pinfold(&arguments);
        let results: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(results.len(), DIRECTORIES.len() * 5, "{text}\n{}", output.stderr);
        compare(&world, &text, &results);
    }
}

fn below(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn compare(world: &World, text: &str, results: &[&str]) {
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
    let decide = |operation: Operation<'_>| decide(sandbox.profile(), operation);
    for (directory, did) in DIRECTORIES.iter().zip(results.chunks(5)) {
        let at = |name: &str| path(&world.path(&below(directory, name)));
        let (file, new, moved) = (at("f"), at("new"), at("f.m"));
        let whole = path(&world.path(directory));
        let beside = path(&world.path(&format!("{directory}.m")));
        let makes = |path: &AbsPath| {
            let above = path.parent().unwrap();
            decide(Operation::Write(path)).allowed && decide(Operation::Write(&above)).allowed
        };
        let removes = |path: &AbsPath| decide(Operation::Remove(path)).allowed;
        let expected = [
            ("read", decide(Operation::Read(&file)).allowed),
            ("write", decide(Operation::Write(&file)).allowed),
            ("make", makes(&new)),
            ("move", removes(&file) && makes(&moved)),
            ("move all", removes(&whole) && makes(&beside)),
        ];
        for ((what, expected), did) in expected.into_iter().zip(did) {
            // What holds a match of a pattern is not moved either.
            let stricter = what == "move all" && text.contains('*') && *did == "no";
            assert!(
                stricter || (*did == "yes") == expected,
                "{what} in {directory:?}: {did}, not {expected}\n{text}"
            );
        }
    }
}
