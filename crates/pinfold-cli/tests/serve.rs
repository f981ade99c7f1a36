//! `pinfold serve` as its clients see it, and what is left of it on the host.
#![allow(clippy::unwrap_used, clippy::panic)]

mod talk;
mod world;

use std::time::Duration;

use serde_json::json;
use talk::{Talk, text};
use world::World;

fn start(talk: &mut Talk) -> String {
    talk.initialize();
    talk.result("session/start", json!({}))["session"].as_str().unwrap().to_owned()
}

#[test]
fn a_command_has_its_streams_apart_its_input_and_its_status() {
    let world = World::new("serve-streams");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let script = "echo out; echo err >&2; cat; exit 3";
    let process = talk.spawn(&session, &["sh", "-c", script], json!({}));
    let written = talk.result("process/write", json!({ "process": process, "data": text("in\n") }));
    assert_eq!(written["written"], 3);
    talk.result("process/close_stdin", json!({ "process": process }));
    assert_eq!(talk.result("process/wait", json!({ "process": process }))["code"], 3);
    assert_eq!(talk.output(&process, "stdout"), "out\nin\n");
    assert_eq!(talk.output(&process, "stderr"), "err\n");
    let late = talk.error("process/write", json!({ "process": process, "data": text("x") }));
    assert_eq!(late["code"], -32006, "{late}");
}

#[test]
fn a_session_says_what_enforces_it() {
    let world = World::new("serve-mechanism");
    let mut talk = Talk::start(&world);
    talk.initialize();
    // Every second of the options after the setting.
    let options = world::landlock();
    let gaps: Vec<&str> = options.iter().skip(3).step_by(2).copied().collect();
    let settings = &options[1..2];
    for (asked, expected) in [
        (json!({}), "namespaces"),
        (json!({ "settings": settings, "allow_gaps": gaps }), "landlock"),
    ] {
        assert_eq!(talk.result("session/start", asked)["mechanism"], expected);
    }
}

#[test]
fn commands_share_files_processes_and_loopback_and_the_profile_holds() {
    let world = World::new("serve-share");
    world.file("kept", "outside\n");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let run = |talk: &mut Talk, script: &str| {
        let process = talk.spawn(&session, &["sh", "-c", script], json!({}));
        let code = talk.result("process/wait", json!({ "process": process }))["code"].clone();
        (code, talk.output(&process, "stdout"))
    };
    run(&mut talk, "echo shared >/tmp/private; sleep 300 & echo $! >/tmp/number");
    let (code, output) = run(&mut talk, "cat /tmp/private; kill -0 $(cat /tmp/number)");
    assert_eq!((code, output), (json!(0), String::from("shared\n")));
    let home = world.home();
    let (code, _) = run(&mut talk, &format!("echo x >{}/made", home.display()));
    assert_ne!(code, 0);
    assert!(!home.join("made").exists(), "the profile must hold in a session");
    run(&mut talk, "echo inside >made");
    assert_eq!(std::fs::read_to_string(world.path("made")).unwrap(), "inside\n");
    assert_eq!(std::fs::read_to_string(world.path("kept")).unwrap(), "outside\n");
}

#[test]
fn a_server_has_descriptors_for_many_commands_and_they_have_their_own_limit() {
    let world = World::new("serve-descriptors");
    let mut limited = world.command("sh");
    let script = "ulimit -Sn 100 && exec \"$0\" serve";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_pinfold")]);
    let mut talk = Talk::with(limited);
    talk.initialize();
    let session = talk.result("session/start", json!({ "denials": "writes" }));
    let session = session["session"].as_str().unwrap().to_owned();
    let waiting: Vec<String> = (0..60).map(|_| talk.spawn(&session, &["cat"], json!({}))).collect();
    let outside = world.home().join("made");
    let script = format!("ulimit -Sn; echo x >{}", outside.display());
    let process = talk.spawn(&session, &["sh", "-c", &script], json!({}));
    let ended = talk.result("process/wait", json!({ "process": process }));
    assert_eq!(ended["denials"][0]["target"], outside.to_str().unwrap(), "{ended}");
    assert_eq!(talk.output(&process, "stdout"), "100\n");
    for process in waiting {
        talk.result("process/close_stdin", json!({ "process": process }));
        assert_eq!(talk.result("process/wait", json!({ "process": process }))["code"], 0);
    }
}

