//! Refused connections in the list of denials, and denials in sessions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod talk;
mod world;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use serde_json::{Value, json};
use talk::Talk;
use world::World;

/// Runs a script with a report; the targets that were refused, and what would allow
/// each.
fn refused(world: &World, options: &[&str], script: &str) -> Vec<(String, String)> {
    let document = world.home().join("outcome.json");
    let mut arguments = vec!["run", "-q", "--json", document.to_str().unwrap()];
    arguments.extend(options);
    arguments.extend(["--", "python3", "-c", script]);
    let output = world.pinfold(&arguments);
    assert_eq!(output.status, 0, "{}", output.stderr);
    let text = std::fs::read_to_string(&document).unwrap();
    let outcome: Value = serde_json::from_str(&text).unwrap();
    let list = outcome["denials"].as_array().unwrap_or_else(|| panic!("{outcome}")).clone();
    let connections = list.iter().filter(|denial| denial["attempted"] == "connect");
    connections
        .map(|denial| {
            let allow = &denial["allow"];
            let option = allow["option"].as_str().map_or(String::new(), |option| {
                format!("--{option} {}", allow["value"].as_str().unwrap())
            });
            (denial["target"].as_str().unwrap().to_owned(), option)
        })
        .collect()
}

fn pair(target: &str, option: &str) -> (String, String) {
    (target.to_owned(), option.to_owned())
}

/// Connects to an address, which may fail.
fn connect(kind: &str, address: &str) -> String {
    format!(
        "import socket\ns = socket.socket(socket.{kind})\ns.settimeout(5)\n\
         try: s.connect({address})\nexcept OSError: pass\n"
    )
}

/// A listener that counts its connections.
fn counted(listener: UnixListener) -> Arc<AtomicU32> {
    let seen = Arc::new(AtomicU32::new(0));
    let counter = seen.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for _stream in listener.incoming().flatten() {
            counter.fetch_add(1, SeqCst);
        }
    });
    seen
}

#[test]
fn a_hidden_socket_of_the_host_is_told_and_the_option_opens_it() {
    let world = World::new("refused-sockets");
    let path = world.home().join("service");
    let seen = counted(UnixListener::bind(&path).unwrap());
    let path = path.to_str().unwrap();
    let script = connect("AF_UNIX, socket.SOCK_STREAM", &format!("\"{path}\""));
    let told = refused(&world, &["--log-denials"], &script);
    assert_eq!(told, [pair(path, &format!("--allow-unix-socket {path}"))]);
    assert_eq!(seen.load(SeqCst), 0);
    let told = refused(&world, &["--log-denials", "--allow-unix-socket", path], &script);
    assert_eq!(told, []);
    for _ in 0..500 {
        if seen.load(SeqCst) == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(seen.load(SeqCst), 1, "the rule must open it");
    // One of its own, and none at all, are no matter of the sandbox.
    let own = "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind(\"own\")\ns.listen()\n\
               socket.socket(socket.AF_UNIX).connect(\"own\")\n";
    assert_eq!(refused(&world, &["--log-denials"], own), []);
    let none = connect("AF_UNIX, socket.SOCK_STREAM", "\"/var/tmp/no-such-socket\"");
    assert_eq!(refused(&world, &["--log-denials"], &none), []);
}

#[test]
fn services_that_come_and_go_disturb_no_run() {
    let world = World::new("refused-come-and-go");
    let base = world.home();
    let over = Arc::new(AtomicU32::new(0));
    let seen = over.clone();
    let services = std::thread::spawn(move || {
        while seen.load(SeqCst) == 0 {
            let sockets: Vec<_> = (0..40).map(|number| base.join(format!("s{number}"))).collect();
            let bound: Vec<_> = sockets.iter().map(UnixListener::bind).collect();
            sockets.iter().for_each(|path| drop(std::fs::remove_file(path)));
            drop(bound);
        }
    });
    for _ in 0..150 {
        let output = world.pinfold(&["run", "--", "true"]);
        assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    }
    over.store(1, SeqCst);
    services.join().unwrap();
}

#[test]
fn sockets_without_a_path_are_told_when_the_host_has_them() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let world = World::new("refused-abstract");
    let name = format!("pinfold-refused-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let script = |name: &str| connect("AF_UNIX, socket.SOCK_STREAM", &format!("\"\\0{name}\""));
    let told = refused(&world, &["--log-denials"], &script(&name));
    assert_eq!(told, [pair(&format!("@{name}"), "")]);
    assert_eq!(refused(&world, &["--log-denials"], &script("pinfold-missing")), []);
}

