//! What the commands print and write: verdicts, checks, trust, completions, and the
//! document of `--json`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod world;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use world::World;

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// A command line, its status, and what it prints on either stream.
fn check(world: &World, arguments: &[&str], status: i32, expected: &[&str]) {
    let output = world.pinfold(arguments);
    let all = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.status, status, "{arguments:?}\n{all}");
    for part in expected {
        assert!(all.contains(part), "{arguments:?}: {part:?} in\n{all}");
    }
    if status == 2 {
        assert!(output.stdout.is_empty(), "{arguments:?}: mistakes go to standard error\n{all}");
        assert!(output.stderr.contains("hint: "), "{arguments:?}\n{all}");
    }
}

#[test]
fn mistakes_on_the_command_line_are_named_with_what_to_write_instead() {
    let world = World::new("mistakes");
    for (arguments, expected) in [
        (&["--profile", "x"][..], "unknown option \"--profile\""),
        (&["-x"], "unknown option \"-x\""),
        (&["ls"], "to run a program, write \"pinfold run\""),
        (&["\u{1b}[31m"], "\\u{1b}[31m"),
        (&["help", "rnu"], "did you mean \"run\"?"),
        (&["run", "-x", "true"], "unknown option \"-x\""),
        (&["run", "-qz", "true"], "unknown option \"-z\""),
        (&["run", "--\u{7}", "true"], "unknown option \"--\\u{7}\""),
        (&["run", "--json"], "write --json FILE"),
        (&["run", "--timeout", "10", "true"], "hint: write it as in 30s, 10m or 1h30m"),
        (&["run", "--timeout=-1s", "true"], "cannot read --timeout"),
        (&["run", "--timeout", "99999999999999999999h", "true"], "cannot read --timeout"),
        (&["shell", "x"], "unexpected operand \"x\""),
        (&["doctor", "x"], "write \"pinfold doctor [OPTIONS]\""),
        (&["man", "x"], "unexpected operand \"x\""),
        (&["profiles", "a", "b"], "unexpected operand \"b\""),
        (&["trust", "a", "b"], "write \"pinfold trust [OPTIONS] [DIR]\""),
        (&["completions"], "write bash, zsh, fish or powershell"),
        (&["completions", "bash", "zsh"], "unexpected operand \"zsh\""),
        (&["explain", "a", "b"], "unexpected operand \"b\""),
        (&["explain", ""], "it is empty"),
        (&["explain", "https://"], "the host is empty"),
        (&["explain", "example.com:0"], "port"),
        (&["explain", "--platform", "plan9"], "use linux, macos or windows"),
        (&["sandbox", "linux", "--allow-unix-socket", "", "true"], "needs a path"),
        (&["sandbox"], "write \"pinfold sandbox linux COMMAND\""),
        (&["sandbox", "linux", "--profile", "x", "true"], "unknown option \"--profile\""),
    ] {
        check(&world, arguments, 2, &[expected]);
    }
}

#[test]
fn what_this_version_cannot_do_is_an_error_and_nothing_runs() {
    let world = World::new("cannot");
    for (arguments, status, expected) in [
        (&["sandbox", "seatbelt", "touch", "ran"][..], 1, "write \"pinfold sandbox linux\""),
        (&["sandbox", "windows", "touch", "ran"], 1, "this is linux, not windows"),
    ] {
        check(&world, arguments, status, &["error: cannot ", expected, "hint: "]);
    }
    assert!(!world.path("ran").exists());
}

#[test]
fn an_allowed_gap_that_this_host_does_not_have_is_mentioned_but_not_quietly() {
    let world = World::new("gaps");
    let note = "--allow-gap \"survivors\" changes nothing";
    check(&world, &["run", "--allow-gap", "survivors", "true"], 0, &[note]);
    let quiet = world.pinfold(&["run", "-q", "--allow-gap", "survivors", "true"]);
    assert_eq!(quiet.stderr, "");
    let missing = ["run", "--write", "/no/such/place", "--allow-gap", "missing-path", "true"];
    check(&world, &missing, 0, &["not enforced: "]);
    assert!(!world.pinfold(&missing).stderr.contains("changes nothing"));
}