#[test]
fn a_protected_name_that_a_session_makes_is_taken_away() {
    let world = World::new("serve-protected");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let script = "mkdir .vscode && sleep 1";
    let process = talk.spawn(&session, &["sh", "-c", script], json!({}));
    talk.result("process/wait", json!({ "process": process }));
    assert!(!world.path(".vscode").exists(), "what appeared must not stay");
}

#[test]
fn a_terminal_has_a_name_a_size_and_signals() {
    let world = World::new("serve-terminal");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let script = "trap 'stty size; exit 7' WINCH; tty; stty size; while :; do sleep 0.1; done";
    let size = json!({ "terminal": { "rows": 11, "columns": 77 } });
    let process = talk.spawn(&session, &["sh", "-c", script], size);
    talk.until_output(&process, "terminal", "11 77");
    let resize = json!({ "process": process, "rows": 12, "columns": 78 });
    talk.result("process/resize", resize);
    assert_eq!(talk.result("process/wait", json!({ "process": process }))["code"], 7);
    let output = talk.output(&process, "terminal");
    assert_eq!(output, "/dev/pts/0\r\n11 77\r\n12 78\r\n");
    // Ctrl-C, as a terminal makes it.
    let cat = talk.spawn(&session, &["cat"], json!({ "terminal": { "rows": 5, "columns": 5 } }));
    talk.result("process/write", json!({ "process": cat, "data": text("\u{3}") }));
    let ended = talk.result("process/wait", json!({ "process": cat }));
    assert_eq!(ended["status"], json!({ "signaled": 2 }));
}

#[test]
fn terminating_ends_the_whole_tree_and_kills_what_does_not_listen() {
    let world = World::new("serve-tree");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let script = "(trap '' TERM; while :; do sleep 1; done) & setsid sleep 1234 & echo on; wait";
    let process = talk.spawn(&session, &["sh", "-c", script], json!({}));
    talk.until_output(&process, "stdout", "on");
    talk.result("process/terminate", json!({ "process": process, "grace": 0.3 }));
    talk.result("process/wait", json!({ "process": process }));
    let list = talk.spawn(&session, &["sh", "-c", "ps ax -o args"], json!({}));
    talk.result("process/wait", json!({ "process": list }));
    let left = talk.output(&list, "stdout");
    assert!(!left.contains("sleep"), "{left}");
}

#[test]
fn a_descendant_that_has_left_its_parents_ends_with_its_command_and_no_other_does() {
    let world = World::new("serve-orphans");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    // Twice away: neither its session nor its parents say whose it was.
    let leave = |time: u32| format!("setsid sh -c 'setsid sleep {time} >/dev/null 2>&1 &' & wait");
    let first = talk.spawn(&session, &["sh", "-c", &leave(1235)], json!({}));
    let script = format!("{}; echo on; exec sleep 60", leave(1236));
    let second = talk.spawn(&session, &["sh", "-c", &script], json!({}));
    talk.result("process/wait", json!({ "process": first }));
    talk.until_output(&second, "stdout", "on");
    talk.result("process/terminate", json!({ "process": second, "grace": 1 }));
    let left = |talk: &mut Talk| {
        let list = talk.spawn(&session, &["sh", "-c", "ps ax -o args"], json!({}));
        talk.result("process/wait", json!({ "process": list }));
        talk.output(&list, "stdout")
    };
    let after = left(&mut talk);
    assert!(after.contains("sleep 1235") && !after.contains("sleep 1236"), "{after}");
    // A command that has ended itself can still be terminated.
    talk.result("process/terminate", json!({ "process": first, "grace": 1 }));
    let after = left(&mut talk);
    assert!(!after.contains("sleep 1235"), "{after}");
}

