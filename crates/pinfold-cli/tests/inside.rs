//! Servers inside, services of the host's loopback beside them, and connections that are
//! led to the proxy, in a network of the command's own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod origin;
mod world;

use std::io::ErrorKind;
use std::net::TcpListener;

use origin::Server;
use world::World;

/// Asks a port, inside, over a connection of its own: what comes back, in a line each.
const ASK: &str = "
import socket, sys, threading
def ask(address, port, host='localhost'):
    try:
        s = socket.create_connection((address, port), timeout=10)
        s.sendall(b'GET / HTTP/1.1\\r\\nHost: %s:%d\\r\\nConnection: close\\r\\n\\r\\n' % (host.encode(), port))
        return s.makefile().read().split()[-1]
    except OSError as error: return error.strerror
def serve(address, port):
    server = socket.create_server((address, port))
    def answer():
        while True:
            client = server.accept()[0]; client.recv(4096); client.sendall(b'own'); client.close()
    threading.Thread(target=answer, daemon=True).start()
";

/// Case N40, for programs that know of no proxy.
#[test]
fn n40_a_service_of_the_hosts_loopback_is_found_there_unless_something_inside_listens() {
    let (world, server, other) =
        (World::new("net-service"), Server::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = server.port;
    let unnamed = other.local_addr().unwrap().port();
    let script = format!(
        "{ASK}
print(ask('127.0.0.1', {port}), ask('127.0.0.1', {port}, '127.0.0.1'), ask('localhost', {port}))
print(ask('127.0.0.1', {unnamed}))
serve('0.0.0.0', {port}); serve('127.0.0.1', {unnamed})
print(ask('127.0.0.1', {port}), ask('127.0.0.1', {unnamed}))
"
    );
    for rule in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        let output = world.pinfold(&["run", "--net", &rule, "--", "python3", "-c", &script]);
        let expected = "served served served\nConnection refused\nown own\n";
        assert_eq!(output.stdout, expected, "{rule} {}", output.stderr);
        assert_eq!(server.seen(), 3, "{rule}");
    }
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn ports_that_rules_name_are_free_for_servers_inside() {
    let world = World::new("net-free");
    let script = format!("{ASK}\nserve('0.0.0.0', 8080)\nprint(ask('127.0.0.1', 8080))");
    let output = world.pinfold(&["run", "--net", "*:8080", "--", "python3", "-c", &script]);
    assert_eq!(output.stdout, "own\n", "{}", output.stderr);
}

#[test]
fn wide_ranges_are_captured_at_every_port() {
    let (world, server) = (World::new("net-wide"), Server::start());
    let script =
        format!("{ASK}\nprint(ask('no.test', 4321, 'no.test'), ask('127.0.0.1', {}))", server.port);
    let rules = ["run", "--net", "127.0.0.1:1025-65535", "--net", "ok.test:*"];
    let output = world.pinfold(&[&rules[..], &["--", "python3", "-c", &script]].concat());
    assert!(output.stdout.ends_with(" served\n"), "{}{}", output.stdout, output.stderr);
    let told = "pinfold: denied connect no.test:4321 by \"python3\": no rule covers this host";
    assert!(output.stderr.contains(told), "{}", output.stderr);
    assert_eq!(server.seen(), 1);
}

#[test]
fn networks_that_are_made_inside_are_left_alone() {
    let world = World::new("net-nested");
    // SIOCSIFADDR and SIOCSIFFLAGS: its loopback has this address, and is up.
    let script = format!(
        "{ASK}
import ctypes, fcntl, struct
if ctypes.CDLL(None).unshare(0x50000000): raise SystemExit('closed')
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
address = struct.pack('=H2x4s8x', socket.AF_INET, bytes([192, 0, 2, 7]))
fcntl.ioctl(own, 0x8916, struct.pack('16s16s', b'lo', address))
fcntl.ioctl(own, 0x8914, struct.pack('16sH14x', b'lo', 1))
serve('192.0.2.7', 8080)
print(ask('192.0.2.7', 8080))
"
    );
    let python = ["python3", "-c", &script];
    if world.output(world.command(python[0]).args(&python[1..])).stdout != "own\n" {
        eprintln!("skipped: no network can be made");
        return;
    }
    let profile = "permissions.nested={extends=\":workspace\",user_namespaces=true}";
    let options = ["run", "-c", profile, "-p", "nested", "--net", "*:8080", "--"];
    let output = world.pinfold(&[&options[..], &python].concat());
    assert_eq!(output.stdout, "own\n", "{}", output.stderr);
}

#[test]
fn nothing_listens_where_local_binding_is_off() {
    let world = World::new("net-servers");
    let script = "
import socket
def tried(act):
    try: act(); return 'done'
    except OSError as error: return error.strerror
for family, place in ((socket.AF_INET, ('127.0.0.1', 8080)), (socket.AF_INET6, ('::1', 8080))):
    free, bound = (socket.socket(family, socket.SOCK_STREAM) for _ in range(2))
    print(tried(lambda: bound.bind(place)), tried(lambda: free.listen()))
print(tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('127.0.0.1', 8080))))
own = socket.socket(socket.AF_UNIX)
print(tried(lambda: own.bind('own')), tried(lambda: own.listen()))
# What a client does to have a port of the kernel's choice.
print(tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('', 0))))
";
    let no = "Permission denied Permission denied\n";
    let refused = format!("{no}{no}Permission denied\ndone done\ndone\n");
    let all = "done done\ndone done\ndone\ndone done\ndone\n";
    let off = "permissions.p={extends=\":workspace\",network={allow_local_binding=false}}";
    let unsaid = "permissions.p={extends=\":workspace\"}";
    for rules in [&[][..], &["--net", "example.com"], &["--net", "*:8080"]] {
        for (profile, expected) in [(off, refused.as_str()), (unsaid, all)] {
            let options = [&["run", "-c", profile, "-p", "p"][..], rules].concat();
            let output = world.pinfold(&[&options[..], &["--", "python3", "-c", script]].concat());
            assert_eq!(output.stdout, expected, "{options:?} {}", output.stderr);
            let _ = std::fs::remove_file(world.path("own"));
        }
    }
}

