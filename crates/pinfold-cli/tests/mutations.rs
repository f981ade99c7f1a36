//! The session protocol under messages that are almost right: each is answered or
//! refused, and the server goes on. The choice is the same in every run;
//! `PINFOLD_SEED` and `PINFOLD_ROUNDS` make others.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod world;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;
use world::World;

/// One of each kind, as a client would send them to the session `s1`.
const MESSAGES: [&str; 22] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocol":1,"client":{"name":"a","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","id":"x","method":"session/start","params":{"name":"two","deny":["**/*.pem"],"denials":"writes","keep":false}}"#,
    r#"{"jsonrpc":"2.0","id":2,"method":"session/list"}"#,
    r#"{"jsonrpc":"2.0","id":3,"method":"session/attach","params":{"session":"s1"}}"#,
    r#"{"jsonrpc":"2.0","id":4,"method":"session/explain","params":{"session":"s1","thing":"/etc/shadow"}}"#,
    r#"{"jsonrpc":"2.0","id":5,"method":"session/denials","params":{"session":"s1","process":"p2","from":0}}"#,
    r#"{"jsonrpc":"2.0","id":6,"method":"session/stop","params":{"session":"two"}}"#,
    r#"{"jsonrpc":"2.0","id":7,"method":"process/start","params":{"session":"s1","command":["true"],"stdin":false}}"#,
    r#"{"jsonrpc":"2.0","id":8,"method":"process/start","params":{"session":"s1","command":["cat"],"terminal":{"rows":5,"columns":80}}}"#,
    r#"{"jsonrpc":"2.0","id":9,"method":"process/start","params":{"session":"s1","command":["sh","-c","echo x"],"environment":{"A":"b"},"directory":"."}}"#,
    r#"{"jsonrpc":"2.0","id":10,"method":"process/write","params":{"process":"p3","data":"aGVsbG8K"}}"#,
    r#"{"jsonrpc":"2.0","id":11,"method":"process/close_stdin","params":{"process":"p3"}}"#,
    r#"{"jsonrpc":"2.0","id":12,"method":"process/resize","params":{"process":"p3","rows":65535,"columns":1}}"#,
    r#"{"jsonrpc":"2.0","id":13,"method":"process/signal","params":{"process":"p3","signal":"TERM"}}"#,
    r#"{"jsonrpc":"2.0","id":14,"method":"process/terminate","params":{"process":"p3","grace":0.0}}"#,
    r#"{"jsonrpc":"2.0","id":15,"method":"process/read","params":{"process":"p3","after":0,"maximum":100,"wait":0}}"#,
    r#"{"jsonrpc":"2.0","id":16,"method":"process/attach","params":{"process":"p3","after":1}}"#,
    r#"{"jsonrpc":"2.0","id":17,"method":"process/wait","params":{"process":"p3"}}"#,
    r#"{"jsonrpc":"2.0","id":18,"method":"file/read","params":{"session":"s1","path":"f","offset":1,"length":2}}"#,
    r#"{"jsonrpc":"2.0","id":19,"method":"file/write","params":{"session":"s1","path":"f","data":"aGk=","how":"append"}}"#,
    r#"{"jsonrpc":"2.0","id":20,"method":"file/list","params":{"session":"s1","path":"."}}"#,
    r#"{"jsonrpc":"2.0","id":21,"method":"process/start","params":{"session":"s1","command":["true"],"descriptors":true}}"#,
];

/// What is put in the place of something.
const PIECES: [&[u8]; 22] = [
    b"null",
    b"-1",
    b"1e309",
    b"18446744073709551616",
    b"0.5",
    b"{}",
    b"[]",
    b"[[[[",
    b"\"\"",
    b"true",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\"p3\"",
    b"s1",
    b"..",
    b"/",
    b",",
    b"}",
    b"\"params\":",
    b"\"id\":",
    b"\n",
];

/// Numbers that look random: xorshift of Marsaglia.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// A message with one to four things wrong.
fn mutated(chance: &mut Chance) -> Vec<u8> {
    let mut line = MESSAGES[chance.below(MESSAGES.len())].as_bytes().to_vec();
    for _ in 0..=chance.below(4) {
        let start = chance.below(line.len());
        let end = (start + chance.below(12)).min(line.len());
        match chance.below(6) {
            0 => drop(line.drain(start..end)),
            1 => drop(line.splice(start..end, PIECES[chance.below(PIECES.len())].iter().copied())),
            2 => line[start] = chance.below(256) as u8,
            3 => line.truncate(start.max(1)),
            4 => {
                let copy = line[start..end].to_vec();
                drop(line.splice(end..end, copy));
            }
            _ => {
                let other = MESSAGES[chance.below(MESSAGES.len())].as_bytes();
                let from = chance.below(other.len());
                drop(line.splice(start..end, other[from..].iter().copied()));
            }
        }
        if line.is_empty() {
            line.push(b'{');
        }
    }
    // A server that is told to end has every right to.
    if line.windows(8).any(|word| word == b"shutdown") { b"{}".to_vec() } else { line }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_server_survives_messages_that_are_almost_right() {
    let world = World::new("mutations");
    let seed = number("PINFOLD_SEED", 0x9e37_79b9_7f4a_7c15);
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    let mut server =
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = server.stdin.take().unwrap();
    let output = BufReader::new(server.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        output
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect::<Vec<Value>>()
    });
    let begin = [
        r#"{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocol":1}}"#,
        r#"{"jsonrpc":"2.0","id":"session","method":"session/start","params":{}}"#,
    ];
    let mut chance = Chance(seed);
    let lines = begin.iter().map(|line| line.as_bytes().to_vec());
    let rounds = number("PINFOLD_ROUNDS", 3_000);
    for line in lines.chain((0..rounds).map(|_| mutated(&mut chance))) {
        input.write_all(&line).unwrap_or_else(|_| panic!("the server has ended; seed {seed}"));
        input.write_all(b"\n").unwrap_or_else(|_| panic!("the server has ended; seed {seed}"));
    }
    let last = r#"{"jsonrpc":"2.0","id":"last","method":"session/list"}"#;
    input.write_all(format!("{last}\n").as_bytes()).unwrap();
    drop(input);
    let answers = reader.join().unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "seed {seed}");
    let answer = |id: &str| answers.iter().find(|answer| answer["id"] == id);
    assert!(answer("last").is_some_and(|last| last.get("result").is_some()), "seed {seed}");
    let refused = answers.iter().filter(|answer| answer.get("error").is_some());
    assert!(refused.count() as u64 > rounds / 4, "hardly anything was wrong");
    for answer in answers.iter().filter(|answer| answer.get("error").is_some()) {
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && !message.contains("panicked"), "{answer}");
    }
    // Nothing was written but below the workspace and by what runs inside.
    let left = world.outside("ls -A ~");
    assert!(left.lines().all(|name| name == ".local"), "{left}");
}