#[test]
fn output_that_descendants_hold_does_not_hold_the_end_up_for_ever() {
    let world = World::new("serve-drain");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let process = talk.spawn(&session, &["sh", "-c", "sleep 60 & echo done"], json!({}));
    let ended = talk.result("process/wait", json!({ "process": process }));
    assert_eq!(ended["code"], 0);
    assert_eq!(talk.output(&process, "stdout"), "done\n");
}

#[test]
fn nothing_is_lost_of_a_burst_that_is_read_late() {
    let world = World::new("serve-burst");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let script = "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2";
    let process = talk.spawn(&session, &["sh", "-c", script], json!({}));
    // The pipes to this client fill up meanwhile.
    std::thread::sleep(Duration::from_millis(300));
    talk.result("process/wait", json!({ "process": process }));
    assert_eq!(talk.output(&process, "stdout").len(), 20_000_000);
    assert_eq!(talk.output(&process, "stderr"), "end\n");
    let numbers = talk.numbers(&process);
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "a chunk is missing");
    // Only the newest are kept.
    let read = talk.result("process/read", json!({ "process": process, "after": 0 }));
    assert!(read["lost"].as_u64().unwrap() > 10_000_000, "{}", read["lost"]);
    assert_eq!(read["ended"]["code"], 0);
}

#[test]
fn files_are_reached_under_the_profile_of_the_session() {
    let world = World::new("serve-files");
    world.file("secret", "hidden\n");
    let mut talk = Talk::start(&world);
    talk.initialize();
    let started = talk.result("session/start", json!({ "deny": ["secret"] }));
    let session = started["session"].as_str().unwrap().to_owned();
    let write = |path: &str, how: &str| json!({ "session": session, "path": path, "data": text("bytes"), "how": how });
    assert_eq!(talk.result("file/write", write("new", "create"))["written"], 5);
    assert_eq!(talk.error("file/write", write("new", "create"))["code"], -32003);
    talk.result("file/write", write("new", "append"));
    let read = json!({ "session": session, "path": "new", "offset": 3, "length": 4 });
    let read = talk.result("file/read", read);
    assert_eq!(
        (&read["data"], &read["size"], &read["end"]),
        (&json!(text("esby")), &json!(10), &json!(false))
    );
    let outside = world.home().join("planted");
    let refused = talk.error("file/write", write(outside.to_str().unwrap(), "replace"));
    assert_eq!(refused["code"], -32003, "{refused}");
    assert!(!outside.exists());
    let secret = talk.send_and_wait("file/read", json!({ "session": session, "path": "secret" }));
    assert!(secret["result"]["data"].as_str().unwrap_or("").is_empty(), "{secret}");
    // A link does not lead out.
    std::fs::write(&outside, "kept").unwrap();
    std::os::unix::fs::symlink(&outside, world.path("link")).unwrap();
    assert_eq!(talk.error("file/write", write("link", "replace"))["code"], -32003);
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "kept");
    let list = talk.result("file/list", json!({ "session": session, "path": "." }));
    let names: Vec<&str> =
        list["entries"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["link", "new", "secret"]);
}

#[test]
fn what_cannot_be_run_says_why() {
    let world = World::new("serve-cannot");
    world.file("plain", "no program\n");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    for (command, code) in [(json!(["nonsuch"]), 127), (json!(["./plain"]), 126), (json!([]), 127)]
    {
        let asked = json!({ "session": session, "command": command });
        let error = talk.error("process/start", asked);
        assert_eq!((&error["code"], &error["data"]["code"]), (&json!(-32007), &json!(code)));
        assert!(error["data"]["hint"].is_string(), "{error}");
    }
    let wrong = talk.error("session/start", json!({ "profile": ":workspac" }));
    assert_eq!(wrong["code"], -32004, "{wrong}");
}

