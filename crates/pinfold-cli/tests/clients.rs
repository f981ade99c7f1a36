//! Real clients reach the hosts that a rule names, with no option of theirs for it,
//! and no other. Every test has a network of its own, in which a public address leads
//! to one server that stands for all hosts.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod world;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use world::{Output, World};

/// A public address; nothing outside is reached by it, since a test's own network
/// leads nowhere.
const ADDRESS: &str = "11.0.0.1";

/// Runs a test in a network of its own; says where that cannot be made.
fn isolated(test: &str, body: fn(&World, &Internet)) {
    let world = World::new(test);
    if std::env::var_os("PINFOLD_OWN_NETWORK").is_some() {
        let internet = Internet::start(world.home().join("internet"));
        return body(&world, &internet);
    }
    world.file("resolv.conf", &format!("nameserver {ADDRESS}\n"));
    world.file("hosts", &format!("127.0.0.1 localhost\n{ADDRESS} listed.test other.test\n"));
    let script = format!(
        "mount --bind resolv.conf /etc/resolv.conf && mount --bind hosts /etc/hosts && ip link set lo up && ip address add {ADDRESS}/32 dev lo \
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
struct Internet {
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
    fn file(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The hosts that were asked for since the last time.
    fn hosts(&self) -> Vec<String> {
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

/// Runs a script inside with one host allowed.
fn run(world: &World, host: &str, script: &str) -> Output {
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
    world.output(command.args(["run", "--net", host, "--", "sh", "-c", script]))
}

/// Whether a script succeeds on the host; if not, what is left out is said.
fn can(world: &World, what: &str, script: &str) -> bool {
    let there = world.output(world.command("sh").args(["-c", script])).status == 0;
    if !there {
        println!("skipped: there is no {what}");
    }
    there
}

/// A script fails with another rule, which is told, and succeeds with the host that
/// it needs, reaching no other.
fn check(world: &World, internet: &Internet, (host, script): (&str, &str), expected: &str) {
    let refused = run(world, "unrelated.test", script);
    let text = format!("{script}\n{}{}", refused.stdout, refused.stderr);
    assert!(!refused.stdout.contains(expected), "{text}");
    assert!(refused.stderr.contains(&format!("pinfold: denied connect {host}:80")), "{text}");
    assert!(refused.stderr.contains(&format!("--net {host}")), "{text}");
    assert_eq!(internet.hosts(), [""; 0], "{text}");
    let output = run(world, host, script);
    let text = format!("{script}\n{}{}", output.stdout, output.stderr);
    assert_eq!(output.status, 0, "{text}");
    assert!(output.stdout.contains(expected), "{expected:?} in {text}");
    assert_eq!(internet.hosts(), [host], "{text}");
}

#[test]
fn programs_that_fetch_pages() {
    isolated("programs_that_fetch_pages", |world, internet| {
        internet.file("web.test/hello", "hello from outside\n");
        let url = "http://web.test/hello";
        let without = "env -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY";
        let python =
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())";
        let requests = "import sys; from pip._vendor import requests as r; a = r.get(sys.argv[1]); a.raise_for_status(); print(a.text)";
        let node = "fetch(process.argv[1]).then(async a => { if (!a.ok) process.exit(1); console.log(await a.text()) }, () => process.exit(1))";
        world.file(
            "Fetch.java",
            "public class Fetch { public static void main(String[] a) throws Exception {\n\
         try (var in = new java.net.URL(a[0]).openStream()) { in.transferTo(System.out); } } }\n",
        );
        for (program, script) in [
            ("curl", format!("curl -sSf {url}")),
            // It knows nothing of any proxy then.
            ("curl", format!("{without} curl -sSf {url}")),
            ("wget", format!("wget -qO- {url}")),
            ("wget", format!("{without} wget -qO- --tries=1 {url}")),
            ("python3", format!("python3 -c '{python}' {url}")),
            ("node", format!("node -e '{node}' {url}")),
            ("javac", format!("java Fetch.java {url}")),
        ] {
            if can(world, program, &format!("command -v {program}")) {
                check(world, internet, ("web.test", &script), "hello from outside");
            }
        }
        if can(world, "pip for Python", "python3 -c 'import pip'") {
            let script = format!("python3 -c '{requests}' {url}");
            check(world, internet, ("web.test", &script), "hello from outside");
        }
    });
}

#[test]
fn hosts_that_a_file_names_are_known_by_name() {
    isolated("hosts_that_a_file_names_are_known_by_name", |world, internet| {
        if !can(world, "curl", "command -v curl") {
            return;
        }
        internet.file("listed.test/hello", "hello from outside\n");
        let script = "curl -sSf --noproxy '*' http://listed.test/hello";
        check(world, internet, ("listed.test", script), "hello from outside");
        // Another name of the same address is another host.
        let other = run(world, "other.test", script);
        let text = format!("{}{}", other.stdout, other.stderr);
        assert!(other.status != 0 && !text.contains("hello"), "{text}");
        assert_eq!(internet.hosts(), [""; 0], "{text}");
    });
}

#[test]
fn git_clones() {
    isolated("git_clones", |world, internet| {
        if !can(world, "git", "command -v git") {
            return;
        }
        world.outside(
            "mkdir ~/made && cd ~/made && git init -q . && echo kept >file && git add file && \
         git -c user.name=a -c user.email=a@example.com commit -qm one && \
         git clone -q --bare . ~/internet/git.test/made.git && \
         cd ~/internet/git.test/made.git && git update-server-info",
        );
        let script = "rm -rf made; git clone -q http://git.test/made.git && cat made/file";
        check(world, internet, ("git.test", script), "kept");
    });
}

#[test]
fn pip_installs() {
    isolated("pip_installs", |world, internet| {
        if !can(world, "pip for Python", "python3 -c 'import pip'") {
            return;
        }
        let wheel = r#"
import os, zipfile
base = os.path.expanduser("~/internet/python.test/simple/thing")
os.makedirs(base)
name = "thing-1.0-py3-none-any.whl"
with zipfile.ZipFile(os.path.join(base, name), "w") as wheel:
    wheel.writestr("thing.py", "value = 'installed from outside'\n")
    wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("thing-1.0.dist-info/RECORD", "")
with open(os.path.join(base, "index.html"), "w") as index:
    index.write(f'<!DOCTYPE html><html><body><a href="{name}">{name}</a></body></html>')
"#;
        world.file("wheel.py", wheel);
        world.outside("python3 wheel.py");
        let script = "export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_RETRIES=0 PIP_NO_CACHE_DIR=1\n\
        python3 -m pip install -q --target there --index-url http://python.test/simple/ \
        --trusted-host python.test thing\n\
        PYTHONPATH=there python3 -c 'import thing; print(thing.value)'";
        check(world, internet, ("python.test", script), "installed from outside");
    });
}

#[test]
fn npm_installs() {
    isolated("npm_installs", |world, internet| {
        if !can(world, "npm", "command -v npm") {
            return;
        }
        world.outside(
            "mkdir -p ~/package ~/internet/npm.test/thing/-\n\
         echo '{\"name\":\"thing\",\"version\":\"1.0.0\"}' >~/package/package.json\n\
         echo 'module.exports = \"installed from outside\"' >~/package/index.js\n\
         tar -czf ~/internet/npm.test/thing/-/thing-1.0.0.tgz -C ~ package",
        );
        let package = r#"{"name":"user","version":"1.0.0","dependencies":{"thing":"1.0.0"}}"#;
        let lock = r#"{"name":"user","version":"1.0.0","lockfileVersion":3,"packages":{
        "":{"name":"user","version":"1.0.0","dependencies":{"thing":"1.0.0"}},
        "node_modules/thing":{"version":"1.0.0","resolved":"http://npm.test/thing/-/thing-1.0.0.tgz"}}}"#;
        world.file("package.json", package);
        world.file("package-lock.json", lock);
        let script = "export npm_config_cache=$PWD/cache npm_config_update_notifier=false \
        npm_config_fetch_retries=0 npm_config_audit=false npm_config_fund=false\n\
        npm ci --silent --registry http://npm.test/ && node -p 'require(\"thing\")'";
        check(world, internet, ("npm.test", script), "installed from outside");
    });
}

#[test]
fn cargo_fetches() {
    isolated("cargo_fetches", |world, internet| {
        let cargo = env!("CARGO");
        if !can(world, "cargo for this user", &format!("{cargo} --version")) {
            return;
        }
        world.outside(
        "mkdir -p ~/thing-1.0.0/src ~/internet/crates.test/index/th/in ~/internet/crates.test/thing/1.0.0\n\
         printf '[package]\\nname = \"thing\"\\nversion = \"1.0.0\"\\n' >~/thing-1.0.0/Cargo.toml\n\
         echo '// fetched from outside' >~/thing-1.0.0/src/lib.rs\n\
         tar -czf ~/internet/crates.test/thing/1.0.0/download -C ~ thing-1.0.0\n\
         sum=$(sha256sum ~/internet/crates.test/thing/1.0.0/download | cut -d' ' -f1)\n\
         echo '{\"dl\":\"http://crates.test\"}' >~/internet/crates.test/index/config.json\n\
         echo '{\"name\":\"thing\",\"vers\":\"1.0.0\",\"deps\":[],\"features\":{},\"yanked\":false,\
         \"cksum\":\"'$sum'\"}' >~/internet/crates.test/index/th/in/thing",
    );
        world.file("src/lib.rs", "");
        world.file(
            "Cargo.toml",
            "[package]\nname = \"user\"\nversion = \"1.0.0\"\n\
         [dependencies]\nthing = { version = \"1.0.0\", registry = \"own\" }\n",
        );
        let script = format!(
            "export CARGO_HOME=$PWD/home CARGO_NET_RETRY=0 \
         CARGO_REGISTRIES_OWN_INDEX=sparse+http://crates.test/index/\n\
         {cargo} fetch -q && cat home/registry/src/*/thing-1.0.0/src/lib.rs"
        );
        check(world, internet, ("crates.test", &script), "fetched from outside");
    });
}
