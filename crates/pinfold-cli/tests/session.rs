//! `pinfold session`: named sandboxes that stay between commands.
#![allow(clippy::unwrap_used, clippy::panic, unsafe_code)]

mod world;

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use world::{Output, World};

/// A world whose server is its own; it ends with the last session.
struct Named {
    world: World,
}

impl Named {
    fn start(name: &str, options: &[&str]) -> Named {
        let named = Named { world: World::new(name) };
        let started = named.session(&[&["start", "work"][..], options].concat());
        assert_eq!((started.status, started.stdout.as_str()), (0, "work\n"), "{}", started.stderr);
        named
    }

    fn session(&self, arguments: &[&str]) -> Output {
        let mut command = self.world.command(env!("CARGO_BIN_EXE_pinfold"));
        let command = command.arg("session").args(arguments).env_remove("XDG_RUNTIME_DIR");
        self.world.output(command)
    }

    fn exec(&self, script: &str) -> Output {
        self.session(&["exec", "work", "sh", "-c", script])
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.session(&["stop", "work"]);
    }
}

#[test]
fn commands_join_with_the_streams_and_the_status_of_the_caller() {
    let named = Named::start("session-join", &[]);
    let output = named.exec("echo out; echo err >&2; exit 5");
    assert_eq!(
        (output.status, output.stdout.as_str(), output.stderr.as_str()),
        (5, "out\n", "err\n")
    );
    assert_eq!(named.exec("kill -9 $$").status, 137);
    let missing = named.session(&["exec", "work", "nonsuch"]);
    assert_eq!(missing.status, 127, "{}", missing.stderr);
    let mut command = named.world.command(env!("CARGO_BIN_EXE_pinfold"));
    command.args(["session", "exec", "work", "wc", "-c"]).env_remove("XDG_RUNTIME_DIR");
    let mut counting = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    counting.stdin.take().unwrap().write_all(&vec![b'x'; 3_000_000]).unwrap();
    let counted = counting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "3000000\n");
}

#[test]
fn a_session_keeps_its_processes_and_its_profile_between_commands() {
    let named = Named::start("session-keep", &["--deny", "hidden"]);
    named.world.file("hidden", "secret\n");
    assert_eq!(
        named.exec("echo kept >/tmp/file; sleep 300 >/dev/null 2>&1 & echo $! >/tmp/number").status,
        0
    );
    assert_eq!(named.exec("kill -0 $(cat /tmp/number) && cat /tmp/file").stdout, "kept\n");
    let home = named.world.home().join("planted");
    assert_ne!(named.exec(&format!("echo x >{}", home.display())).status, 0);
    assert!(!home.exists(), "the profile must hold");
    assert_eq!(named.session(&["list"]).stdout.split('\t').next(), Some("work"));
    assert_eq!(named.session(&["stop", "work"]).status, 0);
    assert_eq!(named.session(&["list"]).stdout, "");
    assert_eq!(named.exec("true").status, 125);
}