#[test]
fn bad_messages_are_answered_and_harm_nothing() {
    let world = World::new("serve-bad");
    let mut talk = Talk::start(&world);
    assert_eq!(talk.error("session/list", json!({}))["code"], -32002);
    assert_eq!(talk.error("initialize", json!({ "protocol": 9 }))["code"], -32002);
    talk.initialize();
    for (line, code) in [
        ("{", -32700),
        ("[]", -32600),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/list\"}]", -32600),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"session/list\"}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"session/list\"}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/list\",\"more\":1}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nonsuch\"}", -32601),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/start\",\"params\":{\"nam\":1}}",
            -32602,
        ),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/stop\",\"params\":[\"x\"]}", -32602),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"process/wait\",\"params\":{\"process\":\"p99\"}}",
            -32001,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"session/stop\",\"params\":{\"session\":\"x\"}}",
            -32001,
        ),
        ("\u{0}\u{1}", -32700),
    ] {
        let answer = talk.raw(line);
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    let session = talk.result("session/start", json!({ "name": "one" }))["session"].clone();
    assert_eq!(talk.error("session/start", json!({ "name": "one" }))["code"], -32600);
    for (method, parameters) in [
        ("process/write", json!({ "process": "p1", "data": "***" })),
        ("process/signal", json!({ "process": "p1", "signal": "NONSUCH" })),
        ("process/read", json!({ "process": "p1", "wait": -1.0 })),
        ("process/resize", json!({ "process": "p1", "rows": 1, "columns": 1 })),
        ("session/explain", json!({ "session": session, "thing": "" })),
        (
            "process/start",
            json!({ "session": session, "command": ["true"], "environment": { "A=B": "" } }),
        ),
    ] {
        talk.spawn_once(session.as_str().unwrap());
        let error = talk.error(method, parameters);
        assert!([-32602, -32001].contains(&error["code"].as_i64().unwrap()), "{method}: {error}");
    }
    // A notification gets no answer, and a line that is too long ends it all.
    talk.line("{\"jsonrpc\":\"2.0\",\"method\":\"session/list\"}");
    talk.result("session/list", json!({}));
    talk.line(&"x".repeat(8 * 1024 * 1024 + 2));
    // News of the commands above may still arrive on either side of it.
    assert_eq!(talk.answer()["error"]["code"], -32600);
    while let Some(note) = talk.next() {
        assert!(note.get("method").is_some(), "{note}");
    }
}

#[test]
fn a_killed_server_leaves_no_process() {
    let world = World::new("serve-killed");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let marker = format!("7{:05}", std::process::id());
    let process =
        talk.spawn(&session, &["sh", "-c", &format!("echo on; sleep {marker}")], json!({}));
    talk.until_output(&process, "stdout", "on");
    let running = || world.outside(&format!("pgrep -fc '^sleep {marker}' || true"));
    assert_eq!(running().trim(), "1");
    talk.kill();
    for _ in 0..100 {
        if running().trim() == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the command outlived its server");
}

#[test]
fn the_end_of_the_input_ends_the_server_and_every_session() {
    let world = World::new("serve-end");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk);
    let marker = format!("6{:05}", std::process::id());
    let script = format!("echo on; setsid sleep {marker}");
    let process = talk.spawn(&session, &["sh", "-c", &script], json!({}));
    talk.until_output(&process, "stdout", "on");
    assert_eq!(talk.end(), 0);
    assert_eq!(world.outside(&format!("pgrep -fc '^sleep {marker}' || true")).trim(), "0");
}