#[test]
fn a_gap_that_no_host_has_is_an_error_wherever_it_is_written() {
    let world = World::new("gap-names");
    let no_gap = "no gap is called \"mising-path\"";
    let hint = "hint: did you mean \"missing-path\"?";
    check(&world, &["run", "--allow-gap", "mising-path", "true"], 125, &[no_gap, hint]);
    world.configuration(
        "default_permissions = \"x\"\n[permissions.x]\nallow_gaps = [\"attributes\", \"mising-path\"]\n",
    );
    for command in [&["run", "true"][..], &["check"]] {
        check(&world, command, 125, &[no_gap, "config.toml:3:29", hint]);
    }
}

#[test]
fn options_end_where_the_command_begins() {
    let world = World::new("options");
    for (arguments, expected) in [
        (&["run", "echo", "-q", "--help", "--"][..], "-q --help --\n"),
        (&["run", "-q", "--", "echo", "--", "x"], "-- x\n"),
        (&["run", "-qp", ":workspace", "echo", "x"], "x\n"),
        (&["run", "-qp:workspace", "echo", "x"], "x\n"),
        (&["run", "--profile=:read-only", "echo", "x"], "x\n"),
        (&["sandbox", "linux", "echo", "--full-auto"], "--full-auto\n"),
        (&["sandbox", "landlock", "--full-auto", "--", "sh", "-c", "echo x > f; cat f"], "x\n"),
        (&["sandbox", "--full-auto", "linux", "sh", "-c", "echo y > f; cat f"], "y\n"),
    ] {
        let output = world.pinfold(arguments);
        assert_eq!(output.stdout, expected, "{arguments:?}\n{}", output.stderr);
        assert_eq!(output.status, 0, "{arguments:?}");
    }
}

#[test]
fn a_command_starts_in_the_directory_of_cd_and_pwd_says_so() {
    let world = World::new("directory");
    world.outside("mkdir -p real && ln -s real link");
    let real = world.path("real");
    for wanted in [&b"real"[..], b"link", b"./real/../link", real.as_os_str().as_bytes()] {
        let mut command = world.command(PINFOLD);
        command.env("PWD", "/stale").arg("run").arg("-C").arg(OsStr::from_bytes(wanted));
        let output = world.output(command.args(["sh", "-c", "pwd -P; env | grep ^PWD="]));
        let real = real.display();
        assert_eq!(output.stdout, format!("{real}\nPWD={real}\n"), "{}", output.stderr);
    }
    let odd = OsStr::from_bytes(b"odd\xff\n");
    fs::create_dir(world.path("").join(odd)).unwrap();
    let mut command = world.command(PINFOLD);
    command.args(["run", "-C"]).arg(odd).args(["touch", "here"]);
    assert_eq!(world.output(&mut command).status, 0);
    assert!(world.path("").join(odd).join("here").exists());
}

#[test]
fn env_lets_variables_through_and_sets_them_whatever_the_profile_says() {
    let world = World::new("variables");
    world.configuration(
        "default_permissions = \"x\"\n[permissions.x]\nextends = \":workspace\"\n\
         [permissions.x.environment]\ninclude_only = [\"PATH\"]\nset = { PATH = \"/usr/bin:/bin\", HIDDEN = \"1\" }\n",
    );
    let seen = |option: &[u8]| {
        let mut command = world.command(PINFOLD);
        command.env("MY_TOKEN", "outer").env("PINFOLD_SANDBOX", "forged").arg("run");
        command.arg("--env").arg(OsStr::from_bytes(option)).args(["env", "-0"]);
        let output = command.output().unwrap();
        let entries = output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty() && !entry.starts_with(b"PINFOLD_SANDBOX_NETWORK"));
        entries.map(|entry| entry.escape_ascii().to_string()).collect::<Vec<String>>()
    };
    for (option, expected) in [
        (&b"ABSENT"[..], None),
        (b"MY_TOKEN", Some("MY_TOKEN=outer")),
        (b"MY_TOKEN=inner", Some("MY_TOKEN=inner")),
        (b"OTHER=a=b", Some("OTHER=a=b")),
        (b"EMPTY=", Some("EMPTY=")),
        (b"PINFOLD_SANDBOX=forged", None),
        (b"ODD\xff=\xfe\n", Some("ODD\\xff=\\xfe\\n")),
    ] {
        let mut entries = seen(option);
        entries.sort();
        let mut wanted = vec!["PATH=/usr/bin:/bin", "PINFOLD_SANDBOX=1"];
        wanted.extend(expected);
        wanted.sort_unstable();
        assert_eq!(entries, wanted, "{}", option.escape_ascii());
    }
    check(&world, &["explain", "--env", "A_KEY=1", "A_KEY"], 0, &["set by --env"]);
    check(&world, &["explain", "--env", "A_KEY", "A_KEY"], 0, &["let through by --env"]);
    check(&world, &["explain", "--env", "A_KEY=1"], 0, &["set \"A_KEY\"=\"1\"  (--env)"]);
}

