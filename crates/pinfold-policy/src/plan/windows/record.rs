//! Entries as lines of a file: what has been written into the lists of a host is known
//! by it, and nothing else is ever taken away.

use super::{Entry, EntryKind, Inherit, Trustee};
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
}
