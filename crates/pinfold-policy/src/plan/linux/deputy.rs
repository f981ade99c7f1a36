//! What the supervisor does for a command under Landlock.
//!
//! Landlock's rules are for what exists when the command starts. Whatever appears
//! later directly in a carved directory is out of the command's reach, so the
//! supervisor makes those calls in its place, when the profile allows them. A call
//! that it does not make goes on to the kernel, where Landlock refuses it.

use std::collections::BTreeMap;

use crate::glob::Matcher;
use crate::path::AbsPath;
use crate::profile::{Access, Glob};

/// What may be done for a command, by the names that files have in truth: links
/// resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deputy {
    /// What the rules say about places, and about names that are kept free. The
    /// deepest one around a path decides, and where there is none, nothing may be done.
    pub places: BTreeMap<AbsPath, Access>,
    /// What they say about patterns, for matches that appear later.
    pub patterns: Vec<(Glob, Access)>,
    /// Whether files are opened to be read as well: something is denied in a
    /// directory that may be read.
    pub reads: bool,
    /// Trees that Landlock itself gives and the command cannot move: whatever is
    /// done there in this way needs nobody's help.
    pub given: BTreeMap<AbsPath, Access>,
}

/// A [`Deputy`], ready to answer.
#[derive(Clone, Debug)]
pub struct Judge<'d> {
    deputy: &'d Deputy,
    patterns: Vec<(Matcher, Access)>,
}

impl Deputy {
    /// Prepares the patterns.
    pub fn judge(&self) -> Judge<'_> {
        let prepared = |(glob, access): &(Glob, Access)| (Matcher::new(glob), *access);
        Judge { deputy: self, patterns: self.patterns.iter().map(prepared).collect() }
    }
}

impl Judge<'_> {
    /// Whether files are opened to be read as well.
    pub fn reads(&self) -> bool {
        self.deputy.reads
    }

    /// Whether Landlock lets the command read, or write, a path by itself.
    pub fn is_given(&self, path: &AbsPath, access: Access) -> bool {
        let mut given = path.ancestors().filter_map(|above| self.deputy.given.get(&above));
        given.any(|given| *given >= access)
    }

    /// Whether what is at a path may be read.
    pub fn may_read(&self, path: &AbsPath) -> bool {
        self.access(path).is_some_and(|access| access != Access::Deny)
    }

    /// Whether what is at a path may be changed.
    pub fn may_write(&self, path: &AbsPath) -> bool {
        self.access(path) == Some(Access::Write)
    }

    /// Whether a file or directory may be made at a path where nothing is.
    pub fn may_make(&self, path: &AbsPath) -> bool {
        self.may_write(path) && path.parent().is_some_and(|above| self.may_write(&above))
    }

    /// Whether the name may be given to something else, or taken away: nothing at
    /// it or below has a rule that says otherwise.
    pub fn may_take(&self, path: &AbsPath) -> bool {
        let from = self.deputy.places.range(path.clone()..);
        let mut below = from.take_while(|(place, _)| place.starts_with(path));
        self.may_make(path) && below.all(|(_, access)| *access == Access::Write)
    }

    /// As [`decide`](crate::decide::access) says it, about places in truth.
    fn access(&self, path: &AbsPath) -> Option<Access> {
        let place = path.ancestors().find_map(|above| {
            self.deputy.places.get(&above).map(|access| (above.depth(), *access))
        });
        let matches = self.patterns.iter().filter_map(|(matcher, access)| {
            matcher.deepest_match(path).map(|found| (found.depth(), *access))
        });
        place.into_iter().chain(matches).max().map(|(_, access)| access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> AbsPath {
        AbsPath::posix(path).unwrap()
    }

    fn deputy() -> Deputy {
        let places = [
            ("/", Access::Read),
            ("/home/me/.ssh", Access::Deny),
            ("/ws", Access::Write),
            ("/ws/.git/hooks", Access::Read),
            ("/ws/a b", Access::Read),
            ("/ws/a/deep/kept", Access::Read),
            ("/ws/secret", Access::Deny),
            ("/ws/secret/open", Access::Write),
        ];
        let glob = Glob { base: at("/ws"), pattern: b"**/*.env".to_vec() };
        Deputy {
            places: places.iter().map(|(path, access)| (at(path), *access)).collect(),
            patterns: vec![(glob, Access::Deny)],
            reads: true,
            given: BTreeMap::from([(at("/usr"), Access::Read), (at("/usr/cache"), Access::Write)]),
        }
    }

    #[test]
    fn names_are_free_where_no_rule_at_or_below_says_otherwise() {
        let deputy = deputy();
        let judge = deputy.judge();
        for (path, read, write, make, take) in [
            ("/etc/passwd", true, false, false, false),
            ("/home/me/.ssh/id", false, false, false, false),
            ("/ws", true, true, false, false),
            ("/ws/new", true, true, true, true),
            ("/ws/.git", true, true, true, false),
            ("/ws/.git/config.lock", true, true, true, true),
            ("/ws/.git/hooks", true, false, false, false),
            ("/ws/.git/hooks/pre-commit", true, false, false, false),
            ("/ws/a", true, true, true, false),
            ("/ws/a/deep", true, true, true, false),
            ("/ws/a/other", true, true, true, true),
            ("/ws/a b", true, false, false, false),
            ("/ws/secret/x", false, false, false, false),
            ("/ws/secret/open", true, true, false, false),
            ("/ws/secret/open/x", true, true, true, true),
            ("/ws/later/x.env", false, false, false, false),
        ] {
            let path = at(path);
            let found = (
                judge.may_read(&path),
                judge.may_write(&path),
                judge.may_make(&path),
                judge.may_take(&path),
            );
            assert_eq!(found, (read, write, make, take), "{path}");
        }
    }

    #[test]
    fn what_is_given_is_given_with_everything_below() {
        let deputy = deputy();
        let judge = deputy.judge();
        for (path, read, write) in [
            ("/usr", true, false),
            ("/usr/lib/x", true, false),
            ("/usr/cache/x", true, true),
            ("/usrlocal", false, false),
            ("/ws/x", false, false),
        ] {
            let given = |access| judge.is_given(&at(path), access);
            assert_eq!((given(Access::Read), given(Access::Write)), (read, write), "{path}");
        }
    }
}
