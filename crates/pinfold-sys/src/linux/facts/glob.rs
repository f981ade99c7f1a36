//! Finds what patterns match now.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use pinfold_policy::glob::Matcher;
use pinfold_policy::host::GlobMatch;
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::{Access, FsTarget, Profile};

use super::super::call;
use super::super::name::{c_path, os_path, text};
use super::super::raw::Errno;
use super::directory::{Directory, Kind};

/// The size of the pieces that directories are read in.
const PIECE: usize = 64 * 1024;

/// Directories deeper than this are not entered, whatever the profile says: each
/// level holds a descriptor open.
const DEEPEST: usize = 512;

/// Existing matches of the patterns of a profile, sorted. A directory that cannot
/// be searched counts as a match of every deny pattern that could match in it: the
/// command may be able to open it, or know names in it.
pub(super) fn matches(profile: &Profile) -> Vec<GlobMatch> {
    let policy = &profile.filesystem;
    let mut bases: BTreeMap<&AbsPath, Vec<Searched>> = BTreeMap::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        if let FsTarget::Glob(glob) = &rule.target {
            let denies = rule.access == Access::Deny;
            let pattern = Searched { rule: index, denies, matcher: Matcher::new(glob) };
            bases.entry(&glob.base).or_default().push(pattern);
        }
    }
    let mut found = Vec::new();
    let depth = policy.glob_scan_max_depth.map_or(DEEPEST, |depth| (depth as usize).min(DEEPEST));
    for (base, matchers) in bases {
        let base = real(base);
        let Ok(directory) = Directory::open(&c_path(&base)) else { continue };
        let mut walk = Walk { base: &base, matchers: &matchers, depth, found: &mut found };
        walk.directory(&directory, &mut Vec::new());
    }
    found.sort();
    found
}

/// A pattern that is searched for.
struct Searched {
    rule: usize,
    denies: bool,
    matcher: Matcher,
}

/// A base without links, if it exists.
fn real(base: &AbsPath) -> AbsPath {
    let real = std::fs::canonicalize(os_path(base)).ok();
    let real = real.and_then(|real| AbsPath::posix(real.as_os_str().as_bytes()).ok());
    real.unwrap_or_else(|| base.clone())
}

/// Asks what a directory does not say about its entry.
fn is_directory(path: &AbsPath) -> bool {
    call::mode_of(&c_path(path)).is_ok_and(|mode| mode & libc::S_IFMT == libc::S_IFDIR)
}

struct Walk<'a> {
    base: &'a AbsPath,
    matchers: &'a [Searched],
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
                if matches!(kind, Kind::Directory | Kind::Unknown) && !self.made_up(names, name) {
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
                match directory.open_below(&text(last)) {
                    Ok(below) => self.directory(&below, names),
                    // It is gone, or is no directory.
                    Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
                    Err(_) => self.unsearched(names),
                }
            }
            names.pop();
        }
    }

    /// Whether this is a directory that the kernel makes up: searching all of them
    /// takes long, may block, and finds nothing that stays.
    fn made_up(&self, names: &[Vec<u8>], name: &[u8]) -> bool {
        self.base.is_root() && names.is_empty() && matches!(name, b"proc" | b"sys" | b"dev")
    }

    fn entry(&mut self, names: &[Vec<u8>], name: &[u8], kind: Kind) {
        let all: Vec<&[u8]> =
            names.iter().map(Vec::as_slice).chain(std::iter::once(name)).collect();
        for searched in self.matchers {
            if !searched.matcher.matches_names(&all) {
                continue;
            }
            if let Ok(path) = self.base.join(all.join(&b'/')) {
                let directory = match kind {
                    Kind::Unknown => is_directory(&path),
                    kind => kind == Kind::Directory,
                };
                self.found.push(GlobMatch { rule: searched.rule, path, directory });
            }
        }
    }

    /// A directory that could not be opened.
    fn unsearched(&mut self, names: &[Vec<u8>]) {
        let all: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        for searched in self.matchers {
            if !searched.denies || !searched.matcher.may_match_below(&all) {
                continue;
            }
            if let Ok(path) = self.base.join(all.join(&b'/')) {
                self.found.push(GlobMatch { rule: searched.rule, path, directory: true });
            }
        }
    }

    fn may_match_below(&self, names: &[Vec<u8>]) -> bool {
        let all: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        self.matchers.iter().any(|searched| searched.matcher.may_match_below(&all))
    }
}

#[cfg(test)]
#[path = "glob_tests.rs"]
mod tests;
