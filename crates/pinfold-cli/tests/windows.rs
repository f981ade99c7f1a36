//! `pinfold run` on Windows. The program is its own command, and holds its own tests, so
//! that a machine needs nothing else; elsewhere it says that it does nothing.
//!
//! Under Wine this shows that commands are started, connected, bounded and ended. Wine
//! does not heed the restrictions of a token, so nothing here says what they hold.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::zombie_processes)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Which part the program plays as a command.
const PART: &str = "PINFOLD_PART";

/// What is allowed where nothing is prepared.
const GAPS: [&str; 4] = ["missing-path", "deny-read", "network", "world-writable"];

fn act(part: &str, arguments: &[String]) -> i32 {
    match part {
        "echo" => {
            let mut input = String::new();
            std::io::stdin().read_to_string(&mut input).unwrap();
            print!("{input}");
            eprint!("{}", input.to_uppercase());
            7
        }
        "arguments" => {
            print!("{}", arguments.join("\n"));
            0
        }
        "variable" => {
            print!("{}", std::env::var("GIVEN").unwrap_or_default());
            0
        }
        "terminal" => 3,
        // Counts into a file until it is ended.
        "count" => {
            let mut file = File::create(&arguments[0]).unwrap();
            loop {
                let _ = file.write_all(b"x");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Leaves one that counts behind, and ends or waits.
        "leave" => {
            let counter = Path::new(&arguments[0]);
            let mut command = Command::new(std::env::current_exe().unwrap());
            let command = command.arg(counter).env(PART, "count").stdout(Stdio::null());
            match command.spawn() {
                Err(_) => return 5,
                Ok(_) => until(|| length(counter) > 2),
            }
            if arguments.len() > 1 {
                std::thread::sleep(Duration::from_secs(60));
            }
            0
        }
        _ => 9,
    }
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |found| found.len())
}

fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(holds(), "it took too long");
}

