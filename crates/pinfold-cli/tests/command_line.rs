//! The command line from outside: statuses, messages, signals, bad input.
#![allow(clippy::unwrap_used, clippy::panic, unsafe_code)]

mod world;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use world::World;

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// One command line, its status, and what standard error must contain.
fn check(world: &World, arguments: &[&str], status: i32, message: &str) {
    let output = world.pinfold(arguments);
    assert_eq!(output.status, status, "{arguments:?}\n{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains(message), "{arguments:?}: {message:?} in\n{}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{arguments:?}\n{}", output.stderr);
    if matches!(status, 2 | 125..=127) {
        assert!(output.stderr.contains("hint: "), "{arguments:?}\n{}", output.stderr);
    }
}

#[test]
fn the_status_is_that_of_the_command_or_says_what_failed() {
    let world = World::new("status");
    world.file("script", "echo no interpreter\n");
    world.file("data", "x");
    world.file("bad", "#!/nowhere/sh\n");
    world.outside("chmod +x script bad && mkdir directory");
    for (arguments, status, message) in [
        (&["run", "true"][..], 0, ""),
        (&["run", "--", "sh", "-c", "exit 42"], 42, ""),
        (&["run", "sh", "-c", "kill -TERM $$"], 143, ""),
        (&["run", "sh", "-c", "kill -KILL $$"], 137, ""),
        (&["run", "--timeout", "300ms", "sleep", "20"], 124, "time limit"),
        (&["run", "there-is-no-such-program"], 127, "not found"),
        (&["run", "./missing"], 127, "a relative path starts at the working directory"),
        (&["run", "--env", "PATH=/nowhere", "true"], 127, "the PATH of the command"),
        (&["run", "--env", "PATH=/usr", "bin"], 126, "it is a directory"),
        (&["run", "./directory"], 126, "directory"),
        (&["run", "./data"], 126, "permission denied"),
        (&["run", "./script"], 126, "interpreter"),
        (&["run", "./bad"], 126, "interpreter"),
        (&["run", ""], 127, "empty"),
        (&["run"], 2, "no command"),
        (&["run", "--"], 2, "no command"),
        (&["run", "--no-such", "true"], 2, "unknown option"),
        (&["run", "--profil", "x", "true"], 2, "did you mean --profile"),
        (&["run", "-p"], 2, "needs a value"),
        (&["run", "--quiet=1", "true"], 2, "takes no value"),
        (&["run", "--timeout", "soon", "true"], 2, "--timeout"),
        (&["run", "--timeout", "0s", "true"], 2, "more than zero"),
        (&["run", "--read", "", "true"], 2, "needs a path"),
        (&["rnu", "true"], 2, "did you mean \"run\""),
        (&["run", "-p", "nope", "true"], 125, "no profile \"nope\""),
        (&["run", "-p", ":workspac", "true"], 125, "did you mean \":workspace\""),
        (&["run", "-C", "/no/such", "true"], 125, "cannot change to the directory"),
        (&["run", "-C", "data", "true"], 125, "not a directory"),
        (&["run", "-C", "", "true"], 125, "the name is empty"),
        (&["run", "-c", "novalue", "true"], 125, "Invalid override (missing '=')"),
        (&["run", "-c", "=1", "true"], 125, "Empty key in override"),
        (&["run", "-c", "unknown=1", "true"], 125, "unknown key \"unknown\""),
        (&["run", "-c", "sandbox_mode=1", "true"], 125, "must be a string"),
        (&["run", "--write", "/no/such/place", "true"], 125, "nothing at"),
        (&["run", "--write", "/proc/self", "true"], 125, "cannot enforce write \"/proc/self\""),
        (&["run", "--deny", "/proc/cpuinfo", "true"], 125, "a /proc of its own"),
        (&["run", "--deny", "/proc/*/environ", "true"], 125, "a /proc of its own"),
        (&["run", "-C", "/proc", "true"], 125, "or work in another directory"),
        (&["run", "-C", "/proc", "--allow-gap", "proc", "pwd"], 0, ""),
        (&["run", "--read", "/proc/cpuinfo", "true"], 0, ""),
        (&["run", "--write", "/dev/fd", "true"], 0, ""),
        (&["run", "--log-denials=some", "true"], 2, "unknown level"),
        (&["run", "--net", "https://example.com", "true"], 125, "URL"),
        (&["run", "--net", "example.com:0", "true"], 125, "port"),
        (&["run", "--env", "=x", "true"], 125, "needs a name"),
        (&["run", "--deny", "~other/x", "true"], 125, "another user"),
        (&["run", "--write", "/tmp/*.x", "true"], 125, "cannot grant write"),
        (&["run", "--deny", ":secret", "true"], 125, "did you mean \":secrets\""),
        (&["sandbox", "macos", "true"], 1, "not macos"),
        (&["sandbox", "beos", "true"], 2, "unknown system"),
        (&["sandbox", "linux"], 2, "no command"),
        (&["sandbox", "linux", "sh", "-c", "exit 3"], 3, ""),
        (&["explain", "a", "b"], 2, "unexpected operand"),
        (&["completions", "tcsh"], 2, "bash"),
        (&["trust", "a", "b"], 2, "unexpected operand"),
        (&["check", "/no/such/file"], 125, "no such file"),
    ] {
        check(&world, arguments, status, message);
    }
}

#[test]
fn everything_has_help_and_the_manual_names_every_option() {
    let world = World::new("help");
    let manual = world.pinfold(&["man"]).stdout;
    for command in [
        "run",
        "shell",
        "sandbox",
        "explain",
        "check",
        "profiles",
        "doctor",
        "trust",
        "completions",
        "man",
    ] {
        let output = world.pinfold(&[command, "--help"]);
        assert_eq!(output.status, 0, "{command}");
        assert!(output.stdout.contains("Usage: pinfold"), "{command}");
        for option in output.stdout.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let escaped = option.replace('-', "\\-");
            assert!(manual.contains(&escaped), "{option} in the manual");
        }
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let output = world.pinfold(&["completions", shell]);
        assert!(output.stdout.contains("allow-gap"), "{shell}");
    }
    let script = world.pinfold(&["completions", "bash"]).stdout;
    world.file("completion", &script);
    world.outside("bash -n completion");
}

