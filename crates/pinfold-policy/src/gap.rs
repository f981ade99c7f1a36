//! Rules that a host cannot enforce exactly.

use std::fmt;

use crate::config::diagnostic::nearest;
use crate::origin::Origin;

/// The name of every gap that there can be on any system, sorted.
pub const NAMES: [&str; 34] = [
    "accounts",
    "attributes",
    "deny-read",
    "entries",
    "existence",
    "host-rules",
    "landlock",
    "landlock-version",
    "later-matches",
    "local-binding",
    "loopback",
    "memory",
    "missing-path",
    "moved-into-place",
    "name-resolution",
    "network",
    "open-network",
    "overlapping-patterns",
    "pattern",
    "pattern-exception",
    "private-directory",
    "private-tmp",
    "proc",
    "processes",
    "processes-visible",
    "replaced-file",
    "restricted-read",
    "shared-memory",
    "survivors",
    "tmp-size",
    "unix-sockets",
    "user-namespaces",
    "volume-root",
    "world-writable",
];

/// What to write instead of a name that is none of [`NAMES`]; nothing for one
/// that is.
pub(crate) fn correction(name: &str) -> Option<String> {
    if NAMES.contains(&name) {
        return None;
    }
    Some(match nearest(name, NAMES) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => format!("the gaps are {}", NAMES.join(", ")),
    })
}

/// One difference between a profile and what this host can enforce.
///
/// A gap stops the run unless the profile or the command line allows the gap
/// of that very name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The stable name that `--allow-gap` takes, for example `deny-read`.
    pub name: &'static str,
    /// The rule that does not hold, for example `deny "/srv/secret"`.
    pub rule: String,
    /// Where that rule was written, when it was written at all.
    pub origin: Option<Origin>,
    /// Why this host cannot enforce it.
    pub reason: String,
    /// What the user can do about it, apart from allowing the gap.
    pub remedy: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot enforce {}: {}", self.rule, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gap_is_documented_and_nothing_else() {
        let text = include_str!("../../../docs/gaps.md");
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let mut documented: Vec<&str> =
            cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')).collect();
        documented.sort_unstable();
        documented.dedup();
        assert_eq!(documented, NAMES);
    }

    #[test]
    fn a_name_that_is_none_is_corrected() {
        for (name, expected) in [
            ("missing-path", None),
            ("mising-path", Some("did you mean \"missing-path\"?")),
            ("surviver", Some("did you mean \"survivors\"?")),
        ] {
            assert_eq!(correction(name).as_deref(), expected, "{name}");
        }
        assert!(correction("x").unwrap().starts_with("the gaps are accounts, "));
    }
}
