//! Trees of the host that a plan puts on top of themselves.

use std::ffi::CString;

use pinfold_policy::plan::linux::{Mount, MountAction, MountKind};

use super::Need::Required;
use super::{Builder, FEW, Placed, Slot, Step, text};

/// Whether a tree is cloned with or without the seal.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    BeforeSeal,
    AfterSeal,
}

impl Builder<'_> {
    /// A tree of the host, put on top of itself or into its parent's clone.
    pub(super) fn host_tree(&mut self, index: usize, moment: Moment) {
        let mount = self.mounts[index];
        let tree = self.slot();
        let many = self.mounts.len() > FEW;
        let nested = !self.above.is_empty() || self.new_root.is_some();
        let sealed = matches!(moment, Moment::AfterSeal);
        let shared = if sealed && nested { self.shared_directory(index) } else { None };
        let steps = if sealed { &mut self.after_seal } else { &mut self.before_seal };
        let source = match shared {
            Some((directory, name)) => {
                steps.push(Step::CloneUnder { directory, name, into: tree });
                None
            }
            None => {
                let (into, path) = (self.slots, text(mount.path.as_bytes()));
                self.slots += 1;
                let directory = mount.kind == MountKind::Directory;
                steps.push(Step::Open { path, directory, into, need: Required });
                steps.push(Step::Clone { from: into, into: tree });
                Some(into)
            }
        };
        if sealed && root_is_writable(&self.mounts) {
            // The seal has left everything as it was.
            steps.push(Step::ReadOnlyWhole { tree });
        }
        match source {
            Some(point) if !nested => {
                self.attach.push(Step::Attach { tree, point, need: Required });
                self.close(point);
            }
            source => {
                if let Some(slot) = source.filter(|_| many) {
                    steps.push(Step::Close { slot });
                }
                self.attach_below(index, tree);
            }
        }
        self.placed(Placed { index, tree, scratch: None });
    }

    /// The host's directory of a mount, open, and the mount's name in it, where the mount
    /// before or the next is in the same one: to look each up from the root costs as much as to
    /// mount it.
    fn shared_directory(&mut self, index: usize) -> Option<(Slot, CString)> {
        let path = &self.mounts[index].path;
        let directory = path.parent()?;
        let name = text(path.strip_prefix(&directory)?);
        if let Some((known, slot)) = &self.shared
            && *known == directory
        {
            return Some((*slot, name));
        }
        let next = self.mounts.get(index + 1)?.path.parent();
        if next.as_ref() != Some(&directory) {
            return None;
        }
        if let Some((_, slot)) = self.shared.take() {
            self.after_seal.push(Step::Close { slot });
        }
        let (into, path) = (self.slot(), text(directory.as_bytes()));
        self.after_seal.push(Step::Open { path, directory: true, into, need: Required });
        self.shared = Some((directory, into));
        Some((into, name))
    }
}

/// Whether everything can be written where no mount says otherwise.
pub(super) fn root_is_writable(mounts: &[&Mount]) -> bool {
    let first = mounts.first();
    first.is_some_and(|mount| mount.path.is_root() && mount.action == MountAction::Write)
}