#[test]
fn explain_names_the_deciding_rule() {
    let world = World::new("explain");
    for (thing, expected) in [
        ("./src", "write  allowed by write"),
        ("/etc/passwd", "write  denied by read \"/\" (built-in :workspace)"),
        (".vscode/tasks.json", "protected by default"),
        ("~/.ssh/id", "read   denied by deny"),
        ("https://example.com/x", "denied by network off"),
        ("GITHUB_TOKEN", "looks like a credential"),
        ("LANG", "passed on"),
    ] {
        let output = world.pinfold(&["explain", thing]);
        assert!(output.stdout.contains(expected), "{thing}: {expected:?} in\n{}", output.stdout);
    }
}

#[test]
fn check_reports_every_problem_at_once() {
    let world = World::new("check");
    world.configuration(
        "default_permisions = \"x\"\n[permissions.x.filesystem]\n\"/a\" = \"wirte\"\n\":minimum\" = 1\n",
    );
    let output = world.pinfold(&["check"]);
    assert_eq!(output.status, 125);
    for expected in [
        "unknown key \"default_permisions\"",
        "did you mean \"default_permissions\"?",
        "did you mean \"write\"?",
        "config.toml:3:8",
        "must be a string, not an integer",
    ] {
        assert!(output.stderr.contains(expected), "{expected:?} in\n{}", output.stderr);
    }
}

#[test]
fn trust_lets_a_project_grant_and_keeps_comments() {
    let world = World::new("trust");
    world.configuration("# mine\ndefault_permissions = \":workspace\" # stays\n");
    world.file(".pinfold/config.toml", "default_permissions = \":danger-full-access\"\n");
    check(&world, &["run", "true"], 125, "a project that is not trusted cannot choose a profile");
    assert_eq!(world.pinfold(&["trust"]).status, 0);
    let text = std::fs::read_to_string(world.config_file()).unwrap();
    assert!(text.starts_with("# mine\ndefault_permissions = \":workspace\" # stays\n"), "{text}");
    check(&world, &["run", "true"], 0, "");
    assert!(world.pinfold(&["explain"]).stdout.contains("no confinement"));
}

