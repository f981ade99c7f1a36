//! A network of its own for a test, in which a public address leads to one server that
//! stands for all hosts, and to real servers.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{Output, World};

/// The user that real servers run as: the only one of a user namespace of their own, so
/// that they do not try to become others.
pub(crate) const USER: &str = "tester";

/// A public address; nothing outside is reached by it, since a test's own network
/// leads nowhere.
pub(crate) const ADDRESS: &str = "11.0.0.1";

/// Runs a test in a network of its own; says where that cannot be made.
pub(crate) fn isolated(test: &str, body: fn(&World, &Internet)) {
    let world = World::new(test);
    if std::env::var_os("PINFOLD_OWN_NETWORK").is_some() {
        let internet = Internet::start(world.home().join("internet"));
        return body(&world, &internet);
    }
    world.file("resolv.conf", &format!("nameserver {ADDRESS}\n"));
    world.file("hosts", &format!("127.0.0.1 localhost\n{ADDRESS} listed.test other.test\n"));
    let home = world.home();
    let home = home.display();
    let users = format!("root:x:0:0::{home}:/bin/sh\n{USER}:x:1234:1234::{home}:/bin/sh\n");
    world.file("passwd", &users);
    let script = format!(
        "for file in resolv.conf hosts passwd; do mount --bind $file /etc/$file || exit; done; \
         mount -t tmpfs none /dev/shm && ip link set lo up && ip address add {ADDRESS}/32 dev lo \
         && echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start \
         && echo made && PINFOLD_OWN_NETWORK=1 exec \"$0\" --exact {test} --nocapture"
    );
    let program = std::env::current_exe().unwrap();
    let mut command = world.command("unshare");
    let output = world.output(command.args(["-Urmn", "sh", "-c", &script]).arg(program));
    print!("{}", output.stdout);
    if output.stdout.starts_with("made") {
        assert_eq!(output.status, 0, "{}", output.stderr);
    } else {
        println!("skipped: a network of its own cannot be made: {}", output.stderr);
    }
}

/// A server that answers for every host with files from a directory of its name.
pub(crate) struct Internet {
    root: PathBuf,
    hosts: Arc<Mutex<BTreeSet<String>>>,
}

impl Internet {
    fn start(root: PathBuf) -> Internet {
        let listener = TcpListener::bind((ADDRESS, 80)).unwrap();
        let names = UdpSocket::bind((ADDRESS, 53)).unwrap();
        std::thread::spawn(move || name_hosts(&names));
        let hosts = Arc::new(Mutex::new(BTreeSet::new()));
        let (seen, files) = (hosts.clone(), root.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, seen) = (files.clone(), seen.clone());
                std::thread::spawn(move || serve(&stream, &files, &seen));
            }
        });
        Internet { root, hosts }
    }

    /// Makes a file of a host.
    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The hosts that were asked for since the last time.
    pub(crate) fn hosts(&self) -> Vec<String> {
        std::mem::take(&mut *self.hosts.lock().unwrap()).into_iter().collect()
    }
}

/// Says of every name that it has the one address, and no other: RFC 1035.
fn name_hosts(socket: &UdpSocket) {
    const FIXED: usize = 12;
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        let query = &query[..length];
        let Some(name) = query.get(FIXED..).and_then(|rest| rest.iter().position(|b| *b == 0))
        else {
            continue;
        };
        let Some(question) = query.get(FIXED..FIXED + name + 5) else { continue };
        let answers = u8::from(question[name + 1..] == [0, 1, 0, 1]);
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
        answer.extend(question);
        if answers == 1 {
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(ADDRESS.parse::<Ipv4Addr>().unwrap().octets());
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// Answers the requests of a connection.
fn serve(mut stream: &TcpStream, root: &Path, seen: &Mutex<BTreeSet<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(length) if length > 0 => {}
                _ => return,
            }
        }
        let host = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("host").then(|| value.trim().trim_end_matches(":80"))
        });
        let host = host.unwrap_or_default();
        seen.lock().unwrap().insert(host.to_owned());
        let mut words = head.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
        let path = target.split('?').next().unwrap_or_default().trim_start_matches('/');
        let mut file = root.join(host).join(path);
        if file.is_dir() {
            file = file.join("index.html");
        }
        let kind = match file.extension() {
            Some(extension) if extension == "html" => "text/html",
            _ => "application/octet-stream",
        };
        let (status, body) = match std::fs::read(file) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
        if method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    }
}

