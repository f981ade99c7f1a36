//! What macOS' unified log says about refusals of Seatbelt, and which of them are a
//! command's: pure, so that it is tested on every system.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::seam::{Act, Attempt, What};

/// The most refusals that wait to be known as somebody's.
const MOST_WAITING: usize = 10_000;

/// The attempt that a line of `log stream --style ndjson` tells of; none when it tells of
/// none, or of an operation that no rule of a profile is about.
pub(crate) fn attempt(line: &str) -> Option<Attempt> {
    let message = member(line, "eventMessage")?;
    // `Sandbox: NAME(PID) deny(N) OPERATION TARGET`; the name can hold anything, a
    // bracket too, so the last one before the verdict counts.
    let (process, refusal) = message.strip_prefix("Sandbox: ")?.split_once(" deny(")?;
    let number = process.strip_suffix(')')?.rsplit_once('(')?.1;
    let (_, refusal) = refusal.split_once(") ")?;
    let (operation, target) = refusal.split_once(' ').unwrap_or((refusal, ""));
    // What was refused in the same way many times comes with a note on a second line.
    let target = target.split('\n').next().unwrap_or_default();
    Some(Attempt { what: what(operation, target)?, process: number.parse().ok()?, mark: 0 })
}

fn what(operation: &str, target: &str) -> Option<What> {
    if operation == "network-outbound" {
        return destination(target);
    }
    let act = match operation {
        "file-read-metadata" | "file-test-existence" => Act::Look,
        "file-read-data" | "file-read-xattr" | "file-map-executable" => Act::Read,
        "file-write-data" => Act::Write,
        "file-write-create" | "file-link" | "file-clone" => Act::Make,
        "file-write-unlink" => Act::Remove,
        "process-exec" | "process-exec-interpreter" => Act::Execute,
        "file-write-mode" | "file-write-owner" | "file-write-flags" | "file-write-times"
        | "file-write-xattr" | "file-write-acl" => Act::Change,
        _ => return None,
    };
    let path = target.starts_with('/').then(|| target.as_bytes().to_vec())?;
    Some(What::File { act, path, follows: false, source: None })
}

