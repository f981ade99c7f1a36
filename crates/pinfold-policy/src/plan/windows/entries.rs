//! Changing access control lists as little as possible: what is there, what
//! should be, and the difference. The entries of others are never touched.

use std::collections::BTreeSet;

use super::Entry;

/// What is wrong with a host's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// To be written, sorted.
    pub missing: Vec<Entry>,
    /// Written by pinfold before and wanted no more, sorted.
    pub stale: Vec<Entry>,
}

/// Compares the entries of pinfold that are there with the wanted ones.
/// `present` has only entries for pinfold's own trustees that are written on
/// the objects themselves, none that is inherited.
pub fn difference(present: &[Entry], wanted: &[Entry]) -> Difference {
    let present: BTreeSet<&Entry> = present.iter().collect();
    let wanted: BTreeSet<&Entry> = wanted.iter().collect();
    let only = |left: &BTreeSet<&Entry>, right: &BTreeSet<&Entry>| {
        left.difference(right).map(|entry| (*entry).clone()).collect()
    };
    Difference { missing: only(&wanted, &present), stale: only(&present, &wanted) }
}
