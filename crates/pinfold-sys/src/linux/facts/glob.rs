//! Finds what patterns match now.

use std::collections::BTreeMap;

use pinfold_policy::glob::Matcher;
use pinfold_policy::host::GlobMatch;
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{FsTarget, Profile};

use super::super::name::c_path;
use super::super::name::text;
use super::directory::{Directory, Kind};

/// The size of the pieces that directories are read in.
const PIECE: usize = 64 * 1024;

/// Directories deeper than this are not entered, whatever the profile says: each
/// level holds a descriptor open.
const DEEPEST: usize = 512;

/// Existing matches of the patterns of a profile, sorted. A directory that cannot
/// be read hides its content from the command as well and is passed over.
pub(super) fn matches(profile: &Profile) -> Vec<GlobMatch> {
    let policy = &profile.filesystem;
    let mut bases: BTreeMap<&AbsPath, Vec<(usize, Matcher)>> = BTreeMap::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        if let FsTarget::Glob(glob) = &rule.target {
            bases.entry(&glob.base).or_default().push((index, Matcher::new(glob)));
        }
    }
    let mut found = Vec::new();
    let depth = policy.glob_scan_max_depth.map_or(DEEPEST, |depth| (depth as usize).min(DEEPEST));
    for (base, matchers) in bases {
        let Ok(directory) = Directory::open(&c_path(base)) else { continue };
        let mut walk = Walk { base, matchers: &matchers, depth, found: &mut found };
        walk.directory(&directory, &mut Vec::new());
    }
    found.sort();
    found
}

struct Walk<'a> {
    base: &'a AbsPath,
    matchers: &'a [(usize, Matcher)],
    depth: usize,
    found: &'a mut Vec<GlobMatch>,
}

impl Walk<'_> {
    /// Looks through one directory, whose names below the base are `names`.
    fn directory(&mut self, directory: &Directory, names: &mut Vec<Vec<u8>>) {
        let mut buffer = vec![0; PIECE];
        let mut inner = Vec::new();
        loop {
            let more = directory.read(&mut buffer, |name, kind| {
                self.entry(names, name, kind);
                if matches!(kind, Kind::Directory | Kind::Unknown) {
                    inner.push(name.to_vec());
                }
            });
            if more != Ok(true) {
                break;
            }
        }
        drop(buffer);
        for name in inner {
            names.push(name);
            if names.len() < self.depth && self.may_match_below(names) {
                let last = names.last().map_or(&[][..], Vec::as_slice);
                if let Ok(below) = directory.open_below(&text(last)) {
                    self.directory(&below, names);
                }
            }
            names.pop();
        }
    }

    fn entry(&mut self, names: &[Vec<u8>], name: &[u8], kind: Kind) {
        let all: Vec<&[u8]> =
            names.iter().map(Vec::as_slice).chain(std::iter::once(name)).collect();
        for (rule, matcher) in self.matchers {
            if !matcher.matches_names(&all) {
                continue;
            }
            if let Ok(path) = self.base.join(all.join(&b'/')) {
                let directory = kind == Kind::Directory;
                self.found.push(GlobMatch { rule: *rule, path, directory });
            }
        }
    }

    fn may_match_below(&self, names: &[Vec<u8>]) -> bool {
        let all: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        self.matchers.iter().any(|(_, matcher)| matcher.may_match_below(&all))
    }
}
