//! `--log-denials`: what the sandbox refused, and nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::path::Path;

use serde_json::Value;
use world::World;

/// Runs a script with a report; the status, and for each denial what was
/// attempted, on what, and the option that would allow it.
fn denied(world: &World, options: &[&str], script: &str) -> (i32, Vec<(String, String, String)>) {
    let document = world.home().join("outcome.json");
    let mut arguments = vec!["run", "--json", document.to_str().unwrap()];
    arguments.extend(options);
    arguments.extend(["--", "sh", "-c", script]);
    let output = world.pinfold(&arguments);
    let outcome: Value =
        serde_json::from_str(&std::fs::read_to_string(&document).unwrap()).unwrap();
    let list = outcome["denials"].as_array().unwrap_or_else(|| panic!("{outcome}"));
    let text = |denial: &Value, name: &str| denial[name].as_str().unwrap().to_owned();
    let told = list.iter().map(|denial| {
        let allow = &denial["allow"];
        let option = match allow["option"].as_str() {
            Some(option) => format!("--{option} {}", text(allow, "value")),
            None => String::new(),
        };
        (text(denial, "attempted"), text(denial, "target"), option)
    });
    (output.status, told.collect())
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_kind_of_refused_change_is_told_with_what_allows_it() {
    let world = World::new("denials-kinds");
    let home = world.home();
    for file in ["old", "mode", "gone", "from"] {
        std::fs::write(home.join(file), "kept").unwrap();
    }
    std::fs::create_dir(home.join("empty")).unwrap();
    let above = format!("--write {}", shown(&home));
    let own = |name: &str| format!("--write {}", shown(&home.join(name)));
    for (script, attempted, name, option) in [
        ("echo x >~/new", "write", "new", above.clone()),
        ("echo x >>~/old", "write", "old", own("old")),
        ("mkdir ~/made", "create", "made", above.clone()),
        ("ln -s x ~/link", "create", "link", above.clone()),
        ("ln ok ~/hard", "create", "hard", above.clone()),
        ("mkfifo ~/pipe", "create", "pipe", above.clone()),
        ("rm -f ~/gone", "remove", "gone", above.clone()),
        ("rmdir ~/empty", "remove", "empty", above.clone()),
        (
            "python3 -c 'import os; os.rename(os.path.expanduser(\"~/from\"), \"to\")'",
            "remove",
            "from",
            above.clone(),
        ),
        ("chmod 777 ~/mode", "change", "mode", own("mode")),
        ("touch -d 2001-01-01 ~/mode", "write", "mode", own("mode")),
        (
            "python3 -c 'import os; os.truncate(os.path.expanduser(\"~/old\"), 0)'",
            "write",
            "old",
            own("old"),
        ),
        ("cd ~ && echo x >relative", "write", "relative", above.clone()),
        ("test -w ~/old", "write", "old", own("old")),
    ] {
        world.file("ok", "");
        let (_, told) = denied(&world, &["--log-denials"], script);
        let expected = (attempted.to_owned(), shown(&home.join(name)), option);
        assert!(told.contains(&expected), "{script}: {told:?}");
        assert!(told.iter().all(|(_, path, _)| *path == expected.1), "{script}: {told:?}");
    }
    assert_eq!(std::fs::read_to_string(home.join("old")).unwrap(), "kept");
}

#[test]
fn what_is_allowed_or_impossible_anyway_is_not_told() {
    let world = World::new("denials-none");
    let home = world.home();
    std::fs::write(home.join("there"), "").unwrap();
    std::fs::create_dir_all(home.join("full/inner")).unwrap();
    for script in [
        "echo x >made; mkdir directory; mv made directory/; rm -r directory",
        "echo x >/dev/null; echo y >/tmp/private; python3 -c 'print(1)'",
        "mkdir -p ~; mkdir ~/there; true",
        "rm -f ~/missing; echo x >~/missing/file; chmod 1 ~/missing; true",
        "echo x >/proc/self/comm; true",
        "dd if=/dev/null of=$HOME/missing conv=nocreat; rmdir ~/full; true",
        "python3 -c 'import os\nhome = os.path.expanduser(\"~\")\n\
         for act in (lambda: os.open(home, os.O_WRONLY),\n\
         lambda: os.open(home + \"/there\", os.O_CREAT | os.O_EXCL | os.O_WRONLY),\n\
         lambda: os.rename(home + \"/missing\", home + \"/other\"),\n\
         lambda: os.rmdir(home + \"/there\"), lambda: os.unlink(home + \"/full\"),\n\
         lambda: os.link(home + \"/missing\", home + \"/other\")):\n\
         \x20try: act()\n \x20except OSError: pass'",
    ] {
        let (_, told) = denied(&world, &["--log-denials"], script);
        assert_eq!(told, [], "{script}");
    }
}

#[test]
fn what_the_user_could_not_do_outside_either_is_not_told() {
    let world = World::new("denials-other");
    let owned_by_root = !std::fs::metadata("/etc/passwd")
        .is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == own_user(&world));
    let (_, told) = denied(&world, &["--log-denials"], "echo x >>/etc/passwd; mkdir /etc/made");
    assert_eq!(told.is_empty(), owned_by_root, "{told:?}");
}

