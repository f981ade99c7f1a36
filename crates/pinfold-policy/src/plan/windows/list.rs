//! Access control lists as text, in the security descriptor language: what is in one,
//! and the same list with an entry more or less. Everything else in it stays as it is.

use std::fmt;

use super::text::sddl;
use super::{Entry, EntryKind, Inherit, Trustee};

/// A discretionary access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Whether it inherits: `PAI` and the like.
    flags: String,
    /// The entries in their order, each in its parentheses.
    entries: Vec<String>,
}

/// Names for rights that the system writes in place of their numbers.
const RIGHTS: [(&str, u32); 20] = [
    ("FA", 0x001f_01ff),
    ("FR", 0x0012_0089),
    ("FW", 0x0012_0116),
    ("FX", 0x0012_00a0),
    ("GA", 0x1000_0000),
    ("GX", 0x2000_0000),
    ("GW", 0x4000_0000),
    ("GR", 0x8000_0000),
    ("SD", 0x0001_0000),
    ("RC", 0x0002_0000),
    ("WD", 0x0004_0000),
    ("WO", 0x0008_0000),
    ("CC", 0x0001),
    ("DC", 0x0002),
    ("LC", 0x0004),
    ("SW", 0x0008),
    ("RP", 0x0010),
    ("WP", 0x0020),
    ("DT", 0x0040),
    ("LO", 0x0080),
];

impl List {
    /// Reads `D:...`; nothing for any other text, and for an object without a list, which
    /// everybody may do everything with.
    pub fn parse(text: &str) -> Option<List> {
        let text = text.strip_prefix("D:")?;
        if text.contains("NO_ACCESS_CONTROL") {
            return None;
        }
        let start = text.find('(').unwrap_or(text.len());
        let (flags, mut rest) = text.split_at(start);
        if !flags.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, after) = rest.split_at(end_of_entry(rest)?);
            entries.push(entry.to_owned());
            rest = after;
        }
        Some(List { flags: flags.to_owned(), entries })
    }

    /// Whether an entry is there, written on the object itself.
    pub fn has(&self, entry: &Entry, group: &str) -> bool {
        self.entries.iter().any(|text| is(text, entry, group))
    }

    /// The list with an entry, in the order that the system wants: refusals before
    /// grants, and both before what is inherited.
    #[must_use]
    pub fn with(&self, entry: &Entry, group: &str) -> List {
        if self.has(entry, group) {
            return self.clone();
        }
        let before = |text: &String| match entry.kind {
            EntryKind::Deny => !is_inherited(text) && is_refusal(text),
            EntryKind::Allow => !is_inherited(text),
        };
        let place = self.entries.iter().take_while(|text| before(text)).count();
        let mut list = self.clone();
        list.entries.insert(place, sddl(entry, group));
        list
    }

    /// The list without an entry.
    #[must_use]
    pub fn without(&self, entry: &Entry, group: &str) -> List {
        let entries = self.entries.iter().filter(|text| !is(text, entry, group));
        List { flags: self.flags.clone(), entries: entries.cloned().collect() }
    }
}

/// Everyone.
pub const EVERYONE: &[&str] = &["WD", "S-1-1-0"];

/// Groups that every account of a host is in.
pub const ALL_USERS: &[&str] = &["WD", "S-1-1-0", "AU", "S-1-5-11", "BU", "S-1-5-32-545"];

impl List {
    /// Whether the object itself grants one of `wanted` to one of these groups, whatever may
    /// refuse it.
    pub fn grants(&self, groups: &[&str], wanted: u32) -> bool {
        self.entries.iter().any(|entry| {
            let Some(fields) = fields(entry) else { return false };
            let ["A" | "XA", inherit, rights, _, _, trustee, ..] = fields[..] else { return false };
            // Some entries are only for what is below.
            let own = flags(inherit).is_some_and(|flags| !flags.contains(&"IO"));
            own && groups.contains(&trustee)
                && mask(rights).is_none_or(|mask| generic(mask) & wanted != 0)
        })
    }
}

