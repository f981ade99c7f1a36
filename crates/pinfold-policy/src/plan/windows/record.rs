//! Entries as lines of a file: what has been written into the lists of a host is known
//! by it, and nothing else is ever taken away.

use super::setup::{Action, Filter, Operation, Step, Traffic};
use super::{Entry, EntryKind, GROUP, Inherit, OFFLINE, PROXY, Trustee};
use crate::path::{AbsPath, PathStyle};

/// `KIND INHERIT MASK TRUSTEE PATH` and a line feed, which no path on Windows can hold.
pub fn line(entry: &Entry) -> Vec<u8> {
    let kind = match entry.kind {
        EntryKind::Deny => "deny",
        EntryKind::Allow => "allow",
    };
    let inherit = match entry.inherit {
        Inherit::Object => "object",
        Inherit::Tree => "tree",
    };
    let trustee = match &entry.trustee {
        Trustee::Group => "group",
        Trustee::Capability(capability) => capability,
    };
    let words = format!("{kind} {inherit} {:x} {trustee} ", entry.mask);
    [words.as_bytes(), entry.path.as_bytes(), b"\n"].concat()
}

/// The entry of a line, without its line feed; nothing when it is none.
pub fn entry(line: &[u8]) -> Option<Entry> {
    let mut words = line.splitn(5, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let kind = match word()? {
        "deny" => EntryKind::Deny,
        "allow" => EntryKind::Allow,
        _ => return None,
    };
    let inherit = match word()? {
        "object" => Inherit::Object,
        "tree" => Inherit::Tree,
        _ => return None,
    };
    let mask = u32::from_str_radix(word()?, 16).ok()?;
    let trustee = match word()? {
        "group" => Trustee::Group,
        capability if capability.starts_with("S-1-") => Trustee::Capability(capability.to_owned()),
        _ => return None,
    };
    let path = AbsPath::parse(PathStyle::Windows, words.next()?).ok()?;
    Some(Entry { path, kind, trustee, mask, inherit })
}

/// An operation of set-up, as its helper is told it: `apply STEP` or `undo STEP`.
pub fn operation(operation: &Operation) -> Vec<u8> {
    let (verb, step) = match operation {
        Operation::Apply(step) => ("apply ", step),
        Operation::Undo(step) => ("undo ", step),
    };
    let step = match step {
        Step::Group(_) => b"group".to_vec(),
        Step::User(user) => format!("user {user}").into_bytes(),
        Step::Member(user) => format!("member {user}").into_bytes(),
        Step::Hidden(user) => format!("hidden {user}").into_bytes(),
        Step::Password(user) => format!("password {user}").into_bytes(),
        Step::Filter(Filter { user, traffic, action }) => {
            let action = match action {
                Action::Permit => "permit",
                Action::Block => "block",
            };
            let traffic = match traffic {
                Traffic::Outbound => String::from("out"),
                Traffic::Inbound => String::from("in"),
                Traffic::Loopback(port) => port.to_string(),
            };
            format!("filter {user} {action} {traffic}").into_bytes()
        }
        Step::Entry(entry) => {
            let line = line(entry);
            [b"entry ", line.strip_suffix(b"\n").unwrap_or(&line)].concat()
        }
    };
    [verb.as_bytes(), &step].concat()
}

/// The reverse of [`operation`]; nothing for any other text.
pub fn operation_of(text: &[u8]) -> Option<Operation> {
    let (verb, text) = split(text)?;
    let step = match split(text) {
        None if text == b"group" => Step::Group(GROUP),
        None => return None,
        Some((b"user", user)) => Step::User(user_of(user)?),
        Some((b"member", user)) => Step::Member(user_of(user)?),
        Some((b"hidden", user)) => Step::Hidden(user_of(user)?),
        Some((b"password", user)) => Step::Password(user_of(user)?),
        Some((b"filter", rest)) => {
            let (user, rest) = split(rest)?;
            let (action, traffic) = split(rest)?;
            let action = match action {
                b"permit" => Action::Permit,
                b"block" => Action::Block,
                _ => return None,
            };
            let traffic = match std::str::from_utf8(traffic).ok()? {
                "out" => Traffic::Outbound,
                "in" => Traffic::Inbound,
                port => Traffic::Loopback(port.parse().ok().filter(|port| *port > 0)?),
            };
            Step::Filter(Filter { user: user_of(user)?, traffic, action })
        }
        Some((b"entry", line)) => Step::Entry(entry(line)?),
        Some(_) => return None,
    };
    match verb {
        b"apply" => Some(Operation::Apply(step)),
        b"undo" => Some(Operation::Undo(step)),
        _ => None,
    }
}

/// What is before the first space, and what after it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}

/// The account of this name, if set-up makes it: it touches no other.
fn user_of(name: &[u8]) -> Option<&'static str> {
    [OFFLINE, PROXY].into_iter().find(|user| user.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_noted_as_they_are() {
        let noted = |kind, trustee, inherit| Entry {
            path: AbsPath::parse(PathStyle::Windows, br"C:\a b\c").unwrap(),
            kind,
            trustee,
            mask: 0x0013_01bf,
            inherit,
        };
        let capability = Trustee::Capability("S-1-15-3-1024-1".into());
        for noted in [
            noted(EntryKind::Allow, capability, Inherit::Tree),
            noted(EntryKind::Deny, Trustee::Group, Inherit::Object),
        ] {
            let text = line(&noted);
            assert_eq!(entry(text.strip_suffix(b"\n").unwrap()), Some(noted));
        }
        for damaged in [
            "",
            "allow",
            "allow tree x S-1-1 C:\\a",
            "give tree 1 S-1-1 C:\\a",
            "allow tree 1 S-1-1 a",
            "allow tree 1 me C:\\a",
        ] {
            assert_eq!(entry(damaged.as_bytes()), None, "{damaged}");
        }
    }
    #[test]
    fn operations_are_told_as_they_are_and_no_others() {
        let path = AbsPath::parse(PathStyle::Windows, br"C:\a b\c").unwrap();
        let noted = Entry {
            path,
            kind: EntryKind::Allow,
            trustee: Trustee::Group,
            mask: 1,
            inherit: Inherit::Tree,
        };
        for step in crate::plan::windows::setup::steps(4128, &[noted]) {
            for told in [Operation::Apply(step.clone()), Operation::Undo(step)] {
                assert_eq!(operation_of(&operation(&told)), Some(told));
            }
        }
        for other in [
            "",
            "apply",
            "apply ",
            "make group",
            "apply group PinfoldSandbox",
            "undo user Administrator",
            "apply member PinfoldOffline Administrators",
            "apply hidden",
            "apply filter PinfoldProxy permit out in",
            "apply filter PinfoldProxy permit 0",
            "apply filter PinfoldProxy permit 70000",
            "apply filter Guest block out",
            "apply filter PinfoldProxy drop out",
            "apply entry x",
        ] {
            assert_eq!(operation_of(other.as_bytes()), None, "{other}");
        }
    }
}
