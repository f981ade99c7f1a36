//! The sniffed door under bytes that are almost a request: whatever they are taken for,
//! nothing is resolved, dialled or sent but what the rules allow. The changes are the
//! same in each run; `PINFOLD_SEED` makes others.

use std::time::Duration;

use pinfold_egress::{Bounds, Door, Options};

use crate::harness::{Scene, connect, get, hello, policy, tunnel};

/// Requests of every kind that the door takes, for hosts that may be reached and for
/// some that may not.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for host in ["ok.test", "deny.test", "priv.test", "10.0.0.1", "[::1]"] {
        seeds.push(get(host));
        seeds.push(connect(&format!("{host}:443")));
        seeds.push(tunnel(&format!("{host}:443"), &hello(Some("ok.test"), 16)));
        seeds.push(tunnel(&format!("{host}:80"), &get(host)));
        seeds.push([get(host), get("ok.test")].concat());
        let mut socks = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
        socks.extend(host.as_bytes());
        socks.extend([1, 187]);
        seeds.push([socks, hello(Some(host), 16)].concat());
        seeds.push([b"\x04\x01\x01\xbb\0\0\0\x01me\0", host.as_bytes(), b"\0"].concat());
    }
    seeds.push(vec![5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 1, 0, 80]);
    seeds.push(vec![4, 1, 0, 80, 10, 0, 0, 1, 0]);
    seeds.push(
        b"POST http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\nhello\r\n0\r\n\r\n"
            .to_vec(),
    );
    seeds
}

/// Numbers that look random: xorshift of Marsaglia.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

/// What confuses parsers of these protocols.
const PIECES: [&[u8]; 14] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"@",
    b"//",
    b"deny.test",
    b"10.0.0.1",
    b"\xff",
    b"Host: deny.test\r\n",
    b"Content-Length: 3\r\n",
];

fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        let end = (at + chance.below(6)).min(bytes.len());
        match chance.below(4) {
            0 => drop(bytes.splice(at..end, PIECES[chance.below(PIECES.len())].iter().copied())),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(chance.below(256)).unwrap();
                }
            }
        }
    }
    bytes
}

#[test]
fn nothing_that_is_almost_a_request_reaches_what_the_rules_do_not_allow() {
    let bounds = Bounds { head_time: Duration::from_secs(2), ..Bounds::default() };
    let options = Options { bounds, ..Options::default() };
    let rules = policy(&["allow ok.test", "deny deny.test"]);
    let scene = Scene::with(rules, options, |listener| vec![Door::Proxy(listener)]);
    let seed = std::env::var("PINFOLD_SEED").ok().and_then(|text| text.parse().ok());
    let (seeds, mut chance) = (seeds(), Chance(seed.unwrap_or(0x9e37_79b9_7f4a_7c15)));
    for _ in 0..2_000 {
        scene.talk(&mutated(&seeds, &mut chance));
    }
    let asked = scene.world.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|name| name == "ok.test"), "{asked:?}");
    let dialled = scene.dialled();
    let allowed = ["93.184.216.34:80", "93.184.216.34:443"];
    assert!(dialled.iter().all(|address| allowed.contains(&address.as_str())), "{dialled:?}");
    assert!(!dialled.is_empty(), "hardly anything was right");
    for head in scene.heads() {
        let lower = head.to_ascii_lowercase();
        let hosts: Vec<&str> =
            lower.lines().filter_map(|line| line.strip_prefix("host:")).map(str::trim).collect();
        assert!(matches!(&hosts[..], ["ok.test" | "ok.test:80"]), "{head}");
    }
    // It still does its work.
    assert!(scene.talk(&get("ok.test")).starts_with("HTTP/1.1 200"));
}