#[test]
fn addresses_are_told_when_the_network_is_off() {
    let world = World::new("refused-off");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let local = format!("127.0.0.1:{port}");
    for (kind, address, expected) in [
        ("AF_INET", "(\"192.0.2.1\", 443)", vec![pair("192.0.2.1:443", "--net 192.0.2.1:443")]),
        (
            "AF_INET6",
            "(\"2001:db8::1\", 80)",
            vec![pair("[2001:db8::1]:80", "--net [2001:db8::1]:80")],
        ),
        (
            "AF_INET, socket.SOCK_DGRAM",
            "(\"192.0.2.1\", 99)",
            vec![pair("192.0.2.1:99", "--net open")],
        ),
        // No rule for an address lets a name be looked up.
        ("AF_INET, socket.SOCK_DGRAM", "(\"192.0.2.1\", 53)", vec![pair("192.0.2.1:53", "")]),
        // The host has this service; the next port has none, there or here.
        (
            "AF_INET",
            &format!("(\"127.0.0.1\", {port})"),
            vec![pair(&local, &format!("--net {local}"))],
        ),
        ("AF_INET", "(\"127.0.0.1\", 1)", vec![]),
        ("AF_INET, socket.SOCK_DGRAM", "(\"192.0.2.1\", 0)", vec![]),
    ] {
        let told = refused(&world, &["--log-denials"], &connect(kind, address));
        assert_eq!(told, expected, "{kind} {address}");
    }
    // With the host's network there is nothing to tell.
    let script = connect("AF_INET", &format!("(\"127.0.0.1\", {port})"));
    assert_eq!(refused(&world, &["--net", "open", "--log-denials"], &script), []);
    // The option is enough.
    let script = format!(
        "import os, socket\ns = socket.create_connection((\"127.0.0.1\", 3128))\n\
         s.sendall(b\"CONNECT {local} HTTP/1.1\\r\\nHost: {local}\\r\\n\\r\\n\")\n\
         assert b\"200\" in s.recv(100)\n"
    );
    let told = refused(&world, &["--log-denials", "--net", &local], &script);
    assert_eq!(told, []);
}

#[test]
fn what_the_proxy_refuses_is_in_the_list_at_every_level() {
    let world = World::new("refused-rules");
    let named = |name: &str, port: u16| {
        format!(
            "import socket\ntry:\n  s = socket.create_connection((\"{name}\", {port}), 5)\n  \
             s.sendall(b\"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n\")\n  s.recv(100)\n\
             except OSError: pass\n"
        )
    };
    let options = ["--net", "ok.example"];
    let told = refused(&world, &options, &named("other.example", 80));
    assert_eq!(told, [pair("other.example:80", "--net other.example")]);
    // A port that nobody captures is only heard of when somebody listens.
    let heard = ["--net", "ok.example", "--log-denials"];
    let told = refused(&world, &heard, &named("other.example", 8123));
    assert_eq!(told, [pair("other.example:8123", "--net other.example:8123")]);
    let told = refused(&world, &heard, &named("other.example", 80));
    assert_eq!(told, [pair("other.example:80", "--net other.example")]);
    let denied = ["--net", "ok.example", "--net", "other.example=deny", "--log-denials"];
    let told = refused(&world, &denied, &named("other.example", 80));
    assert_eq!(told, [pair("other.example:80", "")]);
}

