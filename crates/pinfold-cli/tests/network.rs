//! Host rules on the real kernel: what is reached, what is refused, and what the
//! host's own server saw.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod world;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use world::{Output, World};

/// A server on the host's loopback that counts what reaches it.
struct Server {
    port: u16,
    seen: Arc<AtomicU32>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicU32::new(0));
        let counter = seen.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream;
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n")
                    && stream.read(&mut byte).is_ok_and(|n| n == 1)
                {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved",
                );
            }
        });
        Server { port, seen }
    }

    fn seen(&self) -> u32 {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Asks for `url` over a connection to `address`, inside.
fn ask(world: &World, options: &[&str], (address, port): (&str, u16), url: &str) -> Output {
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port} || exit 9\n\
         printf 'GET {url} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' >&3\n\
         timeout 5 cat <&3"
    );
    let mut arguments = vec!["run"];
    arguments.extend(options);
    arguments.extend(["--", "bash", "-c", &script]);
    world.pinfold(&arguments)
}

#[test]
fn a_service_that_a_rule_names_is_reached_through_the_proxy() {
    let (world, server) = (World::new("net-allowed"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    let output = ask(&world, &["--net", &rule], ("127.0.0.1", 3128), &format!("http://{rule}/"));
    assert!(output.stdout.ends_with("served"), "{}{}", output.stdout, output.stderr);
    assert_eq!(server.seen(), 1);
}

#[test]
fn what_no_rule_names_is_refused_with_the_rule_that_would_allow_it() {
    let (world, server) = (World::new("net-refused"), Server::start());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let options = ["--net", "example.com", "--json", "out.json"];
    let output = ask(&world, &options, ("127.0.0.1", 3128), &url);
    assert!(output.stdout.starts_with("HTTP/1.1 403"), "{}", output.stdout);
    let expected = format!(
        "pinfold: denied connect 127.0.0.1:{0} by \"bash\": it is a loopback address and no rule names it; \
         to allow: --net 127.0.0.1:{0}",
        server.port
    );
    assert!(output.stderr.contains(&expected), "{}", output.stderr);
    let outcome = std::fs::read_to_string(world.path("out.json")).unwrap();
    assert!(outcome.contains("\"blocked\":[{\"destination\":\"127.0.0.1"), "{outcome}");
    assert_eq!(server.seen(), 0);
}

#[test]
fn a_program_that_ignores_the_proxy_meets_the_same_rules() {
    let (world, server) = (World::new("net-captured"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    // A captured port of any address leads to the proxy, not to that address.
    let output = ask(&world, &["--net", &rule], ("192.0.2.1", 80), "http://blocked.example/");
    assert!(output.stdout.starts_with("HTTP/1.1 4"), "{}{}", output.stdout, output.stderr);
    // The named port is captured as well, whatever address is dialled.
    let other =
        ask(&world, &["--net", &rule], ("198.51.100.7", server.port), "http://198.51.100.7/");
    assert!(!other.stdout.contains("served"), "{}", other.stdout);
    assert_eq!(server.seen(), 0);
}

#[test]
fn without_rules_the_hosts_loopback_is_out_of_reach() {
    let (world, server) = (World::new("net-off"), Server::start());
    let url = format!("http://127.0.0.1:{}/", server.port);
    for options in [&[][..], &["--net", "example.com"]] {
        let output = ask(&world, options, ("127.0.0.1", server.port), &url);
        assert_eq!(output.status, 9, "{}{}", output.stdout, output.stderr);
    }
    assert_eq!(server.seen(), 0);
    // The same without enforcement arrives: this test can fail.
    let output = ask(&world, &["-p", ":danger-full-access"], ("127.0.0.1", server.port), &url);
    assert!(output.stdout.ends_with("served"), "{}", output.stdout);
}

/// An address of this host that is not loopback; asking for it sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Cases N01 to N03 of the network study: no proxy variables, no proxy.
#[test]
fn n01_n02_n03_no_address_of_the_host_is_reached_past_the_proxy() {
    let (world, server) = (World::new("net-past"), Server::start());
    let mut places = vec![(IpAddr::from([127, 0, 0, 1]), server.port)];
    let other = own_address().map(|address| TcpListener::bind((address, 0)).unwrap());
    if let Some(listener) = &other {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        places.push((address.ip(), address.port()));
    }
    for options in [&[][..], &["--net", "example.com"]] {
        for (address, port) in &places {
            let script = format!(
                "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY\n\
                 timeout 5 bash -c 'echo >/dev/tcp/{address}/{port}' 2>/dev/null; echo $?"
            );
            let mut arguments = vec!["run"];
            arguments.extend(options);
            arguments.extend(["--", "sh", "-c", &script]);
            let output = world.pinfold(&arguments);
            assert_eq!(output.stdout, "1\n", "{options:?} {address} {}", output.stderr);
        }
    }
    assert_eq!(server.seen(), 0);
    if let Some(listener) = other {
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

/// Case N72.
#[test]
fn n72_a_server_of_the_command_is_reached_by_it_and_the_proxy_sees_nothing_of_it() {
    let world = World::new("net-inside");
    let script = "import socket\n\
        server = socket.create_server(('0.0.0.0', 8080))\n\
        client = socket.create_connection(('127.0.0.1', 8080))\n\
        server.accept()[0].sendall(b'inside')\n\
        print(client.recv(10).decode())";
    let audit = world.path("audit");
    let options = ["run", "--net", "example.com", "--audit", audit.to_str().unwrap()];
    let output = world.pinfold(&[&options[..], &["--", "python3", "-c", script]].concat());
    assert_eq!(output.stdout, "inside\n", "{}", output.stderr);
    let audit = std::fs::read_to_string(audit).unwrap();
    assert!(!audit.contains("8080"), "{audit}");
}

/// Case N73.
#[test]
fn n73_what_the_command_leaves_behind_has_no_network_and_no_life() {
    let (world, server) = (World::new("net-daemon"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    world.file(
        "fetch",
        &format!(
            "exec 3<>/dev/tcp/127.0.0.1/3128\n\
             printf 'GET http://{rule}/ HTTP/1.1\\r\\nHost: {rule}\\r\\n\\r\\n' >&3\n\
             timeout 5 head -c 12 <&3\n"
        ),
    );
    let daemon = "setsid sh -c '(sleep 1; bash fetch) >late 2>&1 &'";
    let script = format!("bash fetch >soon; {daemon}");
    let output = world.pinfold(&["run", "--net", &rule, "--", "sh", "-c", &script]);
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert_eq!(std::fs::read_to_string(world.path("soon")).unwrap(), "HTTP/1.1 200");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(server.seen(), 1, "the daemon has reached the server");
    // The same daemon of a command that waits for it: this test can fail.
    let waits = format!("{daemon}; sleep 3");
    world.pinfold(&["run", "--net", &rule, "--", "sh", "-c", &waits]);
    assert_eq!(server.seen(), 2);
}

#[test]
fn names_are_answered_inside_and_programs_are_led_to_the_proxy() {
    let world = World::new("net-names");
    let script = "getent ahostsv4 some.example | head -1; echo $https_proxy; echo $no_proxy";
    let output = world.pinfold(&["run", "--net", "example.com", "--", "sh", "-c", script]);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("198.1"), "{}{}", output.stdout, output.stderr);
    assert_eq!(lines[1], "http://127.0.0.1:3128");
    assert_eq!(lines[2], "localhost,127.0.0.1,::1");
}

#[test]
fn an_open_network_is_the_hosts() {
    let (world, server) = (World::new("net-open"), Server::start());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let output = ask(&world, &["--net", "open"], ("127.0.0.1", server.port), &url);
    assert!(output.stdout.ends_with("served"), "{}{}", output.stdout, output.stderr);
}

#[test]
fn a_program_decides_about_ask_rules_and_the_audit_says_so() {
    let (world, server) = (World::new("net-ask"), Server::start());
    let rule = format!("127.0.0.1:{}", server.port);
    let url = format!("http://{rule}/");
    for (decision, served) in [("allow", true), ("deny", false)] {
        world.file(
            "decider",
            &format!(
                "#!/bin/sh\nwhile read -r question; do\n  id=$(expr \"$question\" : '.*\"id\":\\([0-9]*\\)')\n  \
                 echo \"{{\\\"id\\\":$id,\\\"decision\\\":\\\"{decision}\\\"}}\"\ndone\n"
            ),
        );
        world.outside("chmod +x decider");
        let (decider, audit) = (world.path("decider"), world.path("audit"));
        let asked = format!("{rule}=ask");
        let options = [
            "--net",
            asked.as_str(),
            "--decider",
            decider.to_str().unwrap(),
            "--audit",
            audit.to_str().unwrap(),
        ];
        let output = ask(&world, &options, ("127.0.0.1", 3128), &url);
        assert_eq!(output.stdout.ends_with("served"), served, "{}{}", output.stdout, output.stderr);
    }
    assert_eq!(server.seen(), 1);
    let audit = std::fs::read_to_string(world.path("audit")).unwrap();
    assert!(audit.contains("\"decision\":\"allow\""), "{audit}");
    assert!(audit.contains("\"reason\":\"ask_denied\""), "{audit}");
}

#[test]
fn a_proxy_that_cannot_start_stops_the_run() {
    let world = World::new("net-fail");
    for options in [&["--decider", "/no/such/program"][..], &["--audit", "/no/such/dir/file"]] {
        let mut arguments = vec!["run", "--net", "example.com"];
        arguments.extend(options);
        arguments.extend(["--", "touch", "ran"]);
        let output = world.pinfold(&arguments);
        assert_eq!(output.status, 125, "{}", output.stderr);
        assert!(output.stderr.contains("hint: "), "{}", output.stderr);
        assert!(!world.path("ran").exists(), "the command ran without a proxy");
    }
}

/// A proxy of the caller's own that remembers what it is asked for, and answers itself.
fn upstream() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let tunnel = first.starts_with("CONNECT");
            noted.lock().unwrap().push(first);
            if tunnel {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            }
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved",
            );
        }
    });
    (port, asked)
}

#[test]
fn the_callers_proxy_resolves_names_only_where_the_profile_says_so() {
    let configuration = |resolves: &str| {
        format!(
            "default_permissions = \"p\"\n[permissions.p]\nextends = \":workspace\"\n\
             [permissions.p.network]\nenabled = true\n{resolves}\n\
             [permissions.p.network.domains]\n\"no.such.invalid\" = \"allow\"\n\"no.such.invalid:8080\" = \"allow\"\n"
        )
    };
    let world = World::new("net-upstream");
    let (port, asked) = upstream();
    let script = "exec 3<>/dev/tcp/$1/$2; printf 'GET %s HTTP/1.1\\r\\nHost: no.such.invalid%s\\r\\n\\r\\n' $3 $4 >&3
        timeout 5 cat <&3 | tail -n 1; echo";
    let through = |address: &str, port_inside: &str, url: &str, suffix: &str| {
        let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
        command.env("HTTPS_PROXY", format!("http://user:pass@127.0.0.1:{port}"));
        command.args([
            "run",
            "-q",
            "--",
            "bash",
            "-c",
            script,
            "bash",
            address,
            port_inside,
            url,
            suffix,
        ]);
        world.output(&mut command).stdout
    };
    // What goes to the proxy inside, and what is captured.
    let plain = ("127.0.0.1", "3128", "http://no.such.invalid/", "");
    let captured = ("no.such.invalid", "8080", "/", ":8080");
    for (address, port, url, suffix) in [plain, captured] {
        world.configuration(&configuration(""));
        assert!(!through(address, port, url, suffix).contains("served"), "{url}");
        assert_eq!(asked.lock().unwrap().len(), 0, "{url}");
        world.configuration(&configuration("upstream_resolves = true"));
        assert_eq!(through(address, port, url, suffix), "served\n", "{url}");
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let expected =
            ["GET http://no.such.invalid/ HTTP/1.1", "CONNECT no.such.invalid:8080 HTTP/1.1"];
        assert!(expected.contains(&asked[0].as_str()), "{asked:?}");
    }
}

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
        let before = server.seen();
        let output = world.pinfold(&["run", "--net", &rule, "--", "python3", "-c", &script]);
        let expected = "served served served\nConnection refused\nown own\n";
        assert_eq!(output.stdout, expected, "{rule} {}", output.stderr);
        assert_eq!(server.seen() - before, 3, "{rule}");
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
