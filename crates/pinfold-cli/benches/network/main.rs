//! What the proxy costs, next to a direct connection and, where they are installed, other
//! proxies. Everything runs in a network of its own, with an address that stands for all
//! hosts, and all rows of a table are interleaved round by round. This program is the
//! origin, its name server and, started again, every client.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod ends;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ends::{Way, client, origin};

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// A public address; nothing outside is reached by it, since this network leads nowhere.
const ADDRESS: &str = "11.0.0.1";
const HOST: &str = "bench.test";

/// The port of the origin that the proxy listens at, and one at which connections are led.
const LISTENED: u16 = 700;
const LED: u16 = 8000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, way, count] = &arguments[..]
        && role != "--bench"
    {
        return client(role, &Way::parse(way), count.parse().unwrap());
    }
    if std::env::var_os("PINFOLD_OWN_NETWORK").is_none() {
        return in_a_network_of_its_own();
    }
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    origin();
    let base = PathBuf::from(std::env::var_os("PINFOLD_OWN_NETWORK").unwrap());
    let bench = Bench { rounds, peers: peers(&base), base };
    bench.connections();
    bench.streams();
    bench.refusals();
    bench.idle();
    bench.much();
    bench.set_up();
}

/// Starts this program again where nothing but this address is.
fn in_a_network_of_its_own() {
    let base = PathBuf::from(format!("/var/tmp/pinfold-bench-{}", std::process::id()));
    fs::create_dir_all(base.join("home")).unwrap();
    fs::write(base.join("resolv.conf"), format!("nameserver {ADDRESS}\n")).unwrap();
    fs::write(base.join("hosts"), "127.0.0.1 localhost\n").unwrap();
    fs::write(base.join("passwd"), "root:x:0:0::/:/bin/sh\nbench:x:1234:1234::/:/bin/sh\n")
        .unwrap();
    let script = format!(
        "for file in resolv.conf hosts passwd; do mount --bind $file /etc/$file || exit; done; \
         mount -t tmpfs none /dev/shm && ip link set lo up && ip address add {ADDRESS}/32 dev lo \
         && echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start && exec \"$0\""
    );
    let status = Command::new("unshare")
        .args(["-Urmn", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .current_dir(&base)
        .env("PINFOLD_OWN_NETWORK", &base)
        .env("HOME", base.join("home"))
        .env("PINFOLD_HOME", base.join("home"))
        .status()
        .unwrap();
    let _ = fs::remove_dir_all(&base);
    assert!(status.success(), "a network of its own cannot be made, or a measurement failed");
}

/// Another proxy.
struct Peer {
    name: &'static str,
    way: String,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Those that are installed, at work.
fn peers(base: &std::path::Path) -> Vec<Peer> {
    let at = base.display();
    fs::write(
        base.join("tinyproxy.conf"),
        format!("Port 8881\nListen {ADDRESS}\nMaxClients 2000\nTimeout 600\nLogLevel Error\n"),
    )
    .unwrap();
    fs::write(
        base.join("squid.conf"),
        format!(
            "http_port {ADDRESS}:8882\nhttp_access allow all\ncache deny all\naccess_log none\n\
             cache_log {at}/squid.log\npid_filename none\nshutdown_lifetime 0 seconds\n\
             visible_hostname bench\ncoredump_dir {at}\nmax_filedescriptors 4096\npinger_enable off\n"
        ),
    )
    .unwrap();
    let to = format!("{HOST}:{LED}");
    let all = [
        ("tinyproxy", "connect", 8881, format!("tinyproxy -d -c {at}/tinyproxy.conf")),
        ("squid", "connect", 8882, format!("squid -N -f {at}/squid.conf")),
        ("microsocks", "socks", 8883, format!("microsocks -i {ADDRESS} -p 8883")),
    ];
    let mut started = Vec::new();
    for (name, protocol, port, command) in all {
        let script =
            format!("PATH=$PATH:/usr/sbin; command -v {name} >{at}/{name} && exec {command}");
        let child = Command::new("unshare")
            .args(["-U", "--map-user=1234", "--map-group=1234", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let way = format!("{protocol} {ADDRESS}:{port} {to}");
        let mut peer = Peer { name, way, child };
        let up = (0..250).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            TcpStream::connect((ADDRESS, port)).is_ok() || peer.child.try_wait().unwrap().is_some()
        });
        if up && peer.child.try_wait().unwrap().is_none() {
            started.push(peer);
        } else {
            println!("{name} is not installed, or does not start, and is left out");
        }
    }
    started
}

struct Bench {
    rounds: usize,
    peers: Vec<Peer>,
    base: PathBuf,
}

/// One row of a table.
struct Row<'b> {
    name: &'b str,
    way: String,
    /// The rules of a sandbox; nothing outside of one.
    rules: Option<&'static [&'static str]>,
    /// A proxy outside.
    peer: Option<&'b Peer>,
}

impl Row<'_> {
    fn has_proxy(&self) -> bool {
        self.rules.is_some() || self.peer.is_some()
    }
}