fn own_user(world: &World) -> u32 {
    world.outside("id -u").trim().parse().unwrap()
}

#[test]
fn the_suggested_option_is_enough() {
    let world = World::new("denials-enough");
    let home = world.home();
    let script = "echo x >~/new && mkdir ~/made";
    let (status, told) = denied(&world, &["--log-denials"], script);
    assert_ne!(status, 0);
    let (option, path) = told[0].2.split_once(' ').unwrap();
    let (status, told) = denied(&world, &["--log-denials", option, path], script);
    assert_eq!((status, told), (0, vec![]));
    assert!(home.join("made").is_dir());
}

#[test]
fn paths_are_what_they_are_in_the_sandbox() {
    let world = World::new("denials-links");
    let home = world.home();
    std::fs::write(home.join("old"), "kept").unwrap();
    let own = |name: &str| shown(&home.join(name));
    for (script, name) in [
        // In the private /tmp, which the host does not have.
        ("ln -s ~/old /tmp/pinfold-link; echo x >/tmp/pinfold-link", "old"),
        ("ln -s ~ /tmp/pinfold-home; echo x >/tmp/pinfold-home/new", "new"),
        // A link that leads nowhere is created where it leads.
        ("ln -s ~/new dangling; echo x >dangling", "new"),
        ("mkdir -p d; ln -sf d e; cd e; ln -s ../../home up; echo x >up/new", "new"),
        ("touch -h -d 2001-01-01 dangling; ln -sf ~/old l; chmod 777 l", "old"),
    ] {
        let (_, told) = denied(&world, &["--log-denials"], script);
        let paths: Vec<&String> = told.iter().map(|(_, path, _)| path).collect();
        assert_eq!(paths, [&own(name)], "{script}: {told:?}");
    }
    assert_eq!(std::fs::read_to_string(home.join("old")).unwrap(), "kept");
    assert!(!home.join("new").exists());
}

/// The kernel gives up paths with `..` whenever anything is renamed meanwhile.
#[test]
fn what_is_renamed_elsewhere_hides_nothing() {
    let world = World::new("denials-renames");
    world.file("elsewhere/one", "");
    let (one, two) = (world.path("elsewhere/one"), world.path("elsewhere/two"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let new = shown(&world.home().join("new"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2_000_000 {
                if done.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                std::fs::rename(&one, &two).unwrap();
                std::fs::rename(&two, &one).unwrap();
            }
        });
        let script = "mkdir -p d; ln -sfn ../../home d/up; echo x >d/up/new";
        let told: Vec<_> = (0..8).map(|_| denied(&world, &["--log-denials"], script).1).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        for told in told {
            assert!(told.iter().any(|(_, path, _)| *path == new), "{told:?}");
        }
    });
}