/// A mask with the rights for files that generic ones stand for.
fn generic(mask: u32) -> u32 {
    const MAPPED: [(u32, u32); 4] = [
        (0x8000_0000, 0x0012_0089),
        (0x4000_0000, 0x0012_0116),
        (0x2000_0000, 0x0012_00a0),
        (0x1000_0000, 0x001f_01ff),
    ];
    MAPPED.iter().filter(|(bit, _)| mask & bit != 0).fold(mask, |all, (_, rights)| all | rights)
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D:{}{}", self.flags, self.entries.concat())
    }
}

/// Where the first entry ends; a condition in one holds parentheses and quoted text.
fn end_of_entry(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then_some(at + 1);
        }
    }
    None
}

fn fields(text: &str) -> Option<Vec<&str>> {
    Some(text.strip_prefix('(')?.strip_suffix(')')?.split(';').collect())
}

/// The two letters of each flag.
fn flags(text: &str) -> Option<Vec<&str>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.collect()
}

fn is_inherited(text: &str) -> bool {
    let flags = fields(text).and_then(|fields| flags(fields.get(1)?));
    flags.is_some_and(|flags| flags.contains(&"ID"))
}

fn is_refusal(text: &str) -> bool {
    let kind = fields(text).and_then(|fields| fields.first().copied());
    kind.is_some_and(|kind| kind.ends_with('D'))
}

/// Whether the text is this entry, however its rights are written.
fn is(text: &str, entry: &Entry, group: &str) -> bool {
    let Some([kind, inherit, rights, "", "", trustee]) = fields(text).as_deref().map(shortened)
    else {
        return false;
    };
    let Some(mut inherit) = flags(inherit) else { return false };
    inherit.sort_unstable();
    let wanted_kind = match entry.kind {
        EntryKind::Deny => "D",
        EntryKind::Allow => "A",
    };
    let wanted_inherit: &[&str] = match entry.inherit {
        Inherit::Object => &[],
        Inherit::Tree => &["CI", "OI"],
    };
    let wanted_trustee = match &entry.trustee {
        Trustee::Group => group,
        Trustee::Capability(capability) => capability,
    };
    kind == wanted_kind
        && inherit == wanted_inherit
        && mask(rights) == Some(entry.mask)
        && trustee.eq_ignore_ascii_case(wanted_trustee)
}

/// The fields of an ordinary entry; one with more is none of ours.
fn shortened<'t>(fields: &[&'t str]) -> [&'t str; 6] {
    match fields {
        [kind, inherit, rights, object, inherited, trustee] => {
            [kind, inherit, rights, object, inherited, trustee]
        }
        _ => ["", "", "", "-", "-", ""],
    }
}

