//! The `landlock` mechanism, where the supervisor makes calls for the command.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod world;

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use world::World;

/// Says to the program of these tests, inside, that it is the racer.
const RACER: &str = "PINFOLD_TEST_RACER";

/// The arguments of a run under the mechanism.
fn run<'a>(more: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run"];
    arguments.extend(world::landlock());
    arguments.extend(more);
    arguments.push("--");
    arguments.extend(command);
    arguments
}

fn sh(world: &World, script: &str) -> world::Output {
    world.pinfold(&run(&[], &["sh", "-c", script]))
}

#[test]
fn what_appears_beside_something_protected_is_made_changed_and_removed() {
    let world = World::new("deputy-ordinary");
    world.file("kept/.envrc", "old");
    world.file(".envrc", "old");
    let output = sh(
        &world,
        "set -e; umask 027; mkdir -p new/deep/; echo text > new/deep/file; echo more >> new/deep/file
         ln -s deep new/link; cat new/link/file; ln new/deep/file new/hard; mkfifo new/pipe
         mv new moved; cp moved/deep/file copy; truncate -s 3 copy; cat copy; echo
         (cat moved/pipe &); echo through > moved/pipe; sleep 0.1
         stat -c %a moved moved/deep/file; rm moved/pipe moved/link; rm -r moved/deep; ls -a",
    );
    assert_eq!(output.status, 0, "{}", output.stderr);
    let expected =
        "text\nmore\ntex\nthrough\n750\n640\n.\n..\n.envrc\ncopy\nkept\nmoved\n".to_owned();
    assert_eq!(output.stdout, expected);
    assert_eq!(fs::read_to_string(world.path("moved/hard")).unwrap(), "text\nmore\n");
}

#[test]
fn no_new_name_leads_to_what_is_protected() {
    let world = World::new("deputy-names");
    world.file(".git/hooks/old", "old");
    world.file(".git/config", "old");
    world.file("a/b/c/kept", "old");
    world.configuration(
        "default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n\
         [permissions.p.filesystem.\":workspace_roots\"]\n\"a/b/c/kept\" = \"read\"\n",
    );
    for (script, why) in [
        ("ln -s .git/hooks way && echo x > way/new", "through a link"),
        ("mkdir d && ln -s ../.git/hooks/new d/file && echo x > d/file", "a link to a file"),
        ("ln .git/config second", "a second name"),
        ("mv .git git", "a directory above"),
        ("mv a/b moved", "a directory above, deeper"),
        ("mv a/b/c/kept other", "the name itself"),
        ("echo x > new; mv new a/b/c/kept", "another in its place"),
        ("cd .git/hooks && echo x > new", "from inside"),
        ("cd .git && mkdir n && cd n && echo x > ../hooks/new", "from beside"),
        ("truncate -s 0 .git/config", "cut off"),
        ("ln -s a .vscode; mkdir .vscode", "a name that is not there"),
        ("mkdir z && cd z && exec 3<. && cd .. && echo x > /proc/self/fd/3/../.git/config", "proc"),
    ] {
        let output = sh(&world, script);
        assert_ne!(output.status, 0, "{why}: {script}");
        world.outside("rm -rf way d second new other moved n z .git/n");
        let found = world.outside("ls -A .git .git/hooks a/b/c; cat .git/config a/b/c/kept");
        let expected = ".git:\nconfig\nhooks\n\n.git/hooks:\nold\n\na/b/c:\nkept\noldold";
        assert_eq!(found, expected, "{why}");
        assert!(!world.path(".vscode").exists(), "{why}");
    }
}

#[test]
fn what_appears_where_something_is_denied_is_read_and_listed() {
    let world = World::new("deputy-denied");
    world.file("secret", "hidden");
    world.configuration(
        "default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n\
         [permissions.p.filesystem.\":workspace_roots\"]\n\"secret\" = \"deny\"\n\"**/*.key\" = \"deny\"\n",
    );
    let more = ["--allow-gap", "later-matches"];
    let script = "mkdir d; echo one > d/f; cat d/f; cd d; cat < f; ls; ls ..; cat ../secret; cat ./../d/../secret
         echo two > late.key; cat late.key; ln -s ../secret way; cat way; ln ../secret hard; cat hard";
    let output = world.pinfold(&run(&more, &["sh", "-c", script]));
    assert_eq!(output.stdout, "one\none\nf\nd\nsecret\n", "{}", output.stderr);
    assert!(!world.path("d/hard").exists());
}