#[test]
fn the_outcome_is_written_as_json() {
    let world = World::new("json");
    world.pinfold(&["run", "--json", "out.json", "sh", "-c", "exit 7"]);
    let text = std::fs::read_to_string(world.path("out.json")).unwrap();
    for expected in ["\"result\":\"exited\"", "\"value\":7", "\"profile\":\":workspace\""] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn signals_reach_the_command_and_nothing_survives_the_launcher() {
    let world = World::new("signals");
    let start = |script: &str| {
        let mut child = world
            .command(PINFOLD)
            .args(["run", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line.trim().to_string())
    };
    let trap = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut child, _) = start(trap);
    signal(child.id(), libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(9));

    // A name that no other process has, to look for outside.
    let marker = format!("31{}", std::process::id());
    let (mut child, _) =
        start(&format!("sleep {marker} & setsid sleep {marker} & echo ready; wait"));
    let started = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        running(&marker)
    });
    signal(child.id(), libc::SIGKILL);
    assert!(started);
    child.wait().unwrap();
    assert!(gone(&marker), "descendants outlived a killed launcher");

    let (mut child, _) = start(&format!("sleep {marker} & setsid sleep {marker} & echo ready"));
    child.wait().unwrap();
    assert!(gone(&marker), "background descendants outlived the command");
}

fn signal(process: u32, number: i32) {
    // SAFETY: the process is a child that has not been waited for.
    unsafe { libc::kill(process as i32, number) };
}

fn running(marker: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes()))
}

fn gone(marker: &str) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !running(marker)
    })
}

#[test]
fn hostile_surroundings_end_in_a_clear_error_or_a_run() {
    let world = World::new("hostile");
    // 10,000 variables and two megabytes of arguments.
    let mut many = world.command(PINFOLD);
    for number in 0..10_000 {
        many.env(format!("VARIABLE_{number}"), "x");
    }
    let output = world.output(many.args(["run", "sh", "-c", "env | grep -c ^VARIABLE_"]));
    assert_eq!(output.stdout.trim(), "10000", "{}", output.stderr);
    let mut long = world.command(PINFOLD);
    long.args(["run", "sh", "-c", "echo $#", "sh"]);
    long.args(std::iter::repeat_n("x".repeat(100_000), 14));
    assert_eq!(world.output(&mut long).stdout.trim(), "14");

    // Closed standard descriptors.
    let script = format!("exec 0<&- 1>&- 2>&-; {PINFOLD} run true");
    assert_eq!(world.output(world.command("sh").args(["-c", &script])).status, 0);

    // Hardly any descriptors: enough, or an error that says so.
    for limit in 8..=16 {
        let script = format!("ulimit -n {limit}; {PINFOLD} run true");
        let output = world.output(world.command("bash").args(["-c", &script]));
        let named = output.stderr.contains("hint: raise the limit of open files");
        let expected = if named { 125 } else { 0 };
        assert_eq!(output.status, expected, "{limit} descriptors\n{}", output.stderr);
    }

    // A working directory that is gone.
    let script = format!("mkdir gone && cd gone && rmdir ../gone && {PINFOLD} run true");
    let output = world.output(world.command("sh").args(["-c", &script]));
    assert_eq!(output.status, 125);
    assert!(output.stderr.contains("cannot find the working directory"), "{}", output.stderr);

    // SIGPIPE keeps its default action.
    let output = world.pinfold(&["run", "sh", "-c", "grep SigIgn /proc/self/status"]);
    let ignored =
        u64::from_str_radix(output.stdout.trim().trim_start_matches("SigIgn:").trim(), 16);
    assert_eq!(ignored.unwrap() & (1 << 12), 0, "{}", output.stdout);

    // A pipe and an endless file where git's files would be.
    for made in
        ["mkfifo .git", "rm .git; ln -s /dev/zero .git", "rm .git; mkdir .git; mkfifo .git/config"]
    {
        world.outside(made);
        let output = world.pinfold(&["run", "--timeout", "20s", "true"]);
        assert_eq!(output.status, 0, "{made}: {}", output.stderr);
    }
    world.outside("rm -r .git");

    // A program that is being written.
    world.outside("cp /bin/true busy");
    let writer = std::fs::OpenOptions::new().append(true).open(world.path("busy")).unwrap();
    let output = world.pinfold(&["run", "./busy"]);
    assert_eq!(output.status, 126, "{}", output.stderr);
    assert!(output.stderr.contains("writing"), "{}", output.stderr);
    drop(writer);
}

