//! The private `/tmp`, and rules for `/tmp` itself, which count more where somebody has
//! written them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::fs;
use std::path::PathBuf;

use world::World;

/// A file of the host, directly in `/tmp`, until dropped.
struct Marker(PathBuf);

impl Marker {
    fn new(name: &str) -> Marker {
        let marker = Marker(format!("/tmp/pinfold-{name}-{}", std::process::id()).into());
        fs::write(&marker.0, "of the host").unwrap();
        marker
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What a command reads of the marker, and what is in that afterwards.
fn seen(world: &World, marker: &Marker, options: &[&str]) -> (String, String) {
    let path = marker.0.to_str().unwrap();
    let script = format!("cat {path} 2>/dev/null; echo changed >{path} 2>/dev/null; true");
    let output = world.pinfold(&[&["run"], options, &["--", "sh", "-c", script.as_str()]].concat());
    assert_eq!(output.status, 0, "{}", output.stderr);
    let after = fs::read_to_string(&marker.0).unwrap();
    fs::write(&marker.0, "of the host").unwrap();
    (output.stdout, after)
}

fn pair(inside: &str, after: &str) -> (String, String) {
    (inside.to_owned(), after.to_owned())
}

#[test]
fn a_rule_for_tmp_itself_opens_or_denies_the_hosts() {
    let (world, marker) = (World::new("private-flag"), Marker::new("flag"));
    let kept = |inside| pair(inside, "of the host");
    assert_eq!(seen(&world, &marker, &[]), kept(""));
    assert_eq!(seen(&world, &marker, &["--read", "/tmp"]), kept("of the host"));
    let written = pair("of the host", "changed\n");
    assert_eq!(seen(&world, &marker, &["--write", "/tmp"]), written);
    assert_eq!(seen(&world, &marker, &["-C", "/tmp"]), written);
    let output = world.pinfold(&["run", "--deny", "/tmp", "--", "sh", "-c", "echo x >/tmp/new"]);
    assert!(output.stderr.contains("Permission denied"), "{}", output.stderr);
    assert!(!fs::exists("/tmp/new").unwrap());
}

#[test]
fn a_profile_that_says_both_has_a_private_one_but_for_a_denial() {
    let (world, marker) = (World::new("private-file"), Marker::new("file"));
    let profile = |private: &str, access: &str| {
        world.configuration(&format!(
            "default_permissions = \"own\"\n[permissions.own]\nextends = \":workspace\"\n{private}\n\
             [permissions.own.filesystem]\n\"/tmp\" = \"{access}\"\n"
        ));
    };
    let kept = |inside| pair(inside, "of the host");
    profile("", "read");
    assert_eq!(seen(&world, &marker, &[]), kept("of the host"));
    profile("private_tmp = true", "read");
    assert_eq!(seen(&world, &marker, &[]), kept(""));
    profile("private_tmp = true", "deny");
    let output = world.pinfold(&["run", "--", "sh", "-c", "echo x >/tmp/new"]);
    assert!(output.stderr.contains("Permission denied"), "{}", output.stderr);
}

#[test]
fn a_project_that_nobody_trusts_opens_nothing() {
    let (world, marker) = (World::new("private-project"), Marker::new("project"));
    let own = "[permissions.own]\nextends = \":workspace\"\n";
    world.configuration(&format!("default_permissions = \"own\"\n{own}"));
    let rule = "[permissions.own.filesystem]\n\"/tmp\" = \"read\"\n";
    world.file(".pinfold/config.toml", rule);
    let path = marker.0.to_str().unwrap();
    let output = world.pinfold(&["run", "--", "sh", "-c", &format!("cat {path}; echo ran")]);
    assert_eq!(output.stdout, "ran\n", "{}", output.stderr);
    // The same words of somebody who is trusted.
    assert_eq!(world.pinfold(&["trust"]).status, 0);
    assert_eq!(seen(&world, &marker, &[]), pair("of the host", "of the host"));
}

#[test]
fn temporary_files_go_to_the_private_directory_unless_another_one_serves() {
    let world = World::new("private-tmpdir");
    fs::create_dir(world.path("own")).unwrap();
    let (home, own) = (world.home(), world.path("own"));
    let (home, own) = (home.to_str().unwrap(), own.to_str().unwrap());
    let made = |variable: &str, value: &str, options: &[&str]| {
        let script = format!("file=$(mktemp -p ${variable}) && dirname $file && echo x >$file");
        let arguments = [&["run"], options, &["--", "sh", "-c", script.as_str()]].concat();
        let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
        let output = world.output(command.args(arguments).env(variable, value));
        (output.status, output.stdout.trim().to_owned())
    };
    for variable in ["TMPDIR", "TMP", "TEMP"] {
        let at = |directory: &str| (0, directory.to_owned());
        // Read-only, not there, out of sight, and right.
        for value in [home, "/no/such", "/tmp/user/1000", "/tmp", "/tmp/"] {
            assert_eq!(made(variable, value, &[]).1.trim_end_matches('/'), "/tmp", "{value}");
        }
        assert_eq!(made(variable, own, &[]), at(own));
        assert_eq!(made(variable, home, &["--write", home]), at(home));
        // Who says it means it.
        let given = format!("{variable}={home}");
        assert_eq!(made(variable, "", &["--env", &given]).0, 1);
    }
}