#[test]
fn sockets_and_files_without_a_name_are_made_too() {
    let world = World::new("deputy-sockets");
    world.file(".envrc", "old");
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let script = "import os, socket, tempfile
os.mkdir('d')
s = socket.socket(socket.AF_UNIX); s.bind(os.path.abspath('d/s')); s.listen()
c = socket.socket(socket.AF_UNIX); c.connect('d/s'); print('connected')
f = os.open('d', os.O_TMPFILE | os.O_RDWR); os.write(f, b'x'); print(os.fstat(f).st_size)
b = os.open('d/e', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
for flags in (os.O_CREAT | os.O_EXCL, os.O_WRONLY | os.O_DIRECTORY):
    try: os.open('d/e', flags)
    except OSError as e: print(e.strerror)
import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (b + 1, b + 1))
try: os.open('d/g', os.O_CREAT | os.O_WRONLY)
except OSError as e: print(e.strerror)
";
    let output = world.pinfold(&run(&[], &["/usr/bin/python3", "-c", script]));
    let expected = "connected\n1\nFile exists\nNot a directory\nToo many open files\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
}

#[test]
fn refusals_are_told_of() {
    let world = World::new("deputy-told");
    world.file(".envrc", "old");
    let output = world.pinfold(&run(
        &["--log-denials"],
        &["sh", "-c", "echo x > .envrc; echo y > new; mv .envrc other; true"],
    ));
    assert_eq!(output.status, 0, "{}", output.stderr);
    let told = output.stderr.matches(".envrc\"").count();
    assert!(told >= 2 && output.stderr.contains("write"), "{}", output.stderr);
    assert!(!output.stderr.contains("new\""), "{}", output.stderr);
}

#[test]
fn another_proc_shows_nothing_of_pinfold() {
    let world = World::new("deputy-proc");
    let script = "mkdir -p proc; mount -t proc proc /proc; mount -t proc proc proc; PINFOLD_TEST_MARK=seen \"$@\"";
    let inside =
        "cat proc/self/environ proc/thread-self/environ | tr '\\0' '\\n' | grep -c MARK=seen";
    let own = ["unshare", "-Urmpf", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_pinfold")];
    let outside = ["unshare", "-Urmpf", "sh", "-c", script, "sh", "sh", "-c", inside];
    let mut command = world.command(outside[0]);
    if world.output(command.args(&outside[1..])).stdout != "2\n" {
        eprintln!("skipped: no second /proc can be mounted");
        return;
    }
    world.file("secret", "hidden");
    world.configuration(
        "default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n\
         [permissions.p.filesystem.\":workspace_roots\"]\n\"secret\" = \"deny\"\n\
         [permissions.p.environment]\nexclude = [\"PINFOLD_TEST_*\"]\n",
    );
    let mut command = world.command(own[0]);
    let output = world.output(command.args(&own[1..]).args(run(&[], &["sh", "-c", inside])));
    assert_eq!(output.stdout, "0\n", "{}", output.stderr);
}

/// What the racer does inside, for a second: it has names lead somewhere else while
/// calls are made with them.
#[test]
fn racer() {
    if std::env::var_os(RACER).is_none() {
        return;
    }
    let (stop, read) = (AtomicBool::new(false), AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(1);
    let name = |name: &str| CString::new(name).unwrap();
    // Two names of one length, between which another thread changes in memory.
    let shared: Vec<AtomicU64> = words(b"aaaaaaaaaa/evil\0");
    let (one, other) = (words(b"aaaaaaaaaa/evil\0"), words(b".git/hooks/evil\0"));
    std::thread::scope(|scope| {
        for (directory, link) in [("top", "toplink"), ("src/d", "src/link")] {
            let (stop, directory, link) = (&stop, name(directory), name(link));
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    // SAFETY: both names are C strings that outlive the call.
                    unsafe {
                        libc::syscall(
                            libc::SYS_renameat2,
                            libc::AT_FDCWD,
                            directory.as_ptr(),
                            libc::AT_FDCWD,
                            link.as_ptr(),
                            libc::RENAME_EXCHANGE,
                        )
                    };
                }
            });
        }
        let (stop, shared) = (&stop, &shared);
        scope.spawn(move || {
            while !stop.load(Relaxed) {
                for words in [&other, &one] {
                    for (place, word) in shared.iter().zip(words) {
                        place.store(word.load(Relaxed), Relaxed);
                    }
                }
            }
        });
        while Instant::now() < deadline {
            for directory in ["top", "src/d"] {
                let below = |name: &str| format!("{directory}/{name}");
                let _ = fs::write(below("evil"), "x");
                let _ = fs::create_dir(below("evil-directory"));
                let _ = std::os::unix::fs::symlink("x", below("evil-link"));
                let _ = fs::hard_link("src/file", below("evil-hard"));
                let _ = fs::write("moving", "x");
                let _ = fs::rename("moving", below("evil-moved"));
                let _ = fs::remove_file(below("old"));
                if fs::read(below("key")).is_ok_and(|text| text == b"hidden") {
                    read.fetch_add(1, Relaxed);
                }
            }
            let flags = libc::O_CREAT | libc::O_WRONLY;
            // SAFETY: the bytes always end with a NUL, and outlive the call.
            let opened = unsafe { libc::open(shared.as_ptr().cast(), flags, 0o600) };
            if opened >= 0 {
                // SAFETY: it has just been opened, and nobody else knows it.
                unsafe { libc::close(opened) };
            }
        }
        stop.store(true, Relaxed);
    });
    println!("read {}", read.load(Relaxed));
}