/// What a client has said, and what its proxy needed.
struct Measured {
    numbers: Vec<f64>,
    /// Processor time in seconds, for all that the proxy did for this client.
    processor: f64,
    /// Resident memory in MiB while the client waited.
    resident: f64,
}

impl Bench {
    fn rows(&self) -> Vec<Row<'_>> {
        let own = |name, way: String, rules| Row { name, way, rules: Some(rules), peer: None };
        let listened: &[&str] = &["bench.test:700"];
        let led: &[&str] = &["bench.test:8000"];
        let bare = |name, way: String| Row { name, way, rules: None, peer: None };
        let mut rows = vec![
            bare("direct", format!("direct {ADDRESS}:{LED}")),
            bare("direct, by name", format!("name {HOST}:{LED}")),
            own(
                "CONNECT, address",
                format!("connect 127.0.0.1:3128 {ADDRESS}:{LISTENED}"),
                &["11.0.0.1:700"],
            ),
            own("CONNECT", format!("connect 127.0.0.1:3128 {HOST}:{LISTENED}"), listened),
            own("a captured port", format!("name {HOST}:{LISTENED}"), listened),
            own("led", format!("name {HOST}:{LED}"), led),
        ];
        rows.extend(self.peers.iter().map(|peer| Row {
            name: peer.name,
            way: peer.way.clone(),
            rules: None,
            peer: Some(peer),
        }));
        rows
    }

    fn measure(&self, row: &Row<'_>, role: &str, count: usize) -> Measured {
        let program = std::env::current_exe().unwrap();
        let mut command = match row.rules {
            None => Command::new(&program),
            Some(rules) => {
                let mut command = Command::new(PINFOLD);
                command.args(["run", "-q"]);
                command.args(rules.iter().flat_map(|rule| ["--net", rule]));
                command.arg("--").arg(&program);
                command
            }
        };
        command.args([role, &row.way, &count.to_string()]).env_remove("PINFOLD_OWN_NETWORK");
        let before = row.peer.map_or(0.0, |peer| processor(peer.child.id()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut numbers = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            match line.parse() {
                Ok(number) => numbers.push(number),
                Err(_) => break,
            }
        }
        assert!(!numbers.is_empty(), "{} {role} failed", row.name);
        let proxy = row.peer.map_or(child.id(), |peer| peer.child.id());
        let (processor, resident) = (processor(proxy) - before, resident(proxy));
        drop(child.stdin.take());
        child.wait().unwrap();
        Measured { numbers, processor, resident }
    }

    /// A byte each way over a new connection.
    fn connections(&self) {
        let rows = self.rows();
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
        for _ in 0..self.rounds {
            for (row, times) in rows.iter().zip(&mut times) {
                times.extend(self.measure(row, "connections", 100).numbers);
            }
        }
        println!(
            "\na new connection and a byte each way: {} of each\n{:<16} {:>8} {:>9}",
            self.rounds * 100,
            "",
            "p50 us",
            "x direct"
        );
        let direct = median(&mut times[0]);
        for (row, mut times) in rows.iter().zip(times) {
            let p50 = median(&mut times);
            println!("{:<16} {p50:>8.0} {:>9.2}", row.name, p50 / direct);
        }
    }

    /// One stream to the client. The proxy's own processor time is that of its process, for
    /// pinfold with its start.
    fn streams(&self) {
        const SIZE: usize = 512;
        let rows = self.rows();
        let mut times: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); rows.len()];
        for _ in 0..self.rounds.div_ceil(2) {
            for (row, (times, processor)) in rows.iter().zip(&mut times) {
                let measured = self.measure(row, "down", SIZE);
                times.extend(&measured.numbers);
                processor.push(measured.processor * 1024.0 / SIZE as f64);
            }
        }
        println!(
            "\none stream of {SIZE} MiB: {} of each\n{:<16} {:>8} {:>9} {:>13}",
            self.rounds.div_ceil(2),
            "",
            "MiB/s",
            "x direct",
            "CPU s per GiB"
        );
        let rate = |micros: f64| SIZE as f64 / micros * 1e6;
        let direct = rate(median(&mut times[0].0));
        for (row, (mut times, mut processor)) in rows.iter().zip(times) {
            let speed = rate(median(&mut times));
            let processor = match row.has_proxy() {
                false => String::from("-"),
                true => format!("{:.2}", median(&mut processor)),
            };
            println!("{:<16} {speed:>8.0} {:>9.2} {processor:>13}", row.name, speed / direct);
        }
    }

    fn refusals(&self) {
        let way = format!("connect 127.0.0.1:3128 other.test:{LISTENED}");
        let row = Row { name: "refusal", way, rules: Some(&["bench.test:700"]), peer: None };
        let mut times = self.measure(&row, "refusals", 1000).numbers;
        println!(
            "\na refusal, from the connection to its last byte: p50 {:.0} us",
            median(&mut times)
        );
    }

    fn idle(&self) {
        println!("\n1,000 idle tunnels, resident memory of the proxy\n{:<16} {:>7}", "", "MiB");
        for row in self.rows().iter().filter(|row| row.has_proxy()) {
            println!("{:<16} {:>7.1}", row.name, self.measure(row, "idle", 1000).resident);
        }
    }

    /// Much of everything, with nothing lost, which the client asserts.
    fn much(&self) {
        println!(
            "\nnothing is lost, and memory stays: resident MiB at the end\n{:<16} {:>8} {:>8} {:>12} {:>10}",
            "", "1 conn.", "10,000", "1 GiB down", "1 GiB up"
        );
        for row in self.rows().iter().filter(|row| row.rules.is_some()) {
            let resident = |role, count| self.measure(row, role, count).resident;
            println!(
                "{:<16} {:>8.1} {:>8.1} {:>12.1} {:>10.1}",
                row.name,
                resident("connections", 1),
                resident("connections", 10_000),
                resident("down", 1024),
                resident("up", 1024)
            );
        }
    }

    /// What host rules add to a launch.
    fn set_up(&self) {
        let rules = |suffix: &str| {
            let rule = |index| format!("\"h{index}.example{suffix}\" = \"allow\"\n");
            (0..100).map(rule).collect::<String>()
        };
        let profile = |name: &str, network: &str| {
            format!("[permissions.{name}]\nextends = \":workspace\"\n{network}")
        };
        let network = |name: &str, rules: &str| {
            format!(
                "[permissions.{name}.network]\nenabled = true\n[permissions.{name}.network.domains]\n{rules}"
            )
        };
        let text = [
            String::from("default_permissions = \"off\"\n"),
            profile("off", ""),
            profile("listened", &network("listened", &rules(""))),
            profile("led", &network("led", &rules(":8000"))),
        ];
        fs::write(self.base.join("home/config.toml"), text.concat()).unwrap();
        let names = ["off", "listened", "led"];
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
        for _ in 0..self.rounds * 10 {
            for (name, times) in names.iter().zip(&mut times) {
                let began = Instant::now();
                let mut command = Command::new(PINFOLD);
                command.args(["run", "-q", "-p", name, "--", "/bin/true"]).stdin(Stdio::null());
                assert!(command.status().unwrap().success());
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        println!(
            "\na run with 100 host rules: {} of each\n{:<16} {:>8} {:>9}",
            self.rounds * 10,
            "",
            "p50 ms",
            "added"
        );
        let off = median(&mut times[0]);
        for (name, mut times) in names.iter().zip(times) {
            let p50 = median(&mut times);
            println!("{name:<16} {p50:>8.2} {:>9.2}", p50 - off);
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The processor time of a process in seconds, from `/proc/PID/stat`, in ticks of 10 ms.
fn processor(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The resident memory of a process in MiB.
fn resident(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