/// A directory of a test's own, removed afterwards.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Work {
    fn new(name: &str) -> Work {
        let path = std::env::temp_dir().join(format!("pinfold-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Work(path)
    }

    /// Runs a part of this program under pinfold.
    fn run(&self, options: &[&str], part: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(pinfold());
        command.arg("run").args(options).arg("--").arg(std::env::current_exe().unwrap());
        command.args(arguments).env(PART, part).current_dir(&self.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Whether nothing counts into a file any more.
    fn is_still(&self, name: &str) -> bool {
        let file = self.0.join(name);
        let before = length(&file);
        std::thread::sleep(Duration::from_millis(500));
        length(&file) == before
    }
}

/// The program beside this one, where `cargo` puts it.
fn pinfold() -> PathBuf {
    std::env::var_os("PINFOLD_PROGRAM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pinfold")), PathBuf::from)
}

const OPEN: [&str; 2] = ["-p", ":danger-full-access"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn confined(more: &[&'static str]) -> Vec<&'static str> {
    let gaps = GAPS.iter().flat_map(|gap| ["--allow-gap", *gap]);
    ["-q"].into_iter().chain(gaps).chain(more.iter().copied()).collect()
}

fn streams_and_status_are_those_of_the_command() {
    let work = Work::new("streams");
    for options in [OPEN.to_vec(), confined(&["-p", ":read-only"])] {
        let output = work.run(&options, "echo", &[], "input\n");
        assert_eq!(output.status.code(), Some(7), "{options:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "input\n");
        assert_eq!(text(&output.stderr), "INPUT\n");
    }
}

fn arguments_arrive_as_they_were_given() {
    let work = Work::new("arguments");
    let arguments = [
        "",
        "a b",
        "\"quoted\"",
        "back\\",
        "two\\\\",
        "\\\"",
        "tab\there",
        "caf\u{e9} \u{1f600}",
        "%PATH%",
        "a&b|c^d",
    ];
    let output = work.run(&OPEN, "arguments", &arguments, "");
    assert_eq!(text(&output.stdout), arguments.join("\n"), "{}", text(&output.stderr));
}

fn variables_are_those_of_the_profile() {
    let work = Work::new("variables");
    let options = [&OPEN[..], &["--env", "GIVEN=caf\u{e9} = x"]].concat();
    assert_eq!(text(&work.run(&options, "variable", &[], "").stdout), "caf\u{e9} = x");
}

fn what_a_command_leaves_behind_ends_with_it() {
    let work = Work::new("behind");
    for options in [OPEN.to_vec(), confined(&["-p", ":read-only"])] {
        let output = work.run(&options, "leave", &["counter"], "");
        assert_eq!(output.status.code(), Some(0), "{options:?}: {}", text(&output.stderr));
        assert!(length(&work.0.join("counter")) > 0);
        assert!(work.is_still("counter"), "{options:?}: its descendant goes on");
        fs::remove_file(work.0.join("counter")).unwrap();
    }
}

fn the_time_limit_ends_everything() {
    let work = Work::new("time");
    let options = [&OPEN[..], &["--timeout", "3s"]].concat();
    let began = Instant::now();
    let output = work.run(&options, "leave", &["counter", "and wait"], "");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    assert!(began.elapsed() < Duration::from_secs(50));
    assert!(work.is_still("counter"), "its descendant goes on");
}

fn everything_ends_when_pinfold_is_killed() {
    let work = Work::new("killed");
    let mut command = Command::new(pinfold());
    command.arg("run").args(OPEN).arg("--").arg(std::env::current_exe().unwrap());
    command.args(["counter", "and wait"]).env(PART, "leave").current_dir(&work.0);
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    until(|| length(&work.0.join("counter")) > 2);
    child.kill().unwrap();
    child.wait().unwrap();
    until(|| work.is_still("counter"));
}

fn what_cannot_be_started_says_so_and_nothing_runs() {
    let work = Work::new("errors");
    fs::write(work.0.join("batch.bat"), "echo ran >ran\r\n").unwrap();
    fs::write(work.0.join("text.exe"), "no program").unwrap();
    let cannot = |program: &str, status: i32| {
        let mut command = Command::new(pinfold());
        let command = command.arg("run").args(OPEN).args(["--", program]).current_dir(&work.0);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{program}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("hint: "), "{program}: {}", text(&output.stderr));
    };
    cannot("no-such-program", 127);
    cannot(".\\batch.bat", 126);
    cannot(".\\text.exe", 126);
    assert!(!work.0.join("ran").exists());
    // Where a profile writes, the entries for it must have been made before.
    let writes = "permissions.w={extends=\":read-only\",filesystem={\":workspace_roots\"={\".\"=\"write\"}}}";
    let output = work.run(&confined(&["-c", writes, "-p", "w"]), "echo", &[], "");
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("has no entry"), "{}", text(&output.stderr));
}

/// Wine keeps no entry for a capability, so what is written for one is not there
/// afterwards, and `setup` has to find that out.
fn set_up_checks_what_it_has_done_and_takes_it_away() {
    let work = Work::new("setup");
    let local = work.0.join("local");
    let setup = |more: &[&str], status: i32, expected: &str| {
        let mut command = Command::new(pinfold());
        let command = command.arg("setup").args(more).current_dir(&work.0);
        let output = command.env("LOCALAPPDATA", &local).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{more:?}: {said}");
        assert!(said.contains(expected), "{more:?}: {said}");
    };
    let record = || fs::read_to_string(local.join("pinfold").join("entries"));
    setup(&["--check"], 1, "missing: ");
    assert!(record().is_err(), "looking changes nothing");
    setup(&["-p", ":read-only", "--check"], 0, "is prepared");
    setup(&["--json", "report.json"], 125, "failed (entry-add)");
    let report = fs::read_to_string(work.0.join("report.json")).unwrap();
    assert!(report.contains("\"failed\":\"entry-add\""), "{report}");
    // It was noted before it was written.
    assert!(
        record().unwrap().contains("allow tree 1301bf S-1-15-3-1024-"),
        "{record:?}",
        record = record()
    );
    setup(&["--remove"], 0, "nothing that pinfold prepared is left");
    assert_eq!(record().unwrap(), "");
    // What is gone has no entries, and the configuration has no say in it.
    let gone = format!("allow tree 1301bf S-1-15-3-1024-1 {}\n", work.0.join("gone").display());
    fs::write(local.join("pinfold").join("entries"), gone).unwrap();
    setup(&["-c", "nonsense.key=1", "--remove"], 0, "taken away: ");
    assert_eq!(record().unwrap(), "");
    fs::write(local.join("pinfold").join("entries"), "give x\n").unwrap();
    setup(&["--remove"], 125, "none of pinfold's");
}

/// Wine says that it has made an account, and knows none of that name afterwards: commands do
/// not run as accounts then, and what was made is taken away.
fn accounts_that_are_not_there_are_not_used() {
    let work = Work::new("accounts");
    let local = work.0.join("local");
    let said = |arguments: &[&str], status: i32| {
        let mut command = Command::new(pinfold());
        let command = command.args(arguments).current_dir(&work.0).env("LOCALAPPDATA", &local);
        let output = command.output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        said
    };
    let only = ["setup", "-p", ":read-only", "--accounts"];
    let missing = said(&[&only[..], &["--check"]].concat(), 1);
    for step in ["group", "user PinfoldOffline", "filter PinfoldProxy permit 41830"] {
        assert!(missing.contains(&format!("missing: {step}\n")), "{missing}");
    }
    let made = said(&[&only[..], &["--json", "report.json"]].concat(), 125);
    assert!(made.contains("prepared: password PinfoldOffline\n"), "{made}");
    assert!(made.contains("failed (member-add): member PinfoldProxy: "), "{made}");
    let report = fs::read_to_string(work.0.join("report.json")).unwrap();
    assert!(report.contains("\"failed\":\"filter-add\""), "{report}");
    assert!(said(&["doctor"], 0).contains("not prepared"));
    let demanded = said(&["run", "-c", "windows.level=\"account\"", "cmd"], 125);
    assert!(demanded.contains("accounts are not prepared"), "{demanded}");
    let removed = said(&["setup", "--remove"], 0);
    assert!(removed.contains("taken away: password PinfoldOffline\n"), "{removed}");
    assert!(!said(&["setup", "--remove"], 0).contains("taken away"));
}

/// A server of sessions, over its standard streams.
struct Server {
    child: Child,
    answers: BufReader<ChildStdout>,
    last: u64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(work: &Work) -> Server {
        let mut command = Command::new(pinfold());
        command.arg("serve").current_dir(&work.0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut server = Server { child, answers, last: 0 };
        server.ask("initialize", &json!({ "protocol": 1 }));
        server
    }

    /// The result of a request; what is told meanwhile is left out.
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": parameters });
        writeln!(self.child.stdin.as_ref().unwrap(), "{request}").unwrap();
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "{method}: the server is gone");
            let answer: Value = serde_json::from_str(&line).unwrap();
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// A session, confined or not.
    fn session(&mut self, profile: &str) -> Value {
        self.ask("session/start", &json!({ "profile": profile, "allow_gaps": GAPS }))["session"]
            .clone()
    }

    /// Starts a part of this program.
    fn part(&mut self, session: &Value, part: &str, arguments: &[&str]) -> Value {
        let program = std::env::current_exe().unwrap();
        let command = [&[program.to_str().unwrap()], arguments].concat();
        let asked =
            json!({ "session": session, "command": command, "environment": { PART: part } });
        self.ask("process/start", &asked)["process"].clone()
    }
}

fn sessions_connect_their_commands_and_tell_of_their_ends() {
    let work = Work::new("session");
    let mut server = Server::start(&work);
    for profile in [":danger-full-access", ":read-only"] {
        let session = server.session(profile);
        for _ in 0..3 {
            let process = server.part(&session, "echo", &[]);
            // "hi" and a line feed.
            server.ask("process/write", &json!({ "process": process, "data": "aGkK" }));
            server.ask("process/close_stdin", &json!({ "process": process }));
            let ended = server.ask("process/wait", &json!({ "process": process }));
            assert_eq!(ended["code"], 7, "{profile}: {ended}");
            let read = server.ask("process/read", &json!({ "process": process, "wait": 10 }));
            let said = |stream: &str| {
                let chunks = read["chunks"].as_array().unwrap().iter();
                let of_stream = chunks.filter(|chunk| chunk["stream"] == stream);
                of_stream.map(|chunk| chunk["data"].as_str().unwrap()).collect::<String>()
            };
            assert_eq!((&*said("stdout"), &*said("stderr")), ("aGkK", "SEkK"), "{profile}: {read}");
        }
        server.ask("session/stop", &json!({ "session": session }));
    }
}

/// `pinfold session`, with a server on a named pipe that starts with the first session and ends
/// after the last.
fn named_sessions_are_found_again_and_end() {
    let work = Work::new("named");
    let local = work.0.join("local");
    let session = |arguments: &[&str], input: &str, part: &str| {
        let mut command = Command::new(pinfold());
        command.arg("session").args(arguments).current_dir(&work.0).env("LOCALAPPDATA", &local);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.env(PART, part).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let nothing = session(&["exec", "one", "x"], "", "");
    assert!(nothing.0 == Some(125) && nothing.2.contains("there is no session"), "{nothing:?}");
    let open = ["-p", ":danger-full-access"];
    // The variables of the start are those of its commands.
    let started = session(&[&["start"], &open[..], &["one"]].concat(), "", "echo");
    assert_eq!((started.0, started.1.trim()), (Some(0), "one"), "{started:?}");
    session(&[&["start"], &open[..], &["two"]].concat(), "", "arguments");
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    for input in [String::from("in\n"), "long ".repeat(100_000)] {
        let said = session(&["exec", "one", program], &input, "");
        assert_eq!((said.0, &said.1), (Some(7), &input), "{}", said.2);
        assert_eq!(said.2, input.to_uppercase());
    }
    let said = session(&["exec", "two", program, "a b", "\"c\""], "", "");
    assert_eq!((said.0, &*said.1), (Some(0), "a b\n\"c\""), "{}", said.2);
    let listed = session(&["list"], "", "").1;
    assert!(listed.contains("one\t:danger-full-access\t") && listed.contains("two\t"), "{listed}");
    for name in ["one", "two"] {
        assert_eq!(session(&["stop", name], "", "").0, Some(0));
    }
    assert_eq!(session(&["list"], "", "").1, "");
    until(|| session(&["exec", "one", "x"], "", "").2.contains("there is no session"));
}

/// Files are read and written by a process inside.
fn files_of_a_session_are_read_and_written() {
    let work = Work::new("files");
    let mut server = Server::start(&work);
    let session = server.session(":danger-full-access");
    let path = work.0.join("made").to_str().unwrap().to_owned();
    server.ask("file/write", &json!({ "session": session, "path": path, "data": "aGkK" }));
    assert_eq!(fs::read_to_string(&path).unwrap(), "hi\n");
    let read = server.ask("file/read", &json!({ "session": session, "path": path }));
    assert_eq!(read["data"], "aGkK", "{read}");
    let listed = server.ask("file/list", &json!({ "session": session, "path": work.0 }));
    assert_eq!(listed["entries"][0]["name"], "made", "{listed}");
}

/// Wine leaves the ends of a program closed that is to have them from its pseudo-console, so
/// what is typed and shown is not seen there: only that such a program is started and ends.
fn commands_with_terminals_are_started() {
    let work = Work::new("terminal");
    let mut server = Server::start(&work);
    for profile in [":danger-full-access", ":read-only"] {
        let session = server.session(profile);
        let command = [std::env::current_exe().unwrap()];
        let asked = json!({ "session": session, "command": command,
            "environment": { PART: "terminal" }, "terminal": { "rows": 20, "columns": 60 } });
        let process = server.ask("process/start", &asked)["process"].clone();
        let ended = server.ask("process/wait", &json!({ "process": process }));
        assert_eq!(ended["code"], 3, "{profile}: {ended}");
        let read = server.ask("process/read", &json!({ "process": process, "wait": 10 }));
        assert!(read["ended"].is_object(), "what it shows has no end: {read}");
        server.ask("session/stop", &json!({ "session": session }));
    }
}

fn sessions_end_with_everything_in_them() {
    let work = Work::new("ends");
    let mut server = Server::start(&work);
    let session = server.session(":danger-full-access");
    let counts = |name: &str| length(&work.0.join(name)) > 2;
    // One command, with its descendant, and not the others.
    let one = server.part(&session, "leave", &["one", "and wait"]);
    server.part(&session, "leave", &["two", "and wait"]);
    until(|| counts("one") && counts("two"));
    server.ask("process/terminate", &json!({ "process": one, "grace": 0 }));
    assert!(work.is_still("one") && !work.is_still("two"));
    server.ask("session/stop", &json!({ "session": session }));
    assert!(work.is_still("two"));
    let session = server.session(":danger-full-access");
    server.part(&session, "leave", &["three", "and wait"]);
    until(|| counts("three"));
    drop(server);
    until(|| work.is_still("three"));
}

const TESTS: [(&str, fn()); 14] = [
    ("named sessions are found again", named_sessions_are_found_again_and_end),
    ("files of a session are read and written", files_of_a_session_are_read_and_written),
    ("commands with terminals are started", commands_with_terminals_are_started),
    ("sessions connect their commands", sessions_connect_their_commands_and_tell_of_their_ends),
    ("sessions end with everything in them", sessions_end_with_everything_in_them),
    ("streams and status are those of the command", streams_and_status_are_those_of_the_command),
    ("arguments arrive as they were given", arguments_arrive_as_they_were_given),
    ("variables are those of the profile", variables_are_those_of_the_profile),
    ("what a command leaves behind ends with it", what_a_command_leaves_behind_ends_with_it),
    ("the time limit ends everything", the_time_limit_ends_everything),
    ("everything ends when pinfold is killed", everything_ends_when_pinfold_is_killed),
    ("set-up checks what it has done", set_up_checks_what_it_has_done_and_takes_it_away),
    ("accounts that are not there are not used", accounts_that_are_not_there_are_not_used),
    ("what cannot be started says so", what_cannot_be_started_says_so_and_nothing_runs),
];

fn main() -> ExitCode {
    if let Ok(part) = std::env::var(PART) {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        std::process::exit(act(&part, &arguments));
    }
    if std::env::consts::OS != "windows" {
        println!("{} tests ignored: they hold on Windows, and run under Wine", TESTS.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    for (name, test) in TESTS {
        let held = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if held { "ok" } else { "FAILED" });
        failed |= !held;
    }
    ExitCode::from(u8::from(failed))
}
