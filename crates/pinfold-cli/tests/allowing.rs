//! What `--log-denials` and `why` say would allow what was refused does allow it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use world::World;

/// Runs a script with a report and these options; its status and what was said.
fn run(world: &World, options: &[&str], script: &str) -> (i32, String) {
    let arguments = [&["run", "--log-denials"], options, &["--", "sh", "-c", script]].concat();
    let output = world.pinfold(&arguments);
    (output.status, output.stderr)
}

#[test]
fn what_is_made_in_the_home_can_be_allowed_alone() {
    let world = World::new("allowing-home");
    for (script, made, first) in [
        ("mkdir ~/.cache && echo x >~/.cache/x", ".cache", "mkdir ~/.cache; touch ~/.cache/x"),
        ("echo x >>~/.history", ".history", "touch ~/.history"),
        ("echo x >>~/'[a]*'", "[a]*", "touch ~/'[a]*'"),
    ] {
        let path = world.home().join(made);
        let (status, said) = run(&world, &[], script);
        assert_ne!(status, 0, "{said}");
        assert!(!path.exists(), "{said}");
        let (_, narrower) = said.split_once(", or create it first and --write ").unwrap();
        let value = narrower.lines().next().unwrap().trim_matches('"');
        assert!(value.ends_with(path.to_str().unwrap()), "{said}");
        let why = world.pinfold(&["why"]).stdout;
        let instead = format!("once you have created it:\n  --write \"{value}\"\n");
        assert!(why.contains(&instead), "{why}");
        world.outside(first);
        let (_, said) = run(&world, &["--write", value], "echo x >~/beside");
        assert!(said.contains("denied write"), "the home is open\n{said}");
        let again = script.replace("mkdir", "mkdir -p");
        assert_eq!(run(&world, &["--write", value], &again), (0, String::new()));
    }
}

#[test]
fn nothing_narrower_is_named_where_it_would_not_serve() {
    let world = World::new("allowing-none");
    world.outside("mkdir ~/deep; touch ~/from");
    for script in [
        "mkdir ~/deep/er",
        "echo x >~/deep/file",
        "echo x >>~/from",
        "ln -s x ~/link",
        "mv ~/from ~/to",
        "set -C; echo x >~/exclusive",
    ] {
        let (_, said) = run(&world, &[], script);
        assert!(said.contains("; to allow: --write "), "{script}: {said}");
        assert!(!said.contains("create it first"), "{script}: {said}");
    }
}

#[test]
fn who_looks_a_name_up_is_told_to_name_the_host() {
    let world = World::new("allowing-name");
    let script = "python3 -c 'import socket
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asks.connect((\"192.0.2.1\", 53))'";
    let (_, said) = run(&world, &[], script);
    let told =
        "192.0.2.1:53 by \"python3\": network off (built-in :workspace); to allow: --net and";
    assert!(said.contains(told), "{said}");
    let why = world.pinfold(&["why"]).stdout;
    assert!(why.contains("to allow: --net and the name of the host"), "{why}");
    // No rule for the name server itself is proposed.
    assert!(!why.contains("--net 192.0.2.1"), "{why}");
}

#[test]
fn a_failure_without_a_denied_change_leads_to_the_level_that_tells_of_reads() {
    let world = World::new("allowing-reads");
    world.file("hidden", "secret");
    let hint = "pinfold: no denied change was seen; --log-denials=opens tells of reads as well";
    let (status, said) = run(&world, &["--deny", "hidden"], "cat hidden");
    assert_eq!(status, 1);
    assert!(said.ends_with(&format!("{hint}\n")), "{said}");
    let (_, said) = run(&world, &["--log-denials=opens", "--deny", "hidden"], "cat hidden");
    assert!(said.contains("denied read") && !said.contains(hint), "{said}");
    for (options, script) in [(&[][..], "true"), (&[], "echo x >~/a"), (&["-q"], "false")] {
        let (_, said) = run(&world, options, script);
        assert!(!said.contains(hint), "{script}: {said}");
    }
}
