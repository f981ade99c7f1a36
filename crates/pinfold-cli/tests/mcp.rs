//! `pinfold mcp` as its clients see it, and what is left of it on the host.
#![allow(clippy::unwrap_used, clippy::panic)]

mod talk;
mod world;

use std::time::Duration;

use serde_json::{Value, json};
use talk::Talk;
use world::World;

/// A client that has been introduced.
fn client(world: &World, options: &[&str]) -> Talk {
    let mut talk = Talk::of(world, &[&["mcp"], options].concat());
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    let answer = talk.result("initialize", hello);
    assert_eq!(answer["serverInfo"]["name"], "pinfold", "{answer}");
    assert!(answer["instructions"].as_str().unwrap().contains("explain"), "{answer}");
    talk.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    talk
}

/// The answer of a tool.
fn answer(talk: &mut Talk, tool: &str, arguments: Value) -> Value {
    talk.result("tools/call", json!({ "name": tool, "arguments": arguments }))
}

/// What a tool answers that must not fail.
fn call(talk: &mut Talk, tool: &str, arguments: Value) -> Value {
    let answer = answer(talk, tool, arguments);
    assert_eq!(answer["isError"], false, "{tool}: {answer}");
    assert!(!answer["content"][0]["text"].as_str().unwrap().is_empty(), "{answer}");
    answer["structuredContent"].clone()
}

/// What a tool complains of.
fn complaint(talk: &mut Talk, tool: &str, arguments: Value) -> String {
    let answer = answer(talk, tool, arguments);
    assert_eq!(answer["isError"], true, "{tool}: {answer}");
    answer["content"][0]["text"].as_str().unwrap().to_owned()
}

fn output(answer: &Value) -> &str {
    answer["output"].as_str().unwrap()
}

