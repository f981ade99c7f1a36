//! More happens than the supervisor keeps up with: the queue of changed names is full
//! while it does not look, or the command ends while it looks. What a profile says holds
//! all the same, and no run waits for what cannot come any more.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod world;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use world::World;

/// Denied, and read-only, wherever they appear.
const PROFILE: &str = r#"
default_permissions = "patterns"

[permissions.patterns]
extends = ":workspace"

[permissions.patterns.filesystem.":workspace_roots"]
"**/*.secret" = "deny"
"**/*.lock" = "read"
"#;

/// Makes more files than are queued, and then what patterns are about.
const SCRIPT: &str = "\
mkdir flood && touch ready
until [ -e go ]; do sleep 0.02; done
i=0; while [ $i -lt $1 ]; do : >flood/$i; i=$((i+1)); done
mkdir late && echo planted >late/new.lock && echo planted >late/new.secret && touch made
until [ -e look ]; do sleep 0.02; done
cat late/new.secret; cat old.secret
echo changed >old.lock
exit 7";

fn wait_for(file: &Path, child: &mut Child) {
    for _ in 0..3000 {
        if file.exists() {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before {}", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} never came", file.display());
}

fn signal(world: &World, name: &str, child: &Child) {
    world.outside(&format!("kill -{name} {}", child.id()));
}

#[test]
fn patterns_hold_when_the_kernel_has_lost_what_happened() {
    let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    if queue > 100_000 {
        println!("skipped: {queue} events are queued here, too many to fill");
        return;
    }
    let world = World::new("overflow");
    world.configuration(PROFILE);
    world.file("old.lock", "kept");
    world.file("old.secret", "hidden");
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    let count = (queue + 100).to_string();
    command.args(["run", "--", "sh", "-c", SCRIPT, "sh", &count]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&world.path("ready"), &mut child);
    // Only the supervisor stops; what is inside goes on.
    signal(&world, "STOP", &child);
    world.file("go", "");
    wait_for(&world.path("made"), &mut child);
    signal(&world, "CONT", &child);
    for _ in 0..1000 {
        if !world.path("late/new.lock").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    world.file("look", "");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "read what is denied\n{said}");
    assert!(!world.path("late/new.lock").exists(), "planted\n{said}");
    assert!(said.contains("pinfold: took away"), "{said}");
    // What was there before is nobody's to take away.
    assert_eq!(std::fs::read_to_string(world.path("old.lock")).unwrap(), "kept", "{said}");
    assert_eq!(std::fs::read_to_string(world.path("old.secret")).unwrap(), "hidden", "{said}");
}

#[test]
fn the_end_of_the_command_ends_looking_after_what_is_protected() {
    let world = World::new("overflow-end");
    let mut protected = String::new();
    for number in 0..70 {
        world.outside(&format!("mkdir -p many/directory{number}"));
        world.file(&format!("many/file{number}"), "kept");
        protected += &format!(" --read many/directory{number} --read many/file{number}");
    }
    let pinfold = env!("CARGO_BIN_EXE_pinfold");
    // The last thing it does has every protected name beside looked at, while it ends.
    let run = format!(
        "rm -f many/new; timeout 20 {pinfold} run{protected} -- sh -c 'touch many/new; exit 5'"
    );
    for _ in 0..8 {
        let output = world.output(world.command("sh").args(["-c", &run]));
        assert_eq!((output.status, &*output.stderr), (5, ""));
        assert!(world.path("many/new").exists());
    }
}
