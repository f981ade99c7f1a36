//! Which paths a plan depends on, so that they are looked at before it is made.

use std::collections::BTreeSet;

use crate::path::AbsPath;
use crate::profile::{FsTarget, Profile};
use crate::resolve::OWN;

/// Every path that the host's facts must cover: the targets of rules and
/// sockets. Patterns are searched for separately.
pub fn paths_of_interest(profile: &Profile) -> BTreeSet<AbsPath> {
    let policy = &profile.filesystem;
    let trees = policy.rules.iter().filter_map(|rule| match &rule.target {
        FsTarget::Tree(path) if !path.is_root() => Some(path.clone()),
        _ => None,
    });
    // Links on the way to pinfold's own files must stay what they are.
    let own = policy.rules.iter().filter(|rule| rule.origin == OWN);
    let ways = own.filter_map(|rule| match &rule.target {
        FsTarget::Tree(path) => Some(path.ancestors().skip(1).filter(|above| !above.is_root())),
        FsTarget::Glob(_) => None,
    });
    let allowed = profile.network.unix_sockets.iter().filter(|socket| socket.allow);
    let sockets = allowed.map(|socket| socket.path.clone());
    trees.chain(ways.flatten()).chain(sockets).collect()
}