#[test]
fn rules_for_hosts_and_sockets_can_be_applied() {
    let world = World::new("refused-apply");
    world.configuration("");
    let path = world.home().join("service");
    let seen = counted(UnixListener::bind(&path).unwrap());
    let path = path.to_str().unwrap();
    let socket = connect("AF_UNIX, socket.SOCK_STREAM", &format!("\"{path}\""));
    let both = format!("{socket}{}", connect("AF_INET", "(\"192.0.2.1\", 443)"));
    assert_eq!(refused(&world, &["--log-denials"], &both).len(), 2);
    let why = world.pinfold(&["why"]).stdout;
    for expected in [
        "  --net \"192.0.2.1:443\"\n",
        "  [permissions.NAME.network.domains]\n  \"192.0.2.1:443\" = \"allow\"\n",
        &format!("  --allow-unix-socket \"{path}\"\n"),
        &format!("  [permissions.NAME.network.unix_sockets]\n  \"{path}\" = \"allow\"\n"),
    ] {
        assert!(why.contains(expected), "{expected}\n{why}");
    }
    let applied = world.pinfold(&["why", "--apply", "--yes"]);
    assert_eq!(applied.status, 0, "{}", applied.stderr);
    let written = std::fs::read_to_string(world.config_file()).unwrap();
    assert!(written.contains("[permissions.own.network.domains]\n\"192.0.2.1:443\""), "{written}");
    let verdict = world.pinfold(&["explain", "-p", "own", "192.0.2.1:443"]);
    assert!(verdict.stdout.contains("allowed"), "{}", verdict.stdout);
    // Nothing may be sent there: only the socket is tried.
    let told = refused(&world, &["-p", "own", "--log-denials"], &socket);
    assert_eq!(told, []);
    assert_eq!(seen.load(SeqCst), 1);
}

fn start(talk: &mut Talk, asked: Value) -> String {
    talk.initialize();
    talk.result("session/start", asked)["session"].as_str().unwrap().to_owned()
}

#[test]
fn a_session_tells_each_denial_with_the_command_that_met_it() {
    let world = World::new("refused-session");
    let home = world.home();
    let mut talk = Talk::start(&world);
    let session = start(&mut talk, json!({ "denials": "writes" }));
    let run = |talk: &mut Talk, script: &str| {
        let process = talk.spawn(&session, &["sh", "-c", script], json!({}));
        let ended = talk.result("process/wait", json!({ "process": process }));
        (process, ended)
    };
    let (_, clean) = run(&mut talk, "echo x >fine");
    assert_eq!(clean["denials"], json!([]), "{clean}");
    let (first, ended) =
        run(&mut talk, "mkdir ~/one; (sh -c 'mkdir ~/one; echo x >~/two' &) ; wait");
    let (second, _) = run(&mut talk, "mkdir ~/three");
    let denials = ended["denials"].as_array().unwrap();
    assert_eq!(denials[0]["target"], home.join("one").to_str().unwrap(), "{ended}");
    assert_eq!(denials[0]["program"], "mkdir");
    assert_eq!(denials[0]["allow"], json!({ "option": "write", "value": home }));
    let all = talk.result("session/denials", json!({ "session": session }));
    assert_eq!(all["profile"], ":workspace");
    let told: Vec<(&str, &str)> = all["denials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|denial| (denial["process"].as_str().unwrap(), denial["attempted"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(&*first, "create"), (&*first, "write"), (&*second, "create")], "{all}");
    assert_eq!(all["denials"][0]["count"], 2, "{all}");
    let asked = json!({ "session": session, "process": second, "from": 1 });
    let some = talk.result("session/denials", asked);
    assert_eq!(some["denials"].as_array().unwrap().len(), 1, "{some}");
    assert_eq!(some["denials"][0]["seq"], 2);
    // What the server does for a client is nobody's process.
    let file = json!({ "session": session, "path": home.join("four"), "data": "" });
    assert_eq!(talk.error("file/write", file)["code"], -32003);
    let last = talk.result("session/denials", json!({ "session": session, "from": 3 }));
    assert_eq!(last["denials"][0]["process"], Value::Null, "{last}");
    // Each was told as well.
    let news: Vec<Value> = talk.notes_of("session/denied", 3);
    assert_eq!(news[2]["denial"]["seq"], 2);
    assert_eq!(news[2]["session"], session);
    assert!(!home.join("one").exists() && !home.join("two").exists());
}

#[test]
fn a_session_that_is_not_asked_tells_nothing_and_an_unknown_level_is_an_error() {
    let world = World::new("refused-quiet");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk, json!({}));
    let process = talk.spawn(&session, &["mkdir", "/nowhere"], json!({}));
    let ended = talk.result("process/wait", json!({ "process": process }));
    assert!(ended.get("denials").is_none(), "{ended}");
    let all = talk.result("session/denials", json!({ "session": session }));
    assert_eq!(all["denials"], json!([]));
    let error = talk.error("session/start", json!({ "denials": "some" }));
    assert_eq!(error["code"], -32602, "{error}");
    assert!(error["data"]["hint"].as_str().unwrap().contains("writes"), "{error}");
}

