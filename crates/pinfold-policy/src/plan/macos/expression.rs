//! A pattern as an anchored regular expression of Seatbelt.
//!
//! Expressions cannot be parameters, so they are the only place where a path
//! stands in the text of a profile. A byte that could end the literal, or whose
//! meaning in Seatbelt's dialect is not certain, becomes "any byte of a name".

use crate::glob::{Matcher, Part, class};

const ANY: &[u8] = b"[^/]";

/// An expression that matches what a pattern covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    /// Printable ASCII without a double quote.
    pub(super) text: String,
    /// Whether it matches nothing else; otherwise it also matches more.
    pub(super) exact: bool,
}

/// The expression for a match and everything below it.
pub(super) fn expression(matcher: &Matcher) -> Expression {
    let mut written = Writer { bytes: b"^".to_vec(), exact: true };
    for name in matcher.base().components() {
        written.bytes.push(b'/');
        written.literal(name);
    }
    written.bytes.push(b'(');
    for (index, parts) in matcher.alternatives().iter().enumerate() {
        if index > 0 {
            written.bytes.push(b'|');
        }
        written.names(parts);
    }
    written.bytes.extend_from_slice(b")(/.*)?$");
    let text = written.bytes.iter().copied().map(char::from).collect();
    Expression { text, exact: written.exact }
}

struct Writer {
    bytes: Vec<u8>,
    exact: bool,
}

impl Writer {
    fn names(&mut self, parts: &[Part]) {
        for (index, part) in parts.iter().enumerate() {
            match part {
                // What is below a match is covered too, so a last `**` is one name.
                Part::Directories if index + 1 == parts.len() => {
                    self.bytes.extend_from_slice(b"/[^/]+");
                }
                Part::Directories => self.bytes.extend_from_slice(b"(/[^/]+)*"),
                Part::Literal(name) => {
                    self.bytes.push(b'/');
                    self.literal(name);
                }
                Part::Suffix(suffix) => {
                    self.bytes.extend_from_slice(b"/[^/]*");
                    self.literal(suffix);
                }
                Part::Pattern(pattern) => {
                    self.bytes.push(b'/');
                    self.pattern(pattern);
                }
            }
        }
    }

    fn pattern(&mut self, mut pattern: &[u8]) {
        while let [first, rest @ ..] = pattern {
            pattern = rest;
            match first {
                b'*' => self.bytes.extend_from_slice(b"[^/]*"),
                b'?' => self.bytes.extend_from_slice(ANY),
                b'[' => match class(&[b"[", rest].concat()) {
                    Some((members, length)) => {
                        self.class(members);
                        pattern = rest.get(length - 1..).unwrap_or_default();
                    }
                    None => self.literal(b"["),
                },
                other => self.literal(&[*other]),
            }
        }
    }

    /// Only letters, digits and ranges between them are sure to mean the same.
    fn class(&mut self, members: &[u8]) {
        let (negated, plain) = match members {
            [b'!' | b'^', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let sure = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
        let simple = match plain {
            [first, b'-', last] => {
                first <= last && [first, last].iter().all(|byte| byte.is_ascii_alphanumeric())
            }
            members => members.iter().all(sure),
        };
        if !simple || plain.is_empty() {
            self.exact = false;
            return self.bytes.extend_from_slice(ANY);
        }
        self.bytes.extend_from_slice(if negated { b"[^/" } else { b"[" });
        self.bytes.extend_from_slice(plain);
        self.bytes.push(b']');
    }

    fn literal(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                b'"' => self.inexact(),
                byte if br"\.^$*+?()[]{}|".contains(byte) => {
                    self.bytes.extend_from_slice(&[b'\\', *byte]);
                }
                b' '..=b'~' => self.bytes.push(*byte),
                _ => self.inexact(),
            }
        }
    }

    /// One character in Seatbelt's eyes may be several bytes in ours.
    fn inexact(&mut self) {
        self.exact = false;
        if !self.bytes.ends_with(b"[^/]+") {
            self.bytes.extend_from_slice(b"[^/]+");
        }
    }
}