fn words(text: &[u8; 16]) -> Vec<AtomicU64> {
    let word = |at: usize| u64::from_ne_bytes(text[at..at + 8].try_into().unwrap());
    vec![AtomicU64::new(word(0)), AtomicU64::new(word(8))]
}

/// Runs the racer; what it read, and the names in the protected directory.
fn race(world: &World, arguments: &[&str]) -> (bool, String) {
    for (directory, link) in [("top", "toplink"), ("src/d", "src/link")] {
        fs::create_dir_all(world.path(directory)).unwrap();
        let target = world.path(".git/hooks");
        std::os::unix::fs::symlink(target, world.path(link)).unwrap();
        world.file(&format!("{directory}/key"), "harmless");
    }
    world.file("src/file", "x");
    world.file(".git/hooks/old", "old");
    world.file(".git/hooks/key", "hidden");
    fs::create_dir(world.path("aaaaaaaaaa")).unwrap();
    let output = world.pinfold(arguments);
    assert_eq!(output.status, 0, "{}", output.stderr);
    let read = !output.stdout.contains("read 0\n");
    (read, world.outside("cd .git/hooks; ls -A"))
}

#[test]
fn no_race_leads_to_what_is_protected() {
    let program = std::env::current_exe().unwrap();
    let program = std::str::from_utf8(program.as_os_str().as_bytes()).unwrap();
    let racer = ["env", "PINFOLD_TEST_RACER=1", program, "--exact", "racer", "--nocapture"];
    let world = World::new("deputy-race");
    world.configuration(
        "default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n\
         [permissions.p.filesystem.\":workspace_roots\"]\n\".git/hooks/key\" = \"deny\"\n",
    );
    let (read, names) = race(&world, &run(&[], &racer));
    assert!(!read, "the key was read");
    assert_eq!(names, "key\nold\n");
    // Without enforcement the same racer gets through.
    let world = World::new("deputy-race-open");
    let open = [&["run", "-q", "-p", ":danger-full-access", "--"][..], &racer].concat();
    let (read, names) = race(&world, &open);
    assert!(read && names.contains("evil") && !names.contains("old"), "{read} {names}");
}

#[test]
fn the_last_hint_allows_every_gap_at_once() {
    let world = World::new("landlock-hint");
    let mechanism = "linux.mechanism=\"landlock\"";
    let output = world.pinfold(&["run", "-c", mechanism, "--", "echo", "ran"]);
    assert_eq!((output.status, &*output.stdout), (125, ""));
    let last = output.stderr.trim_end().lines().last().unwrap();
    let options = last.strip_prefix("hint: to run without all of these rules, pass ").unwrap();
    let mut arguments = vec!["run", "-c", mechanism];
    arguments.extend(options.split(' '));
    arguments.extend(["--", "echo", "ran"]);
    let output = world.pinfold(&arguments);
    assert_eq!((output.status, &*output.stdout), (0, "ran\n"), "{}", output.stderr);
}

#[test]
fn shared_memory_works_unless_a_rule_is_about_it() {
    let world = World::new("landlock-memory");
    let script = "python3 -c 'import multiprocessing as m; print(m.Lock().acquire())'";
    let output = sh(&world, script);
    assert_eq!((output.status, &*output.stdout), (0, "True\n"), "{}", output.stderr);
    for rule in [["--deny", "/dev/shm"], ["--read", "/dev"]] {
        let output = world.pinfold(&run(&rule, &["sh", "-c", script]));
        assert!(output.stderr.contains("Permission denied"), "{rule:?}: {}", output.stderr);
    }
}