#[test]
fn explain_tells_paths_hosts_and_variables_apart() {
    let world = World::new("apart");
    world.file("LANG", "a file with the name of a variable");
    world.outside("ln -s /etc/passwd link");
    for (thing, expected) in [
        ("LANG", "/ws/LANG\""),
        ("PATH", "variable \"PATH\": "),
        ("example.com", "example.com port 443: denied by network off"),
        ("example.com:22", "example.com port 22: "),
        ("http://example.com/a/b", "example.com port 80: "),
        ("10.0.0.1", "10.0.0.1 port 443: "),
        ("[::1]:80", "port 80: "),
        ("new/file", "/ws/new/file\""),
        ("./new.file", "/ws/new.file\""),
        ("link", "\"/etc/passwd\""),
        ("~", "/home\""),
        ("~/x", "/home/x\""),
        ("~other", "/ws/~other\""),
    ] {
        check(&world, &["explain", thing], 0, &[expected]);
    }
    check(&world, &["explain", "--platform", "linux", "PATH"], 0, &["variable \"PATH\""]);
    check(&world, &["explain", "--platform", "windows"], 0, &["account Caller", "account Offline"]);
}

#[test]
fn check_counts_files_and_problems() {
    let world = World::new("counts");
    check(&world, &["check"], 0, &["0 files checked, no problems"]);
    world.configuration("default_permissions = \":workspace\"\n");
    check(&world, &["check"], 0, &["1 file checked, no problems"]);
    world.file("a.toml", "one = 1\n");
    world.file("b.toml", "two = 2\n[permissions.x.limits]\nprocesses = 0\n");
    check(&world, &["check", "a.toml"], 125, &["unknown key \"one\"", "a.toml:1:1", "\n1 problem"]);
    check(&world, &["check", "a.toml", "b.toml"], 125, &["\"one\"", "\"two\"", "b.toml:3:"]);
}

#[test]
fn profiles_lists_built_in_and_own_profiles_and_prints_one() {
    let world = World::new("profiles");
    world.configuration(
        "default_permissions = \"dev\"\n[permissions.dev]\ndescription = \"for work\"\nextends = \":workspace\"\n",
    );
    let names = [":read-only", ":workspace", ":restricted", ":danger-full-access", "for work"];
    check(&world, &["profiles"], 0, &names);
    check(&world, &["profiles", "dev"], 0, &["built-in :workspace"]);
    check(&world, &["profiles", ":secrets"], 0, &["/home/.ssh\n", "/etc/shadow\n"]);
    check(&world, &["profiles", "dve"], 125, &["no profile \"dve\"", "hint: "]);
}