#[test]
fn a_lost_connection_is_taken_up_again_on_a_socket() {
    let world = World::new("serve-socket");
    let (mut server, socket) = Talk::listen(&world);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut first = Talk::connect(&socket);
    first.initialize();
    first.result("session/start", json!({ "name": "long" }));
    let script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.02; done";
    let process = first.spawn("long", &["sh", "-c", script], json!({}));
    first.until_output(&process, "stdout", "line 3\n");
    let seen = *first.numbers(&process).last().unwrap();
    let mut all = first.output(&process, "stdout");
    drop(first);
    std::thread::sleep(Duration::from_millis(200));
    let mut second = Talk::connect(&socket);
    second.initialize();
    let attached = second.result("session/attach", json!({ "session": "long" }));
    assert_eq!(attached["processes"][0]["process"], process.as_str());
    let again = second.result("process/attach", json!({ "process": process, "after": seen }));
    assert_eq!(again["lost"], 0);
    assert_eq!(second.result("process/wait", json!({ "process": process }))["code"], 0);
    all.push_str(&second.output(&process, "stdout"));
    let expected: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(all, expected);
    // Another server does not take the socket of this one.
    let other = world.pinfold(&["serve", "--socket", socket.to_str().unwrap()]);
    assert_eq!(other.status, 125, "{}", other.stderr);
    second.result("shutdown", json!({}));
    assert!(server.0.wait().unwrap().success());
    assert!(!socket.exists(), "the socket is left behind");
}

#[test]
fn clients_that_vanish_or_read_nothing_do_not_disturb_others() {
    let world = World::new("serve-vanish");
    let (mut server, socket) = Talk::listen(&world);
    for _ in 0..300 {
        drop(Talk::connect(&socket));
    }
    let mut deaf = Talk::connect(&socket);
    deaf.initialize();
    deaf.result("session/start", json!({ "name": "deaf" }));
    let ask = json!({ "session": "deaf", "command": ["yes"] });
    deaf.line(
        &json!({ "jsonrpc": "2.0", "id": 1, "method": "process/start", "params": ask }).to_string(),
    );
    std::thread::sleep(Duration::from_millis(300));
    let mut talk = Talk::connect(&socket);
    let session = start(&mut talk);
    let process = talk.spawn(&session, &["echo", "served"], json!({}));
    talk.result("process/wait", json!({ "process": process }));
    assert_eq!(talk.output(&process, "stdout"), "served\n");
    let resident =
        world.outside(&format!("grep VmRSS /proc/{}/status | tr -dc 0-9", server.0.id()));
    assert!(resident.trim().parse::<u64>().unwrap() < 64 * 1024, "{resident} KiB");
    drop(deaf);
    talk.result("session/stop", json!({ "session": "deaf" }));
    talk.result("shutdown", json!({}));
    server.0.wait().unwrap();
}

#[test]
fn many_sessions_share_what_the_kernel_has_few_of() {
    // More than fs.inotify.max_user_instances (128), and each looks after names that
    // do not exist and after a pattern.
    let world = World::new("serve-many-sessions");
    let mut talk = Talk::start(&world);
    talk.initialize();
    let mut sessions = Vec::new();
    for _ in 0..140 {
        let started = talk.result("session/start", json!({ "deny": ["**/*.pem"] }));
        sessions.push(started["session"].as_str().unwrap().to_owned());
    }
    let last = sessions.last().unwrap().clone();
    for session in &sessions[..139] {
        talk.result("session/stop", json!({ "session": session }));
    }
    // The one that is left is still looked after.
    let script = "mkdir .vscode deep; echo key >deep/a.pem; sleep 1; cat deep/a.pem";
    let process = talk.spawn(&last, &["sh", "-c", script], json!({}));
    let ended = talk.result("process/wait", json!({ "process": process }));
    assert_ne!(ended["code"], 0, "the pattern must hold");
    assert_eq!(talk.output(&process, "stdout"), "");
    talk.result("session/stop", json!({ "session": last }));
    assert!(!world.path(".vscode").exists());
}
