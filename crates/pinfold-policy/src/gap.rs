//! Rules that a host cannot enforce exactly.

use std::fmt;

use crate::origin::Origin;

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
