//! Finds what patterns match now.

use std::fs;

use pinfold_policy::glob::Matcher;
use pinfold_policy::host::GlobMatch;
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{FsTarget, Profile};

use super::facts::real;
use crate::name;

/// Directories deeper than this are not entered, whatever the profile says.
const DEEPEST: usize = 512;

/// Existing matches of the patterns of a profile, sorted. A directory that cannot
/// be searched counts as a match: the command may know names in it.
pub fn matches(profile: &Profile) -> Vec<GlobMatch> {
    let policy = &profile.filesystem;
    let depth = policy.glob_scan_max_depth.map_or(DEEPEST, |depth| (depth as usize).min(DEEPEST));
    let mut found = Vec::new();
    for (rule, written) in policy.rules.iter().enumerate() {
        if let FsTarget::Glob(glob) = &written.target {
            let base = real(&glob.base).unwrap_or_else(|| glob.base.clone());
            let mut search = Search { rule, matcher: Matcher::new(glob), depth, found: &mut found };
            search.directory(&base, &mut Vec::new());
        }
    }
    found.sort();
    found
}

struct Search<'a> {
    rule: usize,
    matcher: Matcher,
    depth: usize,
    found: &'a mut Vec<GlobMatch>,
}

impl Search<'_> {
    /// Looks through one directory, whose names below the base are `names`.
    fn directory(&mut self, directory: &AbsPath, names: &mut Vec<Vec<u8>>) {
        let Ok(entries) = fs::read_dir(name::path(directory)) else {
            if !names.is_empty() {
                self.add(directory, true);
            }
            return;
        };
        for entry in entries.flatten() {
            let own = entry.file_name();
            let Ok(path) = directory.join(name::bytes(&own)) else { continue };
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            names.push(name::bytes(&own).to_vec());
            let all: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let matched = self.matcher.matches_names(&all);
            let deeper = names.len() < self.depth && self.matcher.may_match_below(&all);
            if matched {
                self.add(&path, is_directory);
            }
            if is_directory && deeper {
                self.directory(&path, names);
            }
            names.pop();
        }
    }

    fn add(&mut self, path: &AbsPath, directory: bool) {
        self.found.push(GlobMatch { rule: self.rule, path: path.clone(), directory });
    }
}
