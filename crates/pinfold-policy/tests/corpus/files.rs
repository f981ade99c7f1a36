//! Files of a made-up host: names, links, and what operations do to them.

use std::collections::BTreeMap;

use pinfold_policy::host::{PathFact, PathKind};
use pinfold_policy::path::AbsPath;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory,
    File,
    /// Where it leads, as written; absolute or relative.
    Link(String),
}

/// Everything that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files(BTreeMap<AbsPath, Entry>);

/// Links on the way to anything, at most.
const LINKS: usize = 8;

impl Files {
    /// Makes something, and the directories that lead to it.
    pub(crate) fn make(&mut self, path: &AbsPath, entry: Entry) {
        for above in path.ancestors().skip(1) {
            self.0.entry(above).or_insert(Entry::Directory);
        }
        self.0.insert(path.clone(), entry);
    }

    pub(crate) fn remove(&mut self, path: &AbsPath) {
        self.0.retain(|other, _| !other.starts_with(path));
    }

    /// Moves something and what is below it.
    pub(crate) fn rename(&mut self, from: &AbsPath, to: &AbsPath) {
        let moved: Vec<(AbsPath, Entry)> = self
            .0
            .iter()
            .filter_map(|(path, entry)| {
                let below = path.strip_prefix(from)?;
                let there = if below.is_empty() { to.clone() } else { to.join(below).ok()? };
                Some((there, entry.clone()))
            })
            .collect();
        self.remove(to);
        self.remove(from);
        self.0.extend(moved);
    }

    pub(crate) fn has(&self, path: &AbsPath) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&AbsPath, &Entry)> {
        self.0.iter()
    }

    /// The path without links in what leads to it.
    pub(crate) fn place(&self, path: &AbsPath) -> Option<AbsPath> {
        let Some(above) = path.parent() else { return Some(path.clone()) };
        self.real(&above, LINKS)?.join(path.name()?).ok()
    }

    /// The path without links; nothing when nothing is there.
    pub(crate) fn resolved(&self, path: &AbsPath) -> Option<AbsPath> {
        self.real(path, LINKS)
    }

    fn real(&self, path: &AbsPath, links: usize) -> Option<AbsPath> {
        let Some(above) = path.parent() else { return Some(path.clone()) };
        let above = self.real(&above, links)?;
        let here = above.join(path.name()?).ok()?;
        match self.0.get(&here)? {
            Entry::Link(target) => {
                let target = above.join(target.as_bytes()).ok()?;
                self.real(&target, links.checked_sub(1)?)
            }
            Entry::Directory | Entry::File => Some(here),
        }
    }

    /// What a host would say of a path.
    pub(crate) fn fact(&self, path: &AbsPath) -> PathFact {
        let place = self.place(path);
        let found = place.as_ref().and_then(|place| self.0.get(place));
        let real = place.clone().unwrap_or_else(|| path.clone());
        let kind = match found {
            Some(Entry::Directory) => PathKind::Directory,
            Some(Entry::File) => PathKind::File,
            Some(Entry::Link(_)) => {
                let target = self.resolved(path);
                let directory = target.as_ref().and_then(|target| self.0.get(target));
                PathKind::Link { directory: directory == Some(&Entry::Directory), target }
            }
            None => {
                let nearest = path.ancestors().skip(1).find_map(|above| self.resolved(&above));
                PathKind::Missing { nearest: nearest.unwrap_or_else(|| path.clone()) }
            }
        };
        PathFact { kind, real }
    }
}