#[test]
fn a_session_keeps_the_newest_and_a_client_that_does_not_read_stops_nobody() {
    let world = World::new("refused-many");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk, json!({ "denials": "writes" }));
    // Far more news than a pipe holds, and nobody reads it meanwhile.
    let script =
        "i=0; while [ $i -lt 2500 ]; do true 2>/dev/null >~/n$i; i=$((i+1)); done; echo x >done";
    talk.spawn(&session, &["bash", "-c", script], json!({}));
    for _ in 0..3000 {
        if world.path("done").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(world.path("done").exists(), "the command waits for the client");
    let all = talk.result("session/denials", json!({ "session": session }));
    assert_eq!(all["omitted"], 500);
    assert_eq!(all["denials"][0]["seq"], 500);
}

#[test]
fn session_exec_says_what_was_denied() {
    let world = World::new("refused-exec");
    let started = world.pinfold(&["session", "start", "s", "--log-denials"]);
    assert_eq!(started.status, 0, "{}", started.stderr);
    let home = world.home();
    let made = home.join("made");
    let exec = world.pinfold(&["session", "exec", "s", "mkdir", made.to_str().unwrap()]);
    let stopped = world.pinfold(&["session", "stop", "s"]);
    assert_eq!(stopped.status, 0, "{}", stopped.stderr);
    assert_eq!(exec.status, 1, "{}", exec.stderr);
    let expected = format!("to allow: --write \"{}\"", home.display());
    assert!(exec.stderr.contains(&expected), "{}", exec.stderr);
    assert!(!made.exists());
}

/// A machine of its own for one program: a public address is its loopback's, and
/// `learned.example` has it. Exits with 7 where that cannot be made.
const MACHINE: &str = r#"
import fcntl, http.server, os, socket, struct, subprocess, sys, threading
ADDRESS = "93.184.215.14"
try:
    with socket.socket() as control:
        name = lambda text: struct.pack("16s", text)
        fcntl.ioctl(control, 0x8914, name(b"lo") + struct.pack("H", 0x49) + bytes(22))
        given = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(ADDRESS))
        fcntl.ioctl(control, 0x8916, name(b"lo:1") + given)
    open("hosts", "w").write(ADDRESS + " learned.example\n")
    subprocess.run(["mount", "--bind", "hosts", "/etc/hosts"], check=True)
except (OSError, subprocess.CalledProcessError) as error:
    print(error, file=sys.stderr)
    sys.exit(7)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