#[test]
fn a_command_inside_cannot_talk_to_the_server_of_the_sessions() {
    let named = Named::start("session-inside", &["--write", "~"]);
    let socket = named.world.home().join(".local/state/pinfold/sessions");
    assert!(socket.exists(), "the test looks for the socket in the wrong place");
    let script = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}'); \
         s.send(b'{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{{\"protocol\":1}}}}\\n'); \
         s.settimeout(5); print(len(s.recv(100)))",
        socket.display()
    );
    let inside = named.session(&["exec", "work", "python3", "-c", &script]);
    assert!(inside.status != 0 || inside.stdout.trim() == "0", "it was answered");
    let outside = named.world.outside(&format!("python3 -c \"{}\"", script.replace('"', "\\\"")));
    assert_ne!(outside.trim(), "0", "the question itself is wrong");
}

#[test]
fn what_cannot_be_done_says_so() {
    let named = Named::start("session-wrong", &[]);
    for (arguments, status, wanted) in [
        (&["start", "work"][..], 125, "there is a session \"work\" already"),
        (&["exec", "nonsuch", "true"], 125, "no such session"),
        (&["exec", "work"], 2, "there is no command to run"),
        (&["exec"], 2, "there is no name"),
        (&["attach", "work"], 125, "no command runs"),
        (&["stop", "nonsuch"], 125, "no such session"),
        (&[], 2, "what to do"),
        (&["begin"], 2, "what to do"),
        (&["stop", "work", "more"], 2, "too many operands"),
        (&["list", "more"], 2, "too many operands"),
        (&["start", "other", "-p", "nonsuch"], 125, "nonsuch"),
    ] {
        let output = named.session(arguments);
        assert_eq!(output.status, status, "{arguments:?}: {}", output.stderr);
        assert!(output.stderr.contains(wanted), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn why_no_server_could_be_started_is_said() {
    let world = World::new("session-nowhere");
    let deep = world.path(&"deep".repeat(30));
    std::fs::create_dir(&deep).unwrap();
    for (place, why) in [(deep, "a socket's path must be shorter"), (world.path("file"), "make")] {
        world.file("file", "no directory");
        let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
        let output =
            world.output(command.args(["session", "start"]).env("XDG_RUNTIME_DIR", &place));
        assert_eq!(output.status, 125, "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
        assert!(output.stderr.contains("hint: set XDG_RUNTIME_DIR"), "{}", output.stderr);
    }
}

#[test]
fn a_server_without_sessions_goes_away() {
    let named = Named::start("session-away", &[]);
    let socket = named.world.home().join(".local/state/pinfold/sessions");
    assert!(socket.exists());
    named.session(&["stop", "work"]);
    for _ in 0..150 {
        if !socket.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the server is still there");
}

/// Landlock does not keep a command from connecting to a socket by its path.
#[test]
fn neither_can_a_command_that_has_no_namespaces_of_its_own() {
    let named = Named::start("session-landlock", &[]);
    let program = env!("CARGO_BIN_EXE_pinfold");
    let inside = ["-q", "--", program, "session", "list"];
    let run = |options: &[&str]| {
        let mut command = named.world.command(program);
        let command = command.args([options, &inside[..]].concat()).env_remove("XDG_RUNTIME_DIR");
        named.world.output(command)
    };
    let output = run(&[&["run"][..], &world::landlock()].concat());
    assert!(!output.stdout.contains("work"), "{}{}", output.stdout, output.stderr);
    // The same without a sandbox reaches it: this test can fail.
    let output = run(&["run", "-p", ":danger-full-access"]);
    assert!(output.stdout.contains("work"), "{}{}", output.stdout, output.stderr);
}

#[test]
fn a_session_without_namespaces_keeps_its_rules_and_ends_with_everything() {
    let named = Named::start("session-deputy", &world::landlock());
    named.world.file("kept/x", "x");
    let output =
        named.exec("mkdir d && echo one > d/f && cat d/f; echo x > .envrc; echo x > ../out");
    assert_eq!(output.stdout, "one\n", "{}", output.stderr);
    assert!(!named.world.path(".envrc").exists() && !named.world.path("../out").exists());
    // Commands of one session reach each other, and nothing else.
    let left = "sleep 987 >/dev/null 2>&1 & echo $! > pid";
    assert_eq!(named.exec(left).status, 0);
    let pid = std::fs::read_to_string(named.world.path("pid")).unwrap();
    let (pid, own) = (pid.trim(), std::process::id());
    assert_eq!(named.exec(&format!("kill -0 {pid}")).status, 0);
    assert_ne!(named.exec(&format!("kill -0 {own}")).status, 0);
    let runs = || named.world.outside(&format!("ps -o args= -p {pid} || true")).contains("987");
    assert!(runs());
    // The memory of the server, which they are kept from by nothing else, stays private.
    let beside = named.session(&["start", "beside"]);
    assert_eq!(beside.status, 125);
    assert!(beside.stderr.contains("hint: stop those sessions"), "{}", beside.stderr);
    assert_eq!(named.session(&["stop", "work"]).status, 0);
    assert!(!runs(), "what it left behind goes on");
    assert_eq!(named.session(&["start", "beside"]).status, 0);
    assert_eq!(named.session(&["exec", "beside", "true"]).status, 0);
    assert_eq!(named.session(&["stop", "beside"]).status, 0);
}

#[test]
fn with_the_hosts_network_its_abstract_sockets_stay_out_of_reach() {
    let name = format!("\\0pinfold-test-{}", std::process::id());
    let script = |act: &str| format!("import socket; s = socket.socket(socket.AF_UNIX); s.{act}");
    let named = Named::start("session-abstract", &["--net", "open"]);
    let mut command = named.world.command("python3");
    let waiting = script(&format!(
        "bind('{name}'); s.listen(); print(flush=True); import time; time.sleep(60)"
    ));
    let mut server = command.args(["-c", &waiting]).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let connect = script(&format!("connect('{name}')"));
    let inside = named.session(&["exec", "work", "python3", "-c", &connect]);
    let outside = named.world.output(named.world.command("python3").args(["-c", &connect]));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(outside.status, 0, "{}", outside.stderr);
    assert!(inside.stderr.contains("PermissionError"), "{}", inside.stderr);
}

/// What starts the commands of a session is a process like them, and they may end it.
#[test]
fn commands_are_confined_also_after_one_has_ended_or_stopped_everything() {
    let confined = "grep -E '^(Seccomp|NoNewPrivs|CapPrm|CapEff)' /proc/self/status; \
        mount -t tmpfs none /tmp 2>/dev/null && echo mounted; true";
    for (name, options) in [("session-end", &[][..]), ("session-told", &["--log-denials"])] {
        let named = Named::start(name, options);
        let before = named.exec(confined).stdout;
        assert!(before.contains("CapPrm:\t0000000000000000\n"), "{before}");
        assert!(before.contains("NoNewPrivs:\t1\nSeccomp:\t2\n"), "{before}");
        assert!(!before.contains("mounted"), "{before}");
        // The first stops what goes on as soon as it is known to be stopped.
        for signal in ["SIGSTOP", "SIGKILL", "SIGKILL"] {
            let script = format!("import os, signal; os.kill(-1, signal.{signal}); print('sent')");
            let sent = named.session(&["exec", "work", "python3", "-c", &script]);
            assert!(sent.stdout == "sent\n" || sent.stderr.contains("ProcessLookup"), "{sent:?}");
            for _ in 0..3 {
                let after = named.exec(confined);
                assert_eq!(after.stdout, before, "{signal}: {}", after.stderr);
            }
            assert_eq!(named.session(&["exec", "work", "nonsuch"]).status, 127);
        }
    }
}

/// Until they execute something, processes inside share the memory of the server, which is
/// not private for a moment whenever another session starts.
#[test]
fn no_command_can_trace_the_processes_that_start_commands() {
    const TRACE: &str = "
import ctypes, os, time
trace = ctypes.CDLL(None, use_errno=True).ptrace
own, found, tried, end = os.getpid(), set(), 0, time.time() + 3
while time.time() < end:
    for process in range(1, own + 12):
        tried += 1
        if process != own and trace(0x4206, process, None, None) == 0:
            found.add(process)
            break
print(tried > 1000, sorted(found))";
    let named = Named::start("session-trace", &[]);
    let mut command = named.world.command(env!("CARGO_BIN_EXE_pinfold"));
    command.args(["session", "exec", "work", "python3", "-c", TRACE]);
    command.env_remove("XDG_RUNTIME_DIR").stdout(Stdio::piped());
    let tracing = command.spawn().unwrap();
    for _ in 0..12 {
        assert_eq!(named.session(&["start", "other"]).status, 0);
        assert_eq!(named.session(&["stop", "other"]).status, 0);
    }
    let traced = tracing.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&traced.stdout), "True []\n");
}

#[test]
fn signals_end_a_client_that_is_not_answered_and_reach_a_command_that_runs() {
    let named = Named::start("session-signals", &[]);
    let interrupted = |command: &mut std::process::Command, ready: &dyn Fn() -> bool| {
        let client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..1000 {
            if ready() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Before it takes signals itself, they do what they always do.
        std::thread::sleep(Duration::from_millis(100));
        // SAFETY: this is a child of this process that has not been waited for.
        unsafe { libc::kill(client.id() as i32, libc::SIGINT) };
        let ended = client.wait_with_output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let mut command = named.world.command(env!("CARGO_BIN_EXE_pinfold"));
    let script = "trap 'exit 7' INT; touch trapped; while :; do sleep 0.01; done";
    let command = command.args(["session", "exec", "work", "sh", "-c", script]);
    let trapped = named.world.path("trapped");
    let ready = || trapped.exists();
    assert_eq!(interrupted(command.env_remove("XDG_RUNTIME_DIR"), &ready).0, Some(7));

    // A server that takes everything and says nothing.
    let runtime = named.world.path("runtime");
    std::fs::create_dir_all(runtime.join("pinfold")).unwrap();
    let silent = std::os::unix::net::UnixListener::bind(runtime.join("pinfold/sessions")).unwrap();
    let (heard, hears) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let (mut client, _) = silent.accept().unwrap();
        let mut request = [0; 4096];
        std::io::Read::read(&mut client, &mut request).unwrap();
        heard.send(()).unwrap();
        std::io::Read::read(&mut client, &mut request).unwrap()
    });
    let mut command = named.world.command(env!("CARGO_BIN_EXE_pinfold"));
    let command = command.args(["session", "exec", "work", "true"]);
    let ready = || hears.try_recv().is_ok();
    let (status, said) = interrupted(command.env("XDG_RUNTIME_DIR", &runtime), &ready);
    assert!(status == Some(130) && said.contains("interrupted"), "{status:?}: {said}");
    assert_eq!(server.join().unwrap(), 0, "the client is gone");
}