/// A number, or names of rights one after the other.
fn mask(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    let mut all = 0;
    for name in flags(text)? {
        all |= RIGHTS.iter().find(|(known, _)| *known == name)?.1;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{AbsPath, PathStyle};
    use crate::plan::windows::mask::{ALL, MODIFY, READ, WRITE};

    const GROUP: &str = "S-1-5-21-1-2-3-1001";
    const CAPABILITY: &str = "S-1-15-3-1024-1-2-3-4-5-6-7-8";

    fn entry(kind: EntryKind, mask: u32, inherit: Inherit) -> Entry {
        let path = AbsPath::parse(PathStyle::Windows, br"C:\work").unwrap();
        Entry { path, kind, trustee: Trustee::Capability(CAPABILITY.into()), mask, inherit }
    }

    #[test]
    fn entries_are_found_however_their_rights_are_written() {
        for (text, mask, found) in [
            ("(A;OICI;0x1301bf;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", MODIFY, true),
            ("(A;CIOI;0x1301bf;;;s-1-15-3-1024-1-2-3-4-5-6-7-8)", MODIFY, true),
            ("(A;OICI;FA;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", ALL, true),
            ("(A;OICI;FRFX;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", READ, true),
            ("(A;OICI;CCLCSWRPWPDTLOSDRC;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", READ, false),
            ("(A;OICIID;FA;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", ALL, false),
            ("(A;;FA;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", ALL, false),
            ("(D;OICI;FA;;;S-1-15-3-1024-1-2-3-4-5-6-7-8)", ALL, false),
            ("(A;OICI;FA;;;S-1-15-3-1024-1-2-3-4-5-6-7-9)", ALL, false),
            ("(XA;OICI;FA;;;S-1-15-3-1024-1-2-3-4-5-6-7-8;(@User.a==\")\"))", ALL, false),
        ] {
            let list = List::parse(&format!("D:AI{text}(A;ID;FA;;;SY)")).unwrap();
            let entry = entry(EntryKind::Allow, mask, Inherit::Tree);
            assert_eq!(list.has(&entry, GROUP), found, "{text}");
        }
    }

    #[test]
    fn entries_go_where_the_system_wants_them_and_come_out_again() {
        let before = "D:PAI(D;;FW;;;BG)(A;;FA;;;SY)(XA;;FX;;;S-1-1-0;(a==\"(\"))(A;ID;FA;;;BA)";
        let list = List::parse(before).unwrap();
        let grant = entry(EntryKind::Allow, MODIFY, Inherit::Tree);
        let refusal = entry(EntryKind::Deny, WRITE, Inherit::Object);
        let both = list.with(&grant, GROUP).with(&refusal, GROUP);
        let grant_text = sddl(&grant, GROUP);
        let refusal_text = sddl(&refusal, GROUP);
        let expected = format!(
            "D:PAI(D;;FW;;;BG){refusal_text}(A;;FA;;;SY)(XA;;FX;;;S-1-1-0;(a==\"(\")){grant_text}(A;ID;FA;;;BA)"
        );
        assert_eq!(both.to_string(), expected);
        assert_eq!(both.with(&grant, GROUP), both, "once is enough");
        assert_eq!(both.without(&grant, GROUP).without(&refusal, GROUP).to_string(), before);
    }

    #[test]
    fn what_is_granted_to_everyone_is_found() {
        const ADD: u32 = 0x6;
        for (text, groups, wanted, expected) in [
            ("D:AI(A;OICI;FA;;;WD)", EVERYONE, ADD, true),
            ("D:AI(A;OICIID;0x1301bf;;;S-1-1-0)", EVERYONE, ADD, true),
            ("D:AI(A;;GA;;;WD)", EVERYONE, ADD, true),
            ("D:AI(A;;CCDC;;;WD)", EVERYONE, ADD, true),
            ("D:AI(A;;0x1200a9;;;WD)", EVERYONE, ADD, false),
            ("D:AI(A;OICIIO;GA;;;WD)", EVERYONE, ADD, false),
            ("D:AI(A;OICI;FA;;;BU)", EVERYONE, ADD, false),
            ("D:AI(D;OICI;FA;;;WD)", EVERYONE, ADD, false),
            ("D:AI(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;BU)", ALL_USERS, 0x20, true),
            ("D:AI(A;OICI;FA;;;SY)(A;OICI;GXGR;;;AU)", ALL_USERS, 0x20, true),
            ("D:AI(A;OICI;FA;;;S-1-5-21-1-2-3-1001)", ALL_USERS, 0x20, false),
        ] {
            let list = List::parse(text).unwrap();
            assert_eq!(list.grants(groups, wanted), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        for text in ["", "O:SY", "D:NO_ACCESS_CONTROL", "D:(A;;FA;;;SY", "D:x)(", "D:P)"] {
            assert_eq!(List::parse(text), None, "{text}");
        }
        assert_eq!(List::parse("D:").unwrap().to_string(), "D:");
    }
}