#[test]
fn the_mounts_of_other_namespaces_are_not_answered_for() {
    let world = World::new("denials-foreign");
    let profile = "permissions.nested={extends=\":workspace\",user_namespaces=true}";
    let options = ["-c", profile, "-p", "nested", "--log-denials"];
    let script = "unshare -Um true || exit 7; unshare -Um sh -c 'echo x >~/inner'; echo x >~/new";
    let (status, told) = denied(&world, &options, script);
    if status == 7 {
        // Some hosts have no namespaces within namespaces.
        return;
    }
    let paths: Vec<&String> = told.iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths, [&shown(&world.home().join("new"))], "{told:?}");
}

#[test]
fn levels_say_how_closely_is_looked() {
    let world = World::new("denials-levels");
    world.file("hidden", "x");
    let home = world.home();
    let script = "stat hidden/ hidden; cat hidden; cd ~ && echo x >new; true";
    let hidden = shown(&world.path("hidden"));
    let new = shown(&home.join("new"));
    let reads = (String::from("read"), hidden.clone(), format!("--read {hidden}"));
    let writes = (String::from("write"), new, format!("--write {}", shown(&home)));
    for (level, expected) in [
        ("--log-denials", vec![writes.clone()]),
        ("--log-denials=cheap", vec![writes.clone()]),
        ("--log-denials=writes", vec![writes.clone()]),
        ("--log-denials=opens", vec![reads.clone(), writes.clone()]),
        ("--log-denials=all", vec![reads, writes]),
    ] {
        let (_, told) = denied(&world, &[level, "--deny", "hidden"], script);
        assert_eq!(told, expected, "{level}");
    }
    let output =
        world.pinfold(&["run", "--log-denials=off", "--json", "o", "--", "sh", "-c", script]);
    assert!(!output.stderr.contains("pinfold: "), "{}", output.stderr);
    let outcome = std::fs::read_to_string(world.path("o")).unwrap();
    assert!(outcome.contains("\"denials\":null"), "{outcome}");
    // Only the closest look hears of questions.
    let (_, told) = denied(&world, &["--log-denials=all", "--deny", "hidden"], "test -r hidden");
    assert_eq!(told.len(), 1, "{told:?}");
    let (_, told) = denied(&world, &["--log-denials=opens", "--deny", "hidden"], "test -r hidden");
    assert_eq!(told, []);
}

#[test]
fn the_name_of_a_thread_does_not_hide_its_program() {
    let world = World::new("denials-threads");
    let script = "python3 -c 'import ctypes, os, threading\n\
        def act():\n \x20ctypes.CDLL(None).prctl(15, b\"worker\", 0, 0, 0)\n \x20\
        os.mkdir(os.path.expanduser(\"~/made\"))\n\
        t = threading.Thread(target=act); t.start(); t.join()'";
    let output = world.pinfold(&["run", "--log-denials", "--", "sh", "-c", script]);
    assert!(output.stderr.contains("/made\" by \"python3\""), "{}", output.stderr);
}

#[test]
fn refused_reads_and_programs_are_told_at_the_level_of_opens() {
    let world = World::new("denials-reads");
    world.file("secret", "hidden");
    world.file("tool", "#!/bin/sh\n");
    world.outside("chmod +x tool");
    let options = ["--deny", "secret", "--deny", "tool"];
    let script = "cat secret; ./tool";
    let (_, told) = denied(&world, &[&["--log-denials=opens"][..], &options].concat(), script);
    let secret = shown(&world.path("secret"));
    let tool = shown(&world.path("tool"));
    assert_eq!(
        told,
        [
            (String::from("read"), secret.clone(), format!("--read {secret}")),
            (String::from("execute"), tool.clone(), format!("--read {tool}")),
        ]
    );
    let (_, told) = denied(&world, &[&["--log-denials"][..], &options].concat(), script);
    assert_eq!(told, [], "the level of writes does not look at reads");
}