/// Whether a process with this argument runs on the host.
fn runs(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().any(|entry| {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

/// Waits until a process with this argument runs, or does not.
fn until_runs(argument: &str, wanted: bool) {
    for _ in 0..3_000 {
        if runs(argument) == wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{argument}: running must become {wanted}");
}

/// A duration for `sleep` that no other process has.
fn marked(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

#[test]
fn tools_come_with_descriptions_and_schemas() {
    let world = World::new("mcp-list");
    let mut talk = client(&world, &[]);
    let listed = talk.result("tools/list", json!({}));
    let tools = listed["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let expected = ["run", "start", "write", "read", "stop", "signal", "resize", "list", "explain"];
    assert_eq!(names, expected);
    for tool in tools {
        assert!(tool["description"].as_str().unwrap().ends_with('.'), "{tool}");
        let schema = &tool["inputSchema"];
        assert_eq!(
            (&schema["type"], &schema["additionalProperties"]),
            (&json!("object"), &json!(false))
        );
        for name in schema["required"].as_array().unwrap() {
            assert!(schema["properties"][name.as_str().unwrap()].is_object(), "{tool}");
        }
        for (name, property) in schema["properties"].as_object().unwrap() {
            let described = property.get("description").is_some();
            assert!(described || matches!(&name[..], "rows" | "columns"), "{name} of {tool}");
        }
    }
    assert_eq!(tools[8]["annotations"]["readOnlyHint"], true);
}

#[test]
fn a_command_has_its_output_its_input_and_its_status_and_the_profile_holds() {
    let world = World::new("mcp-run");
    let mut talk = client(&world, &[]);
    let script = "exec 2>&1; echo out; echo err >&2; cat; echo $GIVEN; exit 3";
    let asked = json!({ "command": script, "input": "in\n", "environment": { "GIVEN": "x" } });
    let done = call(&mut talk, "run", asked);
    assert_eq!((output(&done), &done["exit_status"]), ("out\nerr\nin\nx\n", &json!(3)), "{done}");
    let killed = call(&mut talk, "run", json!({ "command": "kill -9 $$" }));
    assert_eq!((&killed["exit_status"], &killed["signal"]), (&json!(137), &json!(9)));
    // Arguments of a list are read by no shell.
    let words = call(&mut talk, "run", json!({ "command": ["echo", "$HOME;x"] }));
    assert_eq!(output(&words), "$HOME;x\n");
    let made = world.home().join("made");
    let refused = call(&mut talk, "run", json!({ "command": ["touch", made] }));
    assert_ne!(refused["exit_status"], 0);
    assert!(!made.exists(), "the profile must hold");
    call(&mut talk, "run", json!({ "command": "echo inside >made; echo kept >/tmp/kept" }));
    assert_eq!(std::fs::read_to_string(world.path("made")).unwrap(), "inside\n");
    let kept = call(&mut talk, "run", json!({ "command": "cat /tmp/kept" }));
    assert_eq!(output(&kept), "kept\n", "it must be the same session");
}

#[test]
fn what_is_denied_comes_with_the_option_that_allows_it() {
    let world = World::new("mcp-explain");
    let outside = world.home();
    let about = json!({ "about": outside });
    let mut talk = client(&world, &[]);
    let verdicts = call(&mut talk, "explain", about.clone())["verdicts"].clone();
    assert_eq!((&verdicts[0]["allowed"], &verdicts[1]["allowed"]), (&json!(true), &json!(false)));
    let option = verdicts[1]["to_allow"].as_str().unwrap().replace('"', "");
    assert_eq!(option, format!("--write {}", outside.display()));
    let host = call(&mut talk, "explain", json!({ "about": "https://a.example/x" }));
    assert_eq!(host["verdicts"][0]["to_allow"], "--net a.example", "{host}");
    let variable = call(&mut talk, "explain", json!({ "about": "MY_SECRET_TOKEN" }));
    assert_eq!(variable["verdicts"][0]["to_allow"], "--env \"MY_SECRET_TOKEN\"", "{variable}");
    assert_eq!(talk.end(), 0);
    // The same with that rule.
    let (option, path) = option.split_once(' ').unwrap();
    let mut talk = client(&world, &[option, path]);
    let done = call(&mut talk, "run", json!({ "command": ["touch", outside.join("made")] }));
    assert_eq!(done["exit_status"], 0, "{done}");
    assert!(outside.join("made").exists());
    let verdicts = call(&mut talk, "explain", about)["verdicts"].clone();
    assert_eq!((&verdicts[1]["allowed"], &verdicts[1]["to_allow"]), (&json!(true), &Value::Null));
}

#[test]
fn a_terminal_can_be_talked_to_resized_and_interrupted() {
    let world = World::new("mcp-terminal");
    let mut talk = client(&world, &[]);
    let started = call(
        &mut talk,
        "start",
        json!({
            "command": ["sh", "-i"], "terminal": { "rows": 11, "columns": 77 },
            "environment": { "PS1": "ready> " }, "wait_seconds": 60, "until": "ready> ",
        }),
    );
    assert_eq!((&started["found"], &started["running"]), (&json!(true), &json!(true)), "{started}");
    let process = started["process"].as_str().unwrap();
    let size = json!({ "process": process, "rows": 12, "columns": 78 });
    call(&mut talk, "resize", size);
    let asked = json!({
        "process": process, "text": "stty size; echo $((6*7))\n", "wait_seconds": 60, "until": "42\r\nready> ",
    });
    let answered = call(&mut talk, "write", asked);
    assert!(output(&answered).contains("12 78\r\n42"), "{answered}");
    // Nothing is shown twice.
    let nothing = call(&mut talk, "read", json!({ "process": process }));
    assert_eq!(output(&nothing), "", "{nothing}");
    let again = call(&mut talk, "read", json!({ "process": process, "after": 0 }));
    assert!(output(&again).contains("42"), "{again}");
    let sleep = format!("sleep {}\n", marked(4301));
    call(&mut talk, "write", json!({ "process": process, "text": sleep, "wait_seconds": 0 }));
    until_runs(&marked(4301), true);
    call(&mut talk, "write", json!({ "process": process, "text": "\u{3}", "wait_seconds": 0 }));
    until_runs(&marked(4301), false);
    let end =
        json!({ "process": process, "text": "exit 5\n", "wait_seconds": 60, "until": "never" });
    let ended = call(&mut talk, "write", end);
    assert_eq!((&ended["running"], &ended["exit_status"]), (&json!(false), &json!(5)), "{ended}");
}

#[test]
fn a_process_is_listed_signalled_and_stopped_with_all_it_started() {
    let world = World::new("mcp-stop");
    let mut talk = client(&world, &[]);
    let (child, alone) = (marked(4302), marked(4303));
    let script = format!("setsid sleep {child} & sleep {alone}");
    let started = call(&mut talk, "start", json!({ "command": script, "wait_seconds": 0 }));
    until_runs(&child, true);
    let process = started["process"].clone();
    let listed = call(&mut talk, "list", json!({}));
    assert_eq!(listed["processes"], json!([{ "process": process }]), "{listed}");
    let stop = json!({ "process": process, "grace_seconds": 0 });
    assert_eq!(call(&mut talk, "stop", stop)["running"], false);
    until_runs(&child, false);
    until_runs(&alone, false);
    let cat = call(&mut talk, "start", json!({ "command": ["cat"], "wait_seconds": 0 }));
    let cat = &cat["process"];
    call(&mut talk, "signal", json!({ "process": cat, "signal": "TERM" }));
    let ended = call(&mut talk, "read", json!({ "process": cat, "wait_seconds": 60 }));
    assert_eq!((&ended["running"], &ended["signal"]), (&json!(false), &json!(15)), "{ended}");
    let echo = call(&mut talk, "start", json!({ "command": ["cat"], "wait_seconds": 0 }));
    let echo = &echo["process"];
    let all =
        json!({ "process": echo, "text": "all", "close": true, "wait_seconds": 60, "until": "-" });
    let ended = call(&mut talk, "write", all);
    assert_eq!((output(&ended), &ended["exit_status"]), ("all", &json!(0)), "{ended}");
}

#[test]
fn output_is_bounded_and_says_what_is_missing() {
    let world = World::new("mcp-bounded");
    let mut talk = client(&world, &[]);
    let flood = "echo first; head -c 500000 /dev/zero | tr '\\0' x; echo last";
    let done = call(&mut talk, "run", json!({ "command": flood, "max_output_bytes": 1000 }));
    let text = output(&done);
    assert!(text.len() < 1200 && text.starts_with("first\n") && text.ends_with("last\n"), "{text}");
    assert!(text.contains("\n[499011 bytes left out here]\n"), "{text}");
    assert_eq!(done["left_out_bytes"], 499_011);
    // More than is kept at all.
    let flood = "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo last";
    let done = call(&mut talk, "run", json!({ "command": flood }));
    let text = output(&done);
    assert!(text.starts_with('[') && text.ends_with("last\n") && text.len() < 40_000);
    assert!(text.contains("bytes of earlier output are no longer kept]"));
}

#[test]
fn a_run_that_takes_too_long_is_stopped_or_kept() {
    let world = World::new("mcp-timeout");
    let mut talk = client(&world, &[]);
    let (child, alone) = (marked(4304), marked(4305));
    let script = format!("echo begun; sleep {child} & sleep {alone}");
    let asked = json!({ "command": script, "timeout_seconds": 1 });
    let done = call(&mut talk, "run", asked);
    assert_eq!((&done["timed_out"], &done["signal"]), (&json!(true), &json!(15)), "{done}");
    until_runs(&child, false);
    until_runs(&alone, false);
    let asked =
        json!({ "command": "read x; echo got", "timeout_seconds": 0, "on_timeout": "keep" });
    let done = call(&mut talk, "run", asked);
    // Its input was empty. It may have come this far when the call returns.
    let mut told = output(&done).to_owned();
    if !told.contains("got") {
        let wait = json!({ "process": done["process"], "wait_seconds": 60, "until": "got" });
        told += output(&call(&mut talk, "read", wait));
    }
    assert_eq!(told, "got\n");
}

#[test]
fn mistakes_are_errors_of_the_tool_with_a_remedy() {
    let world = World::new("mcp-mistakes");
    let mut talk = client(&world, &[]);
    let cases = [
        ("run", json!({}), "command"),
        ("run", json!({ "command": 5 }), "a string or a list of strings"),
        ("run", json!({ "command": "true", "timeout": 5 }), "timeout_seconds"),
        ("run", json!({ "command": "true", "timeout_seconds": -1 }), "0 to 3600"),
        ("run", json!({ "command": ["nonsuch"] }), "nonsuch"),
        ("run", json!({ "command": "true", "directory": "nonsuch" }), "nonsuch"),
        ("run", json!({ "command": "true", "environment": { "A=B": "" } }), "A=B"),
        ("read", json!({ "process": "p99" }), "\"list\""),
        ("signal", json!({ "process": "p99", "signal": "BOO" }), "TERM"),
        ("explain", json!({ "about": "" }), "it is empty"),
        ("fly", json!({}), "explain"),
    ];
    for (tool, arguments, expected) in cases {
        let text = complaint(&mut talk, tool, arguments.clone());
        assert!(
            text.starts_with("error: ") && text.contains(expected),
            "{tool} {arguments}: {text}"
        );
    }
    // The client goes on, and after what is no message as well.
    talk.line("{");
    talk.line("");
    assert_eq!(output(&call(&mut talk, "run", json!({ "command": "echo on" }))), "on\n");
}

#[test]
fn a_wrong_profile_is_told_by_every_tool_and_the_options_are_checked() {
    let world = World::new("mcp-profile");
    let mut talk = client(&world, &["-p", "nonsuch"]);
    let text = complaint(&mut talk, "run", json!({ "command": "true" }));
    assert!(text.contains("nonsuch"), "{text}");
    let output = world.pinfold(&["mcp", "--socket", "x"]);
    assert_eq!(output.status, 2, "{}", output.stderr);
    let output = world.pinfold(&["mcp"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, ""), "{}", output.stderr);
}

#[test]
fn a_session_that_a_limit_ended_is_replaced() {
    let world = World::new("mcp-limit");
    let mut talk = client(
        &world,
        &[
            "-c",
            "permissions.x.extends=\":workspace\"",
            "-c",
            "permissions.x.limits.wall_time=\"5s\"",
            "-p",
            "x",
        ],
    );
    let asked = json!({ "command": format!("sleep {}", marked(4306)), "timeout_seconds": 600 });
    let done = call(&mut talk, "run", asked);
    assert_eq!(done["signal"], 9, "{done}");
    assert_eq!(output(&call(&mut talk, "run", json!({ "command": "echo on" }))), "on\n");
}

#[test]
fn nothing_is_left_when_the_input_ends() {
    let world = World::new("mcp-end");
    let mut talk = client(&world, &[]);
    let background = marked(4307);
    let script = format!("sleep {background} >/dev/null 2>&1 &");
    call(&mut talk, "run", json!({ "command": script }));
    until_runs(&background, true);
    // A call is still waited for.
    let waited = marked(4308);
    let asked = json!({ "name": "run", "arguments": { "command": ["sleep", waited], "timeout_seconds": 3000 } });
    talk.line(
        &json!({ "jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": asked })
            .to_string(),
    );
    until_runs(&waited, true);
    assert_eq!(talk.end(), 0);
    assert!(!runs(&background) && !runs(&waited), "everything must have ended with the server");
}

#[test]
fn nothing_is_left_of_a_server_that_is_killed() {
    let world = World::new("mcp-kill");
    let mut talk = client(&world, &[]);
    let background = marked(4309);
    call(&mut talk, "start", json!({ "command": ["sleep", background], "wait_seconds": 0 }));
    until_runs(&background, true);
    talk.kill();
    until_runs(&background, false);
}

#[test]
fn a_cancelled_call_ends_its_command() {
    let world = World::new("mcp-cancel");
    let mut talk = client(&world, &[]);
    let waited = marked(4310);
    let asked = json!({ "name": "run", "arguments": { "command": ["sleep", waited], "timeout_seconds": 3000 } });
    talk.line(
        &json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": asked })
            .to_string(),
    );
    until_runs(&waited, true);
    let cancelled = json!({ "requestId": "c", "reason": "enough" });
    talk.line(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled })
            .to_string(),
    );
    until_runs(&waited, false);
    assert_eq!(output(&call(&mut talk, "run", json!({ "command": "echo on" }))), "on\n");
}

#[test]
fn what_the_sandbox_refuses_is_told_with_the_run_that_met_it() {
    let world = World::new("mcp-denials");
    let home = world.home();
    let mut talk = client(&world, &[]);
    let fine = call(&mut talk, "run", json!({ "command": "echo x >fine" }));
    assert!(fine.get("denials").is_none(), "{fine}");
    let told = answer(&mut talk, "run", json!({ "command": "mkdir ~/made" }));
    let option = format!("to allow: --write \"{}\"", home.display());
    let text = told["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("[denied create ") && text.contains(&option), "{told}");
    let denials = &told["structuredContent"]["denials"];
    assert_eq!(denials[0]["target"], home.join("made").to_str().unwrap(), "{told}");
    let all = answer(&mut talk, "explain", json!({}));
    assert!(all["content"][0]["text"].as_str().unwrap().contains(&option), "{all}");
    assert!(!home.join("made").exists());
    let mut quiet = client(&world, &["--log-denials=off"]);
    let told = call(&mut quiet, "run", json!({ "command": "mkdir ~/made" }));
    assert!(told.get("denials").is_none(), "{told}");
}
