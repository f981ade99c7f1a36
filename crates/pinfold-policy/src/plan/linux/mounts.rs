//! Mounts as a plan places them, from the points that its rules become.

use std::collections::BTreeMap;

use super::compile::Point;
use super::{Mount, MountAction, MountKind};
use crate::path::AbsPath;
use crate::profile::Access;

/// Mounts as they are placed, from the root down.
pub(super) struct Mounts {
    base: Access,
    list: BTreeMap<AbsPath, Mount>,
    pub(super) private: Vec<AbsPath>,
    /// A directory and the access in it, for the next path there.
    inside: Option<(AbsPath, Access)>,
}

impl Mounts {
    pub(super) fn new(base: Access) -> Mounts {
        let mut list = BTreeMap::new();
        if base == Access::Write {
            put(&mut list, AbsPath::root(), MountKind::Directory, MountAction::Write);
        }
        Mounts { base, list, private: Vec::new(), inside: None }
    }

    /// The access at `path` from what is placed above it.
    fn around(&self, path: &AbsPath) -> Access {
        let above = path.ancestors().skip(1).find_map(|above| {
            if self.private.contains(&above) {
                return Some(Access::Deny);
            }
            self.list.get(&above).and_then(|mount| match mount.action {
                MountAction::Write => Some(Access::Write),
                MountAction::Read => Some(Access::Read),
                MountAction::Mask => Some(Access::Deny),
                _ => None,
            })
        });
        above.unwrap_or(self.base)
    }

    /// The same for paths that come sorted, which mostly share their directories.
    fn around_next(&mut self, path: &AbsPath) -> Access {
        let parent = path.parent();
        match (&self.inside, &parent) {
            (Some((directory, access)), Some(parent)) if directory == parent => *access,
            _ => {
                let access = self.around(path);
                self.inside = parent.map(|parent| (parent, access));
                access
            }
        }
    }

    /// Whether `path` itself lies in something writable of the host.
    pub(super) fn written(&self, path: &AbsPath) -> bool {
        match self.list.get(path).map(|mount| &mount.action) {
            Some(MountAction::Write | MountAction::Pin) => true,
            Some(_) => false,
            None => self.around(path) == Access::Write,
        }
    }

    pub(super) fn place(&mut self, path: &AbsPath, point: &Point) {
        if self.private.contains(path) {
            return;
        }
        let around = self.around_next(path);
        if around == point.access {
            return;
        }
        if around == Access::Write {
            self.pin_above(path, false);
        }
        let action = match point.access {
            Access::Deny => MountAction::Mask,
            Access::Read => MountAction::Read,
            Access::Write => MountAction::Write,
        };
        put(&mut self.list, path.clone(), point.kind, action);
    }

    /// Mounts a link on itself, where something could replace it.
    pub(super) fn pin_link(&mut self, link: &AbsPath) {
        if self.around(link) == Access::Write {
            self.pin_above(link, false);
            put(&mut self.list, link.clone(), MountKind::Link, MountAction::Read);
        }
    }

    /// Pins every directory between `path` and the writable tree it lies in.
    pub(super) fn pin_above(&mut self, path: &AbsPath, itself: bool) {
        let mut pins = Vec::new();
        for above in path.ancestors().skip(usize::from(!itself)) {
            match self.list.get(&above).map(|mount| &mount.action) {
                // Above a pin, everything is pinned already.
                Some(_) => break,
                None if above.is_root() => break,
                None if self.around(&above) != Access::Write => break,
                None => pins.push(above),
            }
        }
        for pin in pins {
            put(&mut self.list, pin, MountKind::Directory, MountAction::Pin);
        }
    }

    pub(super) fn finish(mut self) -> Vec<Mount> {
        for path in std::mem::take(&mut self.private) {
            // Else the command could move it away and put anything in its place.
            if self.around(&path) == Access::Write {
                self.pin_above(&path, false);
            }
            put(&mut self.list, path, MountKind::Directory, MountAction::Private);
        }
        self.list.into_values().collect()
    }
}

fn put(list: &mut BTreeMap<AbsPath, Mount>, path: AbsPath, kind: MountKind, action: MountAction) {
    list.insert(path.clone(), Mount { path, kind, action });
}