#[test]
fn unreadable_and_broken_configuration_stops_the_run() {
    let world = World::new("broken");
    for (text, message) in [
        ("a = ", "cannot read TOML"),
        ("default_permissions = \"dev\"", "requires a `[permissions]` table"),
        ("[permissions.dev]\n", "does not set `default_permissions`"),
        ("default_permissions = \"dev\"\n[permissions.other]\n", "undefined profile `dev`"),
        (
            "default_permissions = \"a\"\n[permissions.a]\nextends = \"b\"\n[permissions.b]\nextends = \"a\"\n",
            "extend each other",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a]\nextends = \":danger-full-access\"\n",
            "cannot be extended",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.filesystem]\n\"relative\" = \"read\"\n",
            "relative path",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.filesystem]\n\":nope\" = \"deny\"\n",
            "unknown token",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.filesystem.\":minimal\"]\n\"x\" = \"deny\"\n",
            "nested",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.filesystem.\":workspace_roots\"]\n\"../x\" = \"deny\"\n",
            "leaves its table",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.limits]\nwall_time = \"10\"\n",
            "unknown unit",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.network.domains]\n\"ex*mple.com\" = \"allow\"\n",
            "star",
        ),
        (
            "default_permissions = \"a\"\n[permissions.a.network.domains]\n\"example.com\" = \"yes\"\n",
            "cannot be \"yes\"",
        ),
        ("[permissions.\":mine\"]\n", "cannot be called"),
        ("[projects.\"/x\"]\ntrust_level = \"full\"\n", "cannot be \"full\""),
        ("[permissions.p]\nmacos = [\"trustdd\"]\n", "did you mean \"trustd\"?"),
    ] {
        world.configuration(text);
        check(&world, &["run", "true"], 125, message);
    }
    world.configuration("default_permissions = \":workspace\"\n");
    world.outside(
        "mkdir -p .pinfold && ln -s loop .pinfold/config.toml && ln -s config.toml .pinfold/loop",
    );
    check(&world, &["run", "true"], 125, "cannot read");
}

#[test]
fn the_launcher_can_be_killed_at_any_moment() {
    let world = World::new("killed");
    let marker = format!("32{}", std::process::id());
    for step in 0..40 {
        let mut child =
            world.command(PINFOLD).args(["run", "-q", "sleep", &marker]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(step * 60));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(gone(&marker), "a command outlived its launcher");
    assert_eq!(std::fs::read_dir(world.path("")).unwrap().count(), 0, "litter in the workspace");
}

#[test]
fn a_shell_is_the_users_shell() {
    let world = World::new("shell");
    let mut command = world.command(PINFOLD);
    command.arg("shell").env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped());
    command.process_group(0);
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"echo $PINFOLD_SANDBOX\nexit 5\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"1\n");
}

#[test]
fn a_command_without_a_sandbox_has_its_time_too() {
    let world = World::new("unconfined-limits");
    let open = ["run", "-p", ":danger-full-access"];
    let script = "setsid sh -c 'sleep 3; touch late' & sleep 60";
    let limited = [&open[..], &["--timeout", "1s", "--", "sh", "-c", script]].concat();
    let output = world.pinfold(&limited);
    assert_eq!(output.status, 124, "{}", output.stderr);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(!world.path("late").exists(), "a descendant outlives the limit");
    // What ends by itself leaves its descendants alone, as by hand.
    let script = "setsid sh -c 'sleep 0.5; touch left' >/dev/null 2>&1 &";
    let output =
        world.pinfold(&[&open[..], &["--timeout", "30s", "--", "sh", "-c", script]].concat());
    assert_eq!(output.status, 0, "{}", output.stderr);
    for _ in 0..500 {
        if world.path("left").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(world.path("left").exists());
}