#[test]
fn trust_keeps_links_modes_comments_and_other_tables() {
    let world = World::new("edits");
    let real = world.home().join("dotfile");
    fs::write(&real, "# mine\n[projects.\"/other\"] # stays\ntrust_level = \"untrusted\"\n")
        .unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&real, world.config_file()).unwrap();
    for _ in 0..2 {
        check(&world, &["trust"], 0, &["trusted "]);
    }
    assert!(world.config_file().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&real).unwrap();
    let added = format!("[projects.\"{}\"]\ntrust_level = \"trusted\"\n", world.path("").display());
    let added = added.replace("/\"]", "\"]");
    assert!(text.starts_with("# mine\n[projects.\"/other\"] # stays\n"), "{text}");
    assert_eq!(text.matches(&added).count(), 1, "{text}");
    assert_eq!(fs::read_dir(world.home()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn trust_refuses_what_it_cannot_write_and_leaves_the_file() {
    let world = World::new("refuses");
    for (text, expected) in [
        ("a = ", "not TOML"),
        ("projects = 1\n", "is not a table"),
        ("", "cannot change to the directory"),
    ] {
        world.configuration(text);
        let directory = if text.is_empty() { "missing" } else { "." };
        check(&world, &["trust", directory], 125, &[expected, "hint: "]);
        assert_eq!(fs::read_to_string(world.config_file()).unwrap(), text);
    }
    let odd = OsStr::from_bytes(b"odd\xff");
    fs::create_dir(world.path("").join(odd)).unwrap();
    let output = world.output(world.command(PINFOLD).arg("trust").arg(odd));
    assert_eq!(output.status, 125);
    assert!(output.stderr.contains("not UTF-8"), "{}", output.stderr);
}

#[test]
fn the_document_of_a_run_is_json_with_promised_fields() {
    let world = World::new("document");
    world.configuration("default_permissions = \":workspace\"\n");
    for (arguments, expected) in [
        (
            &["sh", "-c", "exit 7"][..],
            &[("result", "\"exited\""), ("value", "7"), ("exceeded", "null")][..],
        ),
        (&["sh", "-c", "kill -9 $$"], &[("result", "\"signaled\""), ("value", "9")]),
        (&["--timeout", "200ms", "sleep", "9"], &[("exceeded", "\"wall_time\"")]),
        (&["no-such-program"], &[("result", "\"failed\""), ("value", "127")]),
        (&["-p", "no", "true"], &[("result", "\"failed\""), ("value", "125")]),
        (
            &["-q", "--", "echo", "\"\\\n\u{1}é"],
            &[("command", "[\"echo\",\"\\\"\\\\\\n\\u0001é\"]"), ("profile", "\":workspace\"")],
        ),
    ] {
        world.pinfold(&[&["run", "--json", "out.json"], arguments].concat());
        let text = fs::read_to_string(world.path("out.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["version"], 1, "{text}");
        for (field, value) in expected {
            assert_eq!(document[field].to_string(), *value, "{arguments:?}: {field} in {text}");
        }
    }
}

#[test]
fn the_command_can_neither_forge_the_document_nor_lead_it_elsewhere() {
    let world = World::new("forged");
    let victim = world.home().join("victim");
    fs::write(&victim, "precious").unwrap();
    let link = format!("rm -f out.json; ln -s {} out.json", victim.display());
    let replaced = &["the command replaced it", "hint: "][..];
    for (script, status, expected) in [
        (&*link, 125, replaced),
        ("rm out.json; echo '{}' > out.json", 125, replaced),
        ("rm out.json", 125, replaced),
        ("i=0; while [ $i -lt 999 ]; do echo forged; i=$((i+1)); done > out.json", 0, &[]),
    ] {
        world.outside("rm -f out.json");
        check(&world, &["run", "--json", "out.json", "sh", "-c", script], status, expected);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{script}");
    }
    let text = fs::read_to_string(world.path("out.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["result"], "exited");
}

#[test]
fn a_document_goes_to_a_pipe_as_well() {
    let world = World::new("pipe");
    let output = world.pinfold(&["run", "--json", "/dev/stdout", "true"]);
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert!(output.stdout.starts_with("{\"version\":1,"), "{}", output.stdout);
}

#[test]
fn a_document_that_cannot_be_written_stops_the_run() {
    let world = World::new("unwritten");
    for file in ["missing/out.json", ".", ""] {
        check(&world, &["run", "--json", file, "touch", "ran"], 125, &["cannot write", "hint: "]);
    }
    assert!(!world.path("ran").exists());
    check(&world, &["run", "--json", "/dev/full", "true"], 125, &["no space left on device"]);
}

/// What is typed, and what completes it.
const COMPLETED: [(&str, &str); 8] = [
    ("pinfold ru", "run"),
    ("pinfold run --allow-g", "--allow-gap"),
    ("pinfold run --read x --allow-g", "--allow-gap"),
    ("pinfold sandbox --log", "--log-denials"),
    ("pinfold sandbox w", "windows"),
    ("pinfold session at", "attach"),
    ("pinfold completions p", "powershell"),
    ("pinfold explain --pl", "--platform"),
];

/// Completes each line with a script that gets it as its only argument.
fn completes(shell: &str, options: &[&str], script: &str) {
    let world = World::new(shell);
    let there = world.command(shell).args(["-c", "exit 0"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no {shell}");
        return;
    }
    // Under the name that zsh looks for, in a directory of its own.
    world.file("functions/_pinfold", &world.pinfold(&["completions", shell]).stdout);
    world.file("script", script);
    std::fs::create_dir(world.path("bin")).unwrap();
    std::os::unix::fs::symlink(PINFOLD, world.path("bin/pinfold")).unwrap();
    for (line, expected) in COMPLETED {
        let mut command = world.command(shell);
        let output = world.output(command.args(options).args(["script", line]));
        let said = format!("{line} in {shell}: {}{}", output.stdout, output.stderr);
        let words = output.stdout.split_whitespace();
        assert!(words.last().is_some_and(|word| word == expected), "{said}");
    }
}

#[test]
fn bash_completes_commands_options_and_operands() {
    completes(
        "bash",
        &[],
        ". functions/_pinfold; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _pinfold\n\
         echo \"${COMPREPLY[*]}\"\n",
    );
}

#[test]
fn fish_completes_commands_options_and_operands() {
    completes(
        "fish",
        &["-N"],
        "source functions/_pinfold; complete -C $argv[1] | string split -f 1 \\t\n",
    );
}

/// It completes only for somebody who types.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty -b typed zsh -f -i
gather() { local piece; repeat $2 { zpty -r -t typed piece && out+=$piece; [[ $out == ${~1} ]] && return; sleep 0.02 } }
zpty -w typed "PS1=; unset zle_bracketed_paste; TERM=dumb; PATH=$PWD/bin:\$PATH; fpath=($PWD/functions \$fpath); autoload -Uz compinit; compinit -u -D; print READY"
out= ; gather '*READY*READY*' 500
out= ; zpty -n -w typed "$1"$'\t'
gather "*$1?* " 100
print -r -- $out
zpty -d typed
"#;

#[test]
fn zsh_completes_commands_options_and_operands() {
    completes("zsh", &["-f"], ZSH);
}

#[test]
fn printing_survives_readers_that_leave_and_disks_that_are_full() {
    let world = World::new("printing");
    for (script, status, expected) in [
        ("$P man >/dev/full", 125, "cannot write to standard output"),
        ("$P man >&-", 0, ""),
        ("$P check /no/such 2>&-", 125, ""),
        ("$P run sh -c 'exit 3' 2>/dev/full", 3, ""),
        ("$P man | head -n 1 >/dev/null", 0, ""),
    ] {
        let mut command = world.command("sh");
        let output = world.output(command.env("P", PINFOLD).args(["-c", script]));
        assert_eq!(output.status, status, "{script}\n{}", output.stderr);
        assert!(output.stderr.contains(expected), "{script}\n{}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{script}\n{}", output.stderr);
    }
}

#[test]
fn too_little_memory_is_an_error_as_soon_as_the_program_can_start_at_all() {
    let world = World::new("memory");
    let status = |limit: u32, arguments: &str| {
        let program = env!("CARGO_BIN_EXE_pinfold");
        let script = format!("ulimit -v {limit} && {program} {arguments}");
        world.output(world.command("bash").args(["-c", &script]))
    };
    // The least memory, in KiB, with which the system can start it.
    let (mut little, mut enough) = (1_000, 400_000);
    while little + 4 < enough {
        let middle = (little + enough) / 2;
        let starts = status(middle, "--version").status == 0;
        *(if starts { &mut enough } else { &mut little }) = middle;
    }
    for limit in (enough..enough + 480).step_by(8) {
        let output = status(limit, "run true");
        let clean = output.status == 0 || output.stderr.contains("hint: free memory");
        assert!(
            clean && matches!(output.status, 0 | 125),
            "{limit} KiB: {}\n{}",
            output.status,
            output.stderr
        );
    }
    assert_eq!(status(400_000, "run true").status, 0);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let world = World::new("full-disk");
    // The command's own disk is full: that is its own affair.
    let script = "head -c 3000000 /dev/zero >/tmp/fill; echo x >/tmp/more; ls /tmp | wc -l";
    let limited = ["run", "-c", SMALL, "-p", "t", "sh", "-c", script];
    check(&world, &limited, 0, &["No space left on device"]);
    // The journal's disk is full.
    check(&world, &["run", "--json", "/dev/full", "true"], 125, &["no space left on device"]);
    assert_eq!(world.outside("ls -A").trim(), "");
}

const SMALL: &str = "permissions.t={extends=\":workspace\",limits={tmp_size=\"1 MiB\"}}";
