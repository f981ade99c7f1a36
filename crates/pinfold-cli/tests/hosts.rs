//! Hosts that lack something, made up with namespaces and filters: what `doctor`
//! says about them, and what `run` does there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod world;

use world::World;

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// Runs `pinfold` on a made-up host: its status and everything it says. Nothing
/// where this host cannot make it up, which is said.
fn on(host: &str, world: &World, arguments: &str) -> Option<(i32, String)> {
    let made_up = match host {
        "no user namespaces" => without("user", arguments),
        "no network namespaces" => without("net", arguments),
        "no /proc" => {
            format!(
                "unshare -Urm sh -c 'mount -t tmpfs none /proc && echo made; exec {PINFOLD} {arguments}'"
            )
        }
        _ => format!(
            "{PINFOLD} run -qp t -c '{OPEN}' -- sh -c 'echo made; exec {PINFOLD} {arguments}'"
        ),
    };
    let output = world.output(world.command("sh").args(["-c", &made_up]));
    if !output.stdout.starts_with("made") {
        eprintln!("skipped, {host} cannot be made up here: {}", output.stderr);
        return None;
    }
    Some((output.status, output.stdout + &output.stderr))
}

/// The script for a host without one kind of namespaces.
fn without(kind: &str, arguments: &str) -> String {
    let bound = format!("/proc/sys/user/max_{kind}_namespaces");
    format!("unshare -Ur sh -c 'echo 0 >{bound} && echo made; exec {PINFOLD} {arguments}'")
}

/// A sandbox in which the tests' own program is there, wherever it was built.
const OPEN: &str = "permissions.t={extends=\":workspace\",private_tmp=false}";

#[test]
fn doctor_names_the_cause_of_what_is_missing() {
    let world = World::new("hosts-doctor");
    for (host, expected) in [
        (
            "no user namespaces",
            &[
                "missing user namespace: no space left on device: user.max_user_namespaces is 0",
                "hint: as root: sysctl -w user.max_user_namespaces=15000",
                "missing network namespace: ",
                "ok      system-call filter: works",
                "missing all together: ",
            ][..],
        ),
        (
            "no network namespaces",
            &[
                "ok      user namespace: works",
                "missing network namespace: no space left on device: ",
                "missing all together: cannot create namespaces: ",
            ],
        ),
        (
            "no /proc",
            &[
                "ok      user namespace: works",
                "ok      read-only mounts: works",
                "missing own /proc: operation not permitted: /proc is not mounted",
                "hint: as root: mount -t proc proc /proc",
            ],
        ),
        (
            "a filter",
            &[
                "missing user namespace: ",
                "ok      system-call filter: works",
                "missing all together: cannot create namespaces: ",
            ],
        ),
    ] {
        let Some((status, text)) = on(host, &world, "doctor") else { continue };
        assert_eq!(status, 125, "{host}\n{text}");
        for line in expected {
            assert!(text.contains(line), "{host}: {line:?} in\n{text}");
        }
    }
}

#[test]
fn run_takes_landlock_where_namespaces_are_closed_and_names_every_gap() {
    let world = World::new("hosts-run");
    let gaps = "attributes entries existence loopback private-directory processes-visible \
                shared-memory survivors unix-sockets landlock-version";
    let allowed: String =
        gaps.split_whitespace().map(|gap| format!(" --allow-gap {gap}")).collect();
    for host in ["no user namespaces", "no network namespaces", "a filter"] {
        let Some((status, text)) = on(host, &world, "run true") else { continue };
        assert_eq!(status, 125, "{host}\n{text}");
        for line in ["error: cannot enforce ", "--allow-gap survivors", "pinfold doctor"] {
            assert!(text.contains(line), "{host}: {line:?} in\n{text}");
        }
        // Enforced all the same: nothing outside the workspace is written.
        let outside = world.home().join("written");
        let script = format!("echo x >{}; echo y >{}; exit 7", outside.display(), "inside");
        world.file("script", &script);
        world.file("inside", "");
        let Some((status, text)) = on(host, &world, &format!("run -q{allowed} sh script")) else {
            continue;
        };
        assert_eq!(status, 7, "{host}\n{text}");
        assert!(!outside.exists(), "{host}: written outside");
        assert_eq!(std::fs::read_to_string(world.path("inside")).unwrap(), "y\n", "{host}\n{text}");
    }
}

/// The processors that a process may run on, as `/proc/PID/status` names them.
fn processors(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(str::trim)
}

#[test]
fn a_command_runs_wherever_its_caller_may() {
    let world = World::new("hosts-processors");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = processors(&own).unwrap();
    let first: u32 = own.split(['-', ',']).next().unwrap().parse().unwrap();
    for (caller, expected) in
        [(String::new(), own), (format!("taskset -c {first} "), &*first.to_string())]
    {
        // How the processes are placed depends on what else runs.
        for _ in 0..20 {
            let script = format!("exec {caller}{PINFOLD} run -q cat /proc/self/status");
            let output = world.output(world.command("sh").args(["-c", &script]));
            assert_eq!(processors(&output.stdout), Some(expected), "{caller}{}", output.stderr);
        }
    }
}
