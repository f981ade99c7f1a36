//! Host rules without namespaces: every TCP connection is led to the proxy, nothing else
//! is reached, and nothing inside can be reached. Asserted by what servers of the host saw.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod origin;
mod world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use origin::Server;
use world::{Output, World};

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// A Python script under a rule, or without any sandbox; nothing where there is no Python.
fn python(world: &World, rule: Option<&str>, script: &str) -> Option<Output> {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no python3");
        return None;
    }
    let mut arguments = vec!["run"];
    match rule {
        Some(rule) => arguments.extend([&world::landlock()[..], &["--net", rule]].concat()),
        None => arguments.extend(["-p", ":danger-full-access"]),
    }
    arguments.extend(["--", "/usr/bin/python3", "-c", script]);
    Some(world.pinfold(&arguments))
}

/// Asks a server for something, over a socket of each kind and in each way to connect.
const ASK: &str = "
import socket, sys
def ask(address, port, family=socket.AF_INET, waits=True):
    try:
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setblocking(waits); s.connect_ex((address, port)); s.setblocking(True)
        s.settimeout(10)
        s.sendall(b'GET / HTTP/1.1\\r\\nHost: %s:%d\\r\\nConnection: close\\r\\n\\r\\n' % (b'127.0.0.1', port))
        return s.makefile('rb').read().split(b'\\r\\n')[0].decode()[:12]
    except OSError as error: return error.strerror
";

#[test]
fn what_a_rule_names_is_reached_and_nothing_else() {
    let (world, server, other) = (World::new("led-rules"), Server::start(), Server::start());
    let script = format!(
        "{ASK}
for port in ({}, {}):
    print(ask('127.0.0.1', port), ask('127.0.0.1', port, waits=False), ask('::ffff:127.0.0.1', port, socket.AF_INET6))
print(socket.gethostbyname('some.test').startswith('198.'))
try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
except OSError as error: print(error.strerror)
",
        server.port, other.port
    );
    let Some(output) = python(&world, Some(&server.rule()), &script) else { return };
    let expected = "HTTP/1.1 200 HTTP/1.1 200 HTTP/1.1 200\nHTTP/1.1 403 HTTP/1.1 403 HTTP/1.1 403\n\
                    True\nAddress family not supported by protocol\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    assert_eq!((server.seen(), other.seen()), (3, 0));
    // By its address, or the name that the host has for it.
    let told = output.stderr.contains("pinfold: denied 3x connect ");
    assert!(told && output.stderr.contains("; to allow: --net "), "{}", output.stderr);
    // Without a sandbox the same reaches both: this test can fail.
    python(&world, None, &script).unwrap();
    assert_eq!((server.seen(), other.seen()), (3, 3));
}

#[test]
fn programs_find_the_proxy_by_their_variables() {
    let (world, server, other) = (World::new("led-variables"), Server::start(), Server::start());
    let script = format!(
        "import urllib.request as r\nfor port in ({}, {}):\n \
         try: print(r.urlopen(f'http://127.0.0.1:{{port}}/').read().decode(), end='')\n \
         except Exception as error: print(error)\n",
        server.port, other.port
    );
    let Some(output) = python(&world, Some(&server.rule()), &script) else { return };
    assert!(output.stdout.starts_with("servedHTTP Error 403"), "{}", output.stdout);
    assert_eq!((server.seen(), other.seen()), (1, 0));
}