#[test]
fn the_same_denial_is_told_once_and_the_list_has_an_end() {
    let world = World::new("denials-many");
    let script = "for i in 1 2 3; do mkdir ~/same; done; \
                  i=0; while [ $i -lt 300 ]; do true >~/n$i; i=$((i+1)); done";
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    let output = world.output(command.args(["run", "--log-denials", "--", "sh", "-c", script]));
    let told: Vec<&str> =
        output.stderr.lines().filter(|line| line.starts_with("pinfold: denied")).collect();
    assert_eq!(told.len(), 200, "{}", output.stderr);
    assert!(told[0].contains("denied 3x create"), "{}", told[0]);
    assert!(output.stderr.contains("pinfold: and 101 more"), "{}", output.stderr);
}

#[test]
fn a_report_inside_a_report_says_that_there_is_none() {
    let world = World::new("denials-nested");
    let binary = env!("CARGO_BIN_EXE_pinfold");
    let script = format!("{binary} run --log-denials -- sh -c 'echo ran; echo x >/etc/planted'");
    let settings =
        "permissions.nested={extends=\":workspace\",user_namespaces=true,private_tmp=false}";
    let output = world.pinfold(&[
        "run",
        "-c",
        settings,
        "-p",
        "nested",
        "--log-denials",
        "--",
        "sh",
        "-c",
        &script,
    ]);
    if output.stdout != "ran\n" {
        // Some hosts have no namespaces within namespaces.
        assert!(output.stderr.contains("error: "), "{}", output.stderr);
        return;
    }
    assert!(output.stderr.contains("what was denied is not known"), "{}", output.stderr);
    assert!(!Path::new("/etc/planted").exists());
}

#[test]
fn why_repeats_the_last_denials_as_options_and_as_rules() {
    let world = World::new("denials-why");
    let none = world.pinfold(&["why"]);
    assert_eq!(none.status, 125, "{}", none.stdout);
    let home = world.home();
    world.pinfold(&["run", "--log-denials", "--", "mkdir", home.join("made").to_str().unwrap()]);
    world.pinfold(&["run", "--log-denials", "--", "true"]);
    let why = world.pinfold(&["why"]);
    let home = shown(&home);
    for expected in [
        format!("create \"{home}/made\" by \"mkdir\": read \"/\" (built-in :workspace)"),
        format!("  --write \"{home}\""),
        String::from("  [permissions.NAME.filesystem]"),
        format!("  \"{home}\" = \"write\""),
    ] {
        assert!(why.stdout.contains(&expected), "{expected}\n{}", why.stdout);
    }
    let mode = world.outside("stat -c %a ~/.local/state/pinfold/denials.json");
    assert_eq!(mode.trim(), "600");
}

#[test]
fn applied_rules_are_enough_and_leave_the_rest_of_the_file_alone() {
    let world = World::new("denials-apply");
    let made = world.home().join("made");
    let command = ["--log-denials", "--", "mkdir", made.to_str().unwrap()];
    for (before, profile, kept) in [
        ("# mine\n", "own", "# mine\n"),
        (
            "default_permissions = \"dev\" # now\n[permissions.dev]\nextends = \":workspace\"\n",
            "dev",
            "default_permissions = \"dev\" # now\n",
        ),
    ] {
        world.configuration(before);
        assert_ne!(world.pinfold(&[&["run"][..], &command].concat()).status, 0);
        let asked = world.pinfold(&["why", "--apply"]);
        assert_eq!(asked.status, 2, "nobody was asked: {}", asked.stderr);
        assert_eq!(std::fs::read_to_string(world.config_file()).unwrap(), before);
        let applied = world.pinfold(&["why", "--apply", "--yes"]);
        assert_eq!(applied.status, 0, "{}", applied.stderr);
        let after = std::fs::read_to_string(world.config_file()).unwrap();
        assert!(after.contains(kept), "{after}");
        // With the profile, and with none, as before.
        for chosen in [&["-p", profile][..], &[]] {
            let again = world.pinfold(&[&["run"][..], chosen, &command].concat());
            assert_eq!(again.status, 0, "{}\n{after}", again.stderr);
            std::fs::remove_dir(&made).unwrap();
        }
    }
}