#[test]
fn a_server_inside_that_does_not_accept_stops_only_who_waits_for_it() {
    let (world, server) = (World::new("net-slow"), Server::start());
    let script = format!(
        "{ASK}
import errno
slow = socket.socket(); slow.bind(('127.0.0.1', {0})); slow.listen(0); slow.settimeout(10)
held, codes = [], set()
while errno.EINPROGRESS not in codes and len(held) < 20:
    held.append(socket.socket()); held[-1].setblocking(False)
    codes.add(held[-1].connect_ex(('127.0.0.1', {0})))
print(sorted(codes) == [0, errno.EINPROGRESS])
waiting = socket.socket()
thread = threading.Thread(target=lambda: waiting.connect(('127.0.0.1', {0})), daemon=True)
thread.start(); thread.join(0.2)
print(ask('192.0.2.1', 80, 'no.test'), thread.is_alive())
while thread.is_alive(): slow.accept(); thread.join(0.1)
print(waiting.getpeername()[1] == {0})
",
        server.port
    );
    let rule = format!("127.0.0.1:{}", server.port);
    let output = world.pinfold(&["run", "--net", &rule, "--", "python3", "-c", &script]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!((lines[0], lines[2]), ("True", "True"), "{}{}", output.stdout, output.stderr);
    assert!(lines[1].ends_with(" True"), "{}", output.stdout);
    assert_eq!(server.seen(), 0);
}

#[test]
fn too_many_connections_for_pinfolds_own_descriptors_are_errors_and_no_end() {
    let (world, server) = (World::new("net-descriptors"), Server::start());
    let script = format!(
        "{ASK}
import os, time
for child in range(5):
    if os.fork() == 0:
        held = []
        for _ in range(20):
            held.append(socket.socket()); held[-1].setblocking(False)
            held[-1].connect_ex(('127.0.0.1', {0})); held[-1].setblocking(True)
            try: held[-1].sendall(b'\\x01')
            except OSError: pass
        time.sleep(1); os._exit(0)
for child in range(5): os.wait()
# It takes a moment until all of them are closed.
for attempt in range(100):
    answer = ask('127.0.0.1', {0}, '127.0.0.1')
    if answer == 'served': break
    time.sleep(0.1)
print(answer)
",
        server.port
    );
    let rule = format!("127.0.0.1:{}", server.port);
    let program = env!("CARGO_BIN_EXE_pinfold");
    // A connection takes two: which of them is missing at the end depends on how many were open
    // at the start.
    let mut audits = String::new();
    for limit in [60, 61] {
        let run = format!(
            "ulimit -n {limit}; exec \"$0\" run --net \"$1\" --audit audit -- python3 -c \"$2\""
        );
        let output =
            world.output(world.command("bash").args(["-c", &run, program, &rule, &script]));
        assert_eq!((output.status, output.stdout.as_str()), (0, "served\n"), "{}", output.stderr);
        audits.push_str(&std::fs::read_to_string(world.path("audit")).unwrap());
    }
    assert!(audits.contains("\"reason\":\"connect_failed\""), "{audits}");
}

#[test]
fn datagrams_are_refused_at_once_so_that_clients_fall_back() {
    let world = World::new("net-datagrams");
    let script = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
s.connect(('192.0.2.1', 443)); s.send(b'hello')
try: s.recv(1)
except OSError as error: print(error.strerror)
";
    for rule in ["example.com", "example.com:8443"] {
        let output = world.pinfold(&["run", "--net", rule, "--", "python3", "-c", script]);
        assert_eq!(output.stdout, "Connection refused\n", "{rule} {}", output.stderr);
    }
}