#[test]
fn nothing_inside_listens_where_others_could_reach_it() {
    let world = World::new("led-listens");
    let script = "
import ctypes, os, socket, threading, time
def tried(act):
    try: act(); return 'done'
    except OSError as error: return error.strerror
free = socket.socket()
print(tried(lambda: free.bind(('127.0.0.1', 0))), tried(lambda: free.listen()))
own = socket.socket(socket.AF_UNIX)
own.bind('own'); print(tried(lambda: own.listen()))
# One number, which is now this socket and now that, while it is to listen.
number, stop, libc = os.dup(own.fileno()), False, ctypes.CDLL(None)
def exchange():
    while not stop:
        os.dup2(free.fileno(), number); os.dup2(own.fileno(), number)
racer = threading.Thread(target=exchange); racer.start()
end = time.monotonic() + 1
while time.monotonic() < end: libc.listen(number, 5)
stop = True; racer.join()
print('listens', free.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
";
    let Some(output) = python(&world, Some("127.0.0.1:9"), script) else { return };
    let expected = "Permission denied Permission denied\ndone\nlistens 0\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    // Without a sandbox the race is won.
    world.outside("rm own");
    let open = python(&world, None, script).unwrap();
    assert!(open.stdout.ends_with("listens 1\n"), "{}", open.stdout);
}

#[test]
fn no_race_leads_past_the_proxy() {
    let (world, server) = (World::new("led-race"), Server::start());
    // The address is now a name of a unix socket, and now that of the server.
    let script = format!(
        "
import ctypes, socket, struct, threading, time
libc, stop = ctypes.CDLL(None), False
place = ctypes.create_string_buffer(28)
other = struct.pack('=H26s', socket.AF_UNIX, b'nothing')
server = struct.pack('=H', socket.AF_INET) + struct.pack('!H4s18x', {}, bytes([127, 0, 0, 1]))
def exchange():
    while not stop: place.raw = other; place.raw = server
racer = threading.Thread(target=exchange); racer.start()
end = time.monotonic() + 1
while time.monotonic() < end:
    with socket.socket() as s: libc.connect(s.fileno(), place, 28)
stop = True; racer.join(); print('over')
",
        server.port
    );
    let Some(output) = python(&world, Some("127.0.0.1:9"), &script) else { return };
    assert_eq!((output.stdout.as_str(), server.seen()), ("over\n", 0), "{}", output.stderr);
    python(&world, None, &script).unwrap();
    assert!(server.seen() > 0, "the same without a sandbox does not reach it");
}

#[test]
fn nobody_else_on_the_host_gets_through_the_door() {
    let (world, server) = (World::new("led-door"), Server::start());
    let rule = server.rule();
    let mut command = world.command(PINFOLD);
    command.arg("run").args(world::landlock()).args(["--net", &rule, "--", "sh", "-c"]);
    command.arg("echo $http_proxy; exec sleep 60").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    let mut said = [0; 64];
    let length = running.stdout.as_mut().unwrap().read(&mut said).unwrap();
    let door = std::str::from_utf8(&said[..length]).unwrap().trim();
    let door = door.strip_prefix("http://").unwrap();
    let request = format!("GET http://{rule}/ HTTP/1.1\r\nHost: {rule}\r\n\r\n");
    // Longer than the first bytes that the proxy waits for.
    for bytes in [request.as_bytes().to_vec(), [&[0; 34], request.as_bytes()].concat()] {
        let mut stream = TcpStream::connect(door).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"", "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.seen(), 0);
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(TcpStream::connect(door).is_err(), "the door outlives pinfold");
}

#[test]
fn sessions_have_one_door_for_all_their_commands() {
    let (world, server, other) = (World::new("led-session"), Server::start(), Server::start());
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let runtime = world.home().join("run");
    std::fs::create_dir(&runtime).unwrap();
    let session = |arguments: &[&str]| {
        let mut command = world.command(PINFOLD);
        world.output(command.env("XDG_RUNTIME_DIR", &runtime).arg("session").args(arguments))
    };
    let rule = server.rule();
    let start = [&["start", "led"][..], &world::landlock(), &["--net", &rule]].concat();
    let started = session(&start);
    assert_eq!(started.status, 0, "{}", started.stderr);
    for (port, expected) in [(server.port, "HTTP/1.1 200\n"), (other.port, "HTTP/1.1 403\n")] {
        let script = format!("{ASK}\nprint(ask('127.0.0.1', {port}))");
        let output = session(&["exec", "led", "--", "/usr/bin/python3", "-c", &script]);
        assert_eq!(output.stdout, expected, "{}", output.stderr);
    }
    assert_eq!(session(&["stop", "led"]).status, 0);
    assert_eq!((server.seen(), other.seen()), (1, 0));
}
