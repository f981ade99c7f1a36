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