/// `/path` of a unix socket, `ADDRESS:PORT`, or `*:PORT`.
fn destination(target: &str) -> Option<What> {
    if target.starts_with('/') {
        return Some(What::Socket(target.as_bytes().to_vec()));
    }
    let (host, port) = target.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let address = match host {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    let address = SocketAddr::new(address, port.parse().ok()?);
    Some(What::Address { address, datagrams: false })
}

/// The text of a member of an object of JSON: of the object itself, and of no text in it
/// that looks like one.
fn member(line: &str, name: &str) -> Option<String> {
    let mut characters = line.chars();
    let (mut depth, mut key) = (0, None);
    loop {
        match characters.next()? {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' => key = None,
            '"' => {
                let text = rest_of_text(&mut characters)?;
                match &key {
                    Some(key) if depth == 1 && key == name => return Some(text),
                    Some(_) => {}
                    None => key = Some(text),
                }
            }
            _ => {}
        }
    }
}

/// A text of JSON, after its first quote.
fn rest_of_text(characters: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'u' => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let unit = u32::from_str_radix(&digits, 16).ok()?;
                    text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// Finds out whose a refusal is: a process may be heard of before it is known to descend
/// from the command.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    family: BTreeSet<i32>,
    alive: BTreeSet<i32>,
    waiting: VecDeque<Attempt>,
}

impl Sieve {
    /// Notes processes of the family; those that are new, and the refusals that now
    /// are known as theirs, in their order.
    pub(crate) fn adopt(&mut self, processes: &[i32]) -> (Vec<i32>, Vec<Attempt>) {
        let new = |process: &&i32| self.family.insert(**process);
        let new: Vec<i32> = processes.iter().filter(new).copied().collect();
        self.alive.extend(&new);
        if new.is_empty() {
            return (new, Vec::new());
        }
        let (theirs, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|attempt: &Attempt| self.family.contains(&attempt.process));
        self.waiting = others;
        (new, theirs.into())
    }

    /// A process has ended. What is heard of it later still is the family's.
    pub(crate) fn ended(&mut self, process: i32) {
        self.alive.remove(&process);
    }

    /// Those that have not ended.
    pub(crate) fn alive(&self) -> Vec<i32> {
        self.alive.iter().copied().collect()
    }

    /// The refusal, when it is known as the family's; else it waits.
    pub(crate) fn hear(&mut self, attempt: Attempt) -> Option<Attempt> {
        if self.family.contains(&attempt.process) {
            return Some(attempt);
        }
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(attempt);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> String {
        format!(
            "{{\"timestamp\":\"2026-01-01 00:00:00.000000+0000\",\"processID\":0,\
             \"eventMessage\" : \"{message}\",\"senderImagePath\":\"/x/Sandbox\"}}"
        )
    }

    fn file(act: Act, path: &str) -> What {
        What::File { act, path: path.into(), follows: false, source: None }
    }

    #[test]
    fn lines_of_the_log_become_attempts() {
        let address =
            |text: &str| What::Address { address: text.parse().unwrap(), datagrams: false };
        for (message, expected) in [
            (
                "Sandbox: cat(12) deny(1) file-read-data /etc/a b",
                Some((12, file(Act::Read, "/etc/a b"))),
            ),
            ("Sandbox: sh(7) deny(1) file-write-create /a\\/b", Some((7, file(Act::Make, "/a/b")))),
            ("Sandbox: a(1)b)(9) deny(1) process-exec /x", Some((9, file(Act::Execute, "/x")))),
            (
                "Sandbox: a(9) deny(1) file-write-unlink /\\u00e9",
                Some((9, file(Act::Remove, "/é"))),
            ),
            (
                "Sandbox: a(9) deny(1) file-write-mode /x\\n(3 duplicates)",
                Some((9, file(Act::Change, "/x"))),
            ),
            (
                "Sandbox: curl(5) deny(1) network-outbound 192.0.2.1:443",
                Some((5, address("192.0.2.1:443"))),
            ),
            ("Sandbox: curl(5) deny(1) network-outbound *:53", Some((5, address("0.0.0.0:53")))),
            (
                "Sandbox: curl(5) deny(1) network-outbound [2001:db8::1]:80",
                Some((5, address("[2001:db8::1]:80"))),
            ),
            (
                "Sandbox: a(5) deny(1) network-outbound /private/var/run/mDNSResponder",
                Some((5, What::Socket(b"/private/var/run/mDNSResponder".to_vec()))),
            ),
            ("Sandbox: a(5) deny(1) mach-lookup com.apple.trustd", None),
            ("Sandbox: a(5) allow(1) file-read-data /x", None),
            ("Sandbox: a(x) deny(1) file-read-data /x", None),
            ("Sandbox: a(5) deny(1) file-read-data relative", None),
            ("something else", None),
        ] {
            let expected = expected.map(|(process, what)| Attempt { what, process, mark: 0 });
            assert_eq!(attempt(&line(message)), expected, "{message}");
        }
        let inside = r#"{"a":"\"eventMessage\":\"Sandbox: a(5) deny(1) file-read-data /x\"","b":{"eventMessage":"Sandbox: a(5) deny(1) file-read-data /x"}}"#;
        assert_eq!(attempt(inside), None, "only the object's own member counts");
        assert_eq!(attempt("Filtering the log data using \"...\""), None);
        assert_eq!(attempt("{\"eventMessage\":\"Sandbox: a(5) deny(1) file"), None);
    }

    #[test]
    fn refusals_wait_until_their_process_is_known() {
        let of = |process| Attempt { what: file(Act::Read, "/x"), process, mark: 0 };
        let mut sieve = Sieve::default();
        assert_eq!(sieve.adopt(&[1]), (vec![1], vec![]));
        assert_eq!(sieve.hear(of(1)), Some(of(1)));
        assert_eq!(sieve.hear(of(3)), None);
        assert_eq!(sieve.hear(of(9)), None);
        assert_eq!(sieve.adopt(&[1, 2, 3]), (vec![2, 3], vec![of(3)]));
        assert_eq!(sieve.adopt(&[3]), (vec![], vec![]));
        sieve.ended(2);
        assert_eq!(sieve.alive(), [1, 3]);
        // Its last words come after its end.
        assert_eq!(sieve.hear(of(2)), Some(of(2)));
        for _ in 0..=MOST_WAITING {
            assert_eq!(sieve.hear(of(9)), None);
        }
        assert_eq!(sieve.waiting.len(), MOST_WAITING);
    }
}
