//! A name server that knows nothing: every name gets an address of its own, which
//! a captured connection is recognised by. No question ever leaves the machine.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use pinfold_policy::net::Host;
use pinfold_policy::profile::{HostPattern, NetPolicy};

use crate::gate::Gate;
use crate::link::Link;

/// The first address that is handed out: 198.18.1.0, in the block for benchmarks
/// (RFC 2544), which no host on the Internet has.
const FIRST: u32 = 0xc612_0100;
/// Addresses from there to the end of 198.18.0.0/15.
const COUNT: u32 = 0x0002_0000 - 0x100;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

/// Addresses that stand for names, stable from run to run as far as there is no
/// collision, and never reused within one.
#[derive(Debug)]
pub struct Names {
    by_name: HashMap<String, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, String>,
    most: usize,
}

impl Names {
    /// A table that has room for `most` names.
    pub fn new(most: usize) -> Names {
        let most = most.min(COUNT as usize / 2);
        Names { by_name: HashMap::new(), by_address: HashMap::new(), most }
    }

    /// The name that an address stands for.
    pub fn name(&self, address: Ipv4Addr) -> Option<&str> {
        self.by_address.get(&address).map(String::as_str)
    }

    /// The address that stands for a name; nothing when the table is full.
    pub fn address(&mut self, name: &str) -> Option<Ipv4Addr> {
        if let Some(address) = self.by_name.get(name) {
            return Some(*address);
        }
        if self.by_name.len() >= self.most {
            return None;
        }
        let start = fingerprint(name) % COUNT;
        // The table is at most half full, so a free place is near.
        let free = |step: &u32| !self.by_address.contains_key(&numbered(start + step));
        let address = numbered(start + (0..COUNT).find(free)?);
        self.by_name.insert(name.into(), address);
        self.by_address.insert(address, name.into());
        Some(address)
    }
}

fn numbered(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + number % COUNT)
}

/// FNV-1a.
fn fingerprint(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Whether an address is one that [`Names`] hands out.
pub(crate) fn is_fake(address: Ipv4Addr) -> bool {
    (FIRST..FIRST + COUNT).contains(&u32::from(address))
}

/// How a question is answered.
#[derive(Clone, Copy)]
enum Outcome {
    Address(Ipv4Addr),
    NoData,
    Malformed,
    NoSuchName,
    NotImplemented,
    Refused,
}

struct Question {
    name: String,
    kind: u16,
    class: u16,
    /// Where the question ends in the message.
    end: usize,
}

/// Answers one message; nothing when it is not even a question.
///
/// A name with two or more labels, or one that a rule names, gets an address and
/// no data of any other type; whether it may be reached is decided when a
/// connection comes, so that the refusal can say why.
pub fn answer(policy: &NetPolicy, names: &Mutex<Names>, message: &[u8]) -> Option<Vec<u8>> {
    const ANSWER: u8 = 0x80;
    const OPERATION: u8 = 0x78;
    let header = message.get(..HEADER)?;
    let flags = *header.get(2)?;
    if flags & ANSWER != 0 {
        return None;
    }
    if flags & OPERATION != 0 {
        return Some(reply(message, None, Outcome::NotImplemented));
    }
    let Some(question) = read_question(message) else {
        return Some(reply(message, None, Outcome::Malformed));
    };
    let outcome = outcome(policy, names, &question);
    Some(reply(message, Some(&question), outcome))
}

fn outcome(policy: &NetPolicy, names: &Mutex<Names>, question: &Question) -> Outcome {
    if question.class != CLASS_IN && question.class != CLASS_ANY {
        return Outcome::Refused;
    }
    let Ok(Host::Name(name)) = Host::parse(&question.name) else { return Outcome::NoSuchName };
    if name == "localhost" || name.ends_with(".localhost") {
        return match question.kind {
            TYPE_A => Outcome::Address(Ipv4Addr::LOCALHOST),
            _ => Outcome::NoData,
        };
    }
    let named = |pattern: &HostPattern| matches!(pattern, HostPattern::Name(rule) if *rule == name);
    let known = name.contains('.') || policy.hosts.iter().any(|rule| named(&rule.host));
    if !known || name.ends_with(".arpa") {
        return Outcome::NoSuchName;
    }
    if question.kind != TYPE_A {
        return Outcome::NoData;
    }
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    names.address(&name).map_or(Outcome::Refused, Outcome::Address)
}

/// Reads the only question of a message, which must not be compressed.
fn read_question(message: &[u8]) -> Option<Question> {
    let two = |at: usize| {
        let bytes: [u8; 2] = message.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    if two(4)? != 1 {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let dot = usize::from(!name.is_empty());
        if length > 63 || name.len() + dot + length > 253 {
            return None;
        }
        let label = message.get(at..at + length)?;
        // A dot inside a label would look like two labels.
        if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
    Some(Question { name, kind: two(at)?, class: two(at + 2)?, end: at + 4 })
}

fn reply(message: &[u8], question: Option<&Question>, outcome: Outcome) -> Vec<u8> {
    const RECURSION_DESIRED: u8 = 1;
    let code = match outcome {
        Outcome::Address(_) | Outcome::NoData => 0,
        Outcome::Malformed => 1,
        Outcome::NoSuchName => 3,
        Outcome::NotImplemented => 4,
        Outcome::Refused => 5,
    };
    let desired = message.get(2).map_or(0, |flags| flags & RECURSION_DESIRED);
    let answers = u8::from(matches!(outcome, Outcome::Address(_)));
    let mut reply = message.get(..2).unwrap_or_default().to_vec();
    reply.extend([
        0x80 | desired,
        0x80 | code,
        0,
        u8::from(question.is_some()),
        0,
        answers,
        0,
        0,
        0,
        0,
    ]);
    if let Some(question) = question {
        reply.extend_from_slice(message.get(HEADER..question.end).unwrap_or_default());
    }
    if let Outcome::Address(address) = outcome {
        // The name of the question, type A, class IN, one second, four bytes: a
        // resolver that caches must not outlive the run.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

/// Answers questions over TCP, each with its length in front.
pub(crate) async fn serve_stream(gate: &Gate, names: &Mutex<Names>, mut client: Link) {
    loop {
        let time = gate.bounds.head_time;
        let Ok(Some(message)) = tokio::time::timeout(time, framed(&mut client)).await else {
            return;
        };
        let Some(reply) = answer(gate.policy.policy(), names, &message) else { return };
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(reply);
        if client.write(&bytes).await.is_err() {
            return;
        }
    }
}

async fn framed(client: &mut Link) -> Option<Vec<u8>> {
    loop {
        if let [high, low, rest @ ..] = client.ahead.bytes() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if rest.len() >= length {
                client.ahead.consume(2);
                return Some(client.ahead.take(length));
            }
        }
        if !matches!(client.fill().await, Ok(true)) {
            return None;
        }
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