origin = http.server.ThreadingHTTPServer((ADDRESS, 80), Answer)
threading.Thread(target=origin.serve_forever, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"#;

#[test]
fn a_learned_profile_names_the_hosts_that_were_reached() {
    let world = World::new("refused-learn");
    let output = world.home().join("profile.toml");
    let output = output.to_str().unwrap();
    let binary = env!("CARGO_BIN_EXE_pinfold");
    let on_machine = |arguments: &[&str]| {
        let script = "import urllib.request\n\
                      print(urllib.request.urlopen(\"http://learned.example/\").read().decode())";
        let mut command = world.command("unshare");
        command.args(["-Urmn", "python3", "-c", MACHINE, binary]);
        world.output(command.args(arguments).args(["--", "python3", "-c", script]))
    };
    let learned = on_machine(&["learn", "--yes", "-o", output]);
    if learned.status == 7 || learned.stderr.contains("unshare failed") {
        // Some hosts have no namespaces within namespaces.
        return;
    }
    assert_eq!((learned.status, learned.stdout.as_str()), (0, "ok\n"), "{}", learned.stderr);
    let profile = std::fs::read_to_string(output).unwrap();
    assert!(profile.contains("[permissions.learned.network.domains]"), "{profile}");
    assert!(profile.contains("\"learned.example\" = \"allow\""), "{profile}");
    world.configuration(&profile);
    let again = on_machine(&["run", "-p", "learned"]);
    assert_eq!((again.status, again.stdout.as_str()), (0, "ok\n"), "{}\n{profile}", again.stderr);
}

/// By the proxy's door, a captured port, and where all connections are led there.
#[test]
fn whose_a_refused_connection_was_is_told() {
    let world = World::new("refused-whose");
    let script = "
import http.client, os, socket, sys
print(os.getpid(), flush=True)
c = http.client.HTTPConnection('127.0.0.1', int(os.environ['http_proxy'].split(':')[-1]), timeout=10)
c.request('GET', 'http://one.test/'); c.getresponse().read()
s = socket.create_connection(('two.test', 80), timeout=10)
s.sendall(b'GET / HTTP/1.1\\r\\nHost: two.test\\r\\n\\r\\n'); s.recv(1)
";
    let landlock = world::landlock();
    let document = world.home().join("outcome.json");
    let json = ["--json", document.to_str().unwrap()];
    for options in [&["--net", "ok.test"][..], &["--net", "ok.test:8000"], &landlock] {
        let options = [&["run", "-q"][..], options, &["--net", "other.test"], &json].concat();
        let command = ["--", "sh", "-c", "python3 -c \"$0\"; true", script];
        let output = world.pinfold(&[&options[..], &command].concat());
        let outcome = std::fs::read_to_string(&document).unwrap();
        let outcome: Value = serde_json::from_str(&outcome).unwrap();
        let told = outcome["denials"].as_array().unwrap().iter();
        let told: Vec<[&Value; 2]> =
            told.map(|denial| [&denial["target"], &denial["program"]]).collect();
        assert_eq!(
            json!(told),
            json!([["one.test:80", "python3"], ["two.test:80", "python3"]]),
            "{options:?} {}",
            output.stderr
        );
        let pid = |index: usize| outcome["denials"][index]["pid"].as_u64();
        assert!(pid(0).is_some() && pid(0) == pid(1), "{outcome}");
    }
}

#[test]
fn a_session_tells_refused_hosts_with_the_command_that_asked_for_them() {
    let world = World::new("refused-hosts");
    let mut talk = Talk::start(&world);
    let session = start(&mut talk, json!({ "denials": "cheap", "net": ["ok.test"] }));
    for host in ["one.test", "two.test", "one.test"] {
        let python = format!(
            "import socket\ns = socket.create_connection(('{host}', 80), timeout=10)\n\
             s.sendall(b'GET / HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'); s.recv(1)"
        );
        // Not the command itself asks, but a process of it that has another session.
        let command = ["sh", "-c", "setsid python3 -c \"$0\" & wait; true", &python];
        let process = talk.spawn(&session, &command, json!({}));
        let ended = talk.result("process/wait", json!({ "process": process }));
        assert_eq!(ended["denials"][0]["target"], format!("{host}:80"), "{ended}");
        assert_eq!(ended["denials"][0]["program"], "python3", "{ended}");
        assert_eq!(ended["denials"].as_array().unwrap().len(), 1, "{ended}");
    }
}