#[test]
fn rules_go_to_the_project_when_that_is_trusted() {
    let world = World::new("denials-project");
    world.configuration("");
    world.outside("git init -q .");
    let made = world.home().join("made");
    let command = ["--log-denials", "--", "mkdir", made.to_str().unwrap()];
    world.pinfold(&[&["run"][..], &command].concat());
    let apply = ["why", "--apply", "--project", "--yes"];
    let refused = world.pinfold(&apply);
    assert_eq!(refused.status, 125, "{}", refused.stderr);
    assert!(refused.stderr.contains("pinfold trust"), "{}", refused.stderr);
    assert!(!world.path(".pinfold").exists());
    assert_eq!(world.pinfold(&["trust"]).status, 0);
    let applied = world.pinfold(&apply);
    assert_eq!(applied.status, 0, "{}", applied.stderr);
    let project = std::fs::read_to_string(world.path(".pinfold/config.toml")).unwrap();
    assert!(project.contains("[permissions.own.filesystem]"), "{project}");
    let user = std::fs::read_to_string(world.config_file()).unwrap();
    assert!(!user.contains("permissions"), "{user}");
    let again = world.pinfold(&[&["run", "-p", "own"][..], &command].concat());
    assert_eq!(again.status, 0, "{}", again.stderr);
}

#[test]
fn a_default_that_somebody_did_not_use_stays_what_it_was() {
    let world = World::new("denials-default");
    world.configuration("");
    let made = world.home().join("made");
    let command = ["--log-denials", "--", "mkdir", made.to_str().unwrap()];
    world.pinfold(&[&["run", "-p", ":read-only"][..], &command].concat());
    assert_eq!(world.pinfold(&["why", "--apply", "--yes"]).status, 0);
    let plain = world.pinfold(&["run", "--", "touch", "written"]);
    assert_eq!(plain.status, 0, "{}", plain.stderr);
    let chosen = world.pinfold(&["run", "-p", "own", "--", "touch", "more"]);
    assert_ne!(chosen.status, 0, "own extends :read-only");
}

#[test]
fn rules_beyond_the_administrators_bounds_leave_every_file_as_it_was() {
    let world = World::new("denials-bounds");
    world.outside("git init -q .");
    world.configuration("# mine\n");
    world.pinfold(&["trust"]);
    let before = std::fs::read_to_string(world.config_file()).unwrap();
    let denied = world.home().join("denied");
    std::fs::create_dir(&denied).unwrap();
    world.file(
        "requirements.toml",
        &format!("[permissions.filesystem]\ndeny_read = [\"{}\"]\n", denied.display()),
    );
    // Noted before there were bounds, a rule could still be asked for.
    let early = world.home().join("denied/new");
    world.pinfold(&["run", "--log-denials", "--", "mkdir", early.to_str().unwrap()]);
    // A machine whose administrator has bounds, for this one shell.
    let machine = "mount -t tmpfs none /etc && mkdir /etc/pinfold && \
                   cp requirements.toml /etc/pinfold/ || exit 7";
    let binary = env!("CARGO_BIN_EXE_pinfold");
    let script = format!(
        "{machine}; {binary} why --apply --yes; echo $?; \
         {binary} why --apply --project --yes; echo $?; \
         {binary} run --log-denials -- mkdir {0}; {binary} why --apply --yes; echo $?",
        early.display()
    );
    let output = world.output(world.command("unshare").args(["-Urm", "sh", "-c", &script]));
    if output.status == 7 || output.stderr.contains("unshare failed") {
        // Some hosts have no namespaces within namespaces.
        return;
    }
    assert_eq!(output.stdout, "125\n125\n125\n", "{}", output.stderr);
    for expected in ["does not help: it is denied by deny", "error: no rule would allow"] {
        assert!(output.stderr.contains(expected), "{expected}: {}", output.stderr);
    }
    assert_eq!(std::fs::read_to_string(world.config_file()).unwrap(), before);
    assert!(!world.path(".pinfold").exists(), "{}", output.stderr);
}