/// The options of either mechanism.
pub(crate) fn mechanisms() -> [Vec<&'static str>; 2] {
    [Vec::new(), crate::world::landlock()]
}

/// A script inside with one host allowed, of a caller without a proxy.
pub(crate) fn inside(world: &World, host: &str, script: &str) -> Command {
    inside_with(world, &[], (host, script))
}

fn inside_with(world: &World, options: &[&str], (host, script): (&str, &str)) -> Command {
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    command.arg("run").args(options).args(["--net", host, "--", "sh", "-c", script]);
    command
}

/// Runs it.
pub(crate) fn run(world: &World, host: &str, script: &str) -> Output {
    run_with(world, &[], (host, script))
}

/// The same with more options.
pub(crate) fn run_with(world: &World, options: &[&str], what: (&str, &str)) -> Output {
    world.output(&mut inside_with(world, options, what))
}

/// Whether a script succeeds on the host; if not, what is left out is said.
pub(crate) fn can(world: &World, what: &str, script: &str) -> bool {
    let there = world.output(world.command("sh").args(["-c", script])).status == 0;
    if !there {
        println!("skipped: there is no {what}");
    }
    there
}

/// A script fails with another rule, which is told, and succeeds with the host that
/// it needs, reaching no other; under either mechanism.
pub(crate) fn check(
    world: &World,
    internet: &Internet,
    (host, script): (&str, &str),
    expected: &str,
) {
    let before = world.outside("ls -A");
    for options in mechanisms() {
        let refused = run_with(world, &options, ("unrelated.test", script));
        let text = format!("{options:?} {script}\n{}{}", refused.stdout, refused.stderr);
        assert!(!refused.stdout.contains(expected), "{text}");
        assert!(refused.stderr.contains(&format!("pinfold: denied connect {host}:80")), "{text}");
        assert!(refused.stderr.contains(&format!("--net {host}")), "{text}");
        assert_eq!(internet.hosts(), [""; 0], "{text}");
        let output = run_with(world, &options, (host, script));
        let text = format!("{options:?} {script}\n{}{}", output.stdout, output.stderr);
        assert_eq!(output.status, 0, "{text}");
        assert!(output.stdout.contains(expected), "{expected:?} in {text}");
        assert_eq!(internet.hosts(), [host], "{text}");
        clear(world, &before);
    }
}

/// Removes what was not in the workspace before.
fn clear(world: &World, before: &str) {
    for made in world.outside("ls -A").lines().filter(|name| !before.lines().any(|b| b == *name)) {
        let made = world.path(made);
        // A file, then.
        let _ = std::fs::remove_dir_all(&made).or_else(|_| std::fs::remove_file(&made));
    }
}

/// A real server, ended when it is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts a program that stays in the foreground, and waits until it answers at a
    /// port. What it says goes to a file of its name.
    pub(crate) fn start(world: &World, (program, port): (&str, u16), arguments: &str) -> Server {
        let log = std::fs::File::create(world.path(&format!("{program}.log"))).unwrap();
        let script = format!("PATH=$PATH:/usr/sbin; exec $(command -v {program}) {arguments}");
        let child = world
            .command("unshare")
            .args(["-U", "--map-user=1234", "--map-group=1234", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server(child);
        for _ in 0..500 {
            if TcpStream::connect((ADDRESS, port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = std::fs::read_to_string(world.path(&format!("{program}.log")));
        panic!("{program} does not answer: {said:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