#[test]
fn rules_for_credentials_need_more_than_a_yes() {
    let world = World::new("denials-secrets");
    world.configuration("");
    std::fs::create_dir(world.home().join(".ssh")).unwrap();
    std::fs::write(world.home().join(".ssh/id"), "key").unwrap();
    world.pinfold(&["run", "--log-denials=opens", "--", "sh", "-c", "cat ~/.ssh/id"]);
    let refused = world.pinfold(&["why", "--apply", "--yes"]);
    assert_eq!(refused.status, 125, "{}", refused.stderr);
    assert!(refused.stderr.contains("credentials"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(world.config_file()).unwrap(), "");
    let forced = world.pinfold(&["why", "--apply", "--yes", "--force"]);
    assert_eq!(forced.status, 0, "{}", forced.stderr);
    let read = world.pinfold(&["run", "-p", "own", "--", "sh", "-c", "cat ~/.ssh/id"]);
    assert_eq!(read.stdout, "key", "{}", read.stderr);
}

#[test]
fn a_learned_profile_is_enough_for_the_same_command_and_leaves_secrets_out() {
    let world = World::new("denials-learn");
    let home = world.home();
    for directory in [".ssh", "input/deep", "output"] {
        std::fs::create_dir_all(home.join(directory)).unwrap();
    }
    std::fs::write(home.join("input/deep/text"), "words\n").unwrap();
    std::fs::write(home.join(".ssh/id"), "key").unwrap();
    let script = "cat ~/input/deep/text >~/output/copy && python3 -c 'print(1)' >local; \
                  cat ~/.ssh/id || echo hidden";
    let unasked = world.pinfold(&["learn", "--", "sh", "-c", script]);
    assert_eq!(unasked.status, 2, "{}", unasked.stdout);
    assert!(!home.join("output/copy").exists(), "it ran without an answer");
    let file = world.home().join("profile.toml");
    let output = file.to_str().unwrap();
    let learned = world.pinfold(&["learn", "--yes", "-o", output, "--", "sh", "-c", script]);
    assert_eq!((learned.status, learned.stdout.as_str()), (0, "hidden\n"), "{}", learned.stderr);
    assert!(learned.stderr.contains(".ssh/id"), "{}", learned.stderr);
    let profile = std::fs::read_to_string(&file).unwrap();
    assert!(profile.contains(&format!("{}/output\" = \"write\"", home.display())), "{profile}");
    assert!(profile.contains(&format!("{}/input/deep\" = \"read\"", home.display())), "{profile}");
    std::fs::remove_file(home.join("output/copy")).unwrap();
    world.configuration(&profile);
    let again = world.pinfold(&["run", "-p", "learned", "--", "sh", "-c", script]);
    assert_eq!(
        (again.status, again.stdout.as_str()),
        (0, "hidden\n"),
        "{}\n{profile}",
        again.stderr
    );
    assert_eq!(std::fs::read_to_string(home.join("output/copy")).unwrap(), "words\n");
    let more = world.pinfold(&["run", "-p", "learned", "--", "sh", "-c", "echo x >~/input/new"]);
    assert_ne!(more.status, 0);
    assert!(!home.join("input/new").exists(), "the profile grants too much");
}
