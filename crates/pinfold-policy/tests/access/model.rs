//! A model of the Windows access check: entries of an object in order, once for
//! who the token is, and for writing once more for what it is restricted to.

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::windows::{Confined, Entry, EntryKind, Inherit, Trustee};

/// Who asks: the account is the caller, or one of the group.
pub(crate) struct Token<'p> {
    pub(crate) plan: &'p Confined,
    pub(crate) group: bool,
}

/// The rights for writing, as the kernel maps them for files.
const WRITING: u32 = 0x000d_0156;

impl Token<'_> {
    /// Whether all of `wanted` is granted on an object at `path`.
    pub(crate) fn allows(&self, path: &AbsPath, wanted: u32) -> bool {
        let restricted = self.plan.token.flags & 0x8 != 0;
        let first =
            self.pass(path, wanted, |trustee| self.group && matches!(trustee, Trustee::Group));
        // A caller's own files grant everything to the caller.
        let first = first || !self.group;
        let second = self.pass(path, wanted, |trustee| match trustee {
            Trustee::Capability(name) => self.plan.token.restricting.contains(name),
            Trustee::Group => false,
        });
        first && (second || (restricted && wanted & WRITING == 0))
    }

    /// Whether an object can be removed: by a right on it or on its directory.
    pub(crate) fn removes(&self, path: &AbsPath) -> bool {
        let above = path.parent();
        self.allows(path, 0x0001_0000) || above.is_some_and(|above| self.allows(&above, 0x40))
    }

    fn pass(&self, path: &AbsPath, wanted: u32, is: impl Fn(&Trustee) -> bool) -> bool {
        let mut left = wanted;
        for above in path.ancestors() {
            // Refusals of one object come before its grants, and what is
            // inherited from nearer before what is inherited from farther.
            for kind in [EntryKind::Deny, EntryKind::Allow] {
                for entry in self.plan.entries.iter().filter(|entry| on(entry, &above)) {
                    let covers = above == *path || entry.inherit == Inherit::Tree;
                    if entry.kind != kind || !covers || !is(&entry.trustee) {
                        continue;
                    }
                    match kind {
                        EntryKind::Deny if entry.mask & left != 0 => return false,
                        EntryKind::Deny => {}
                        EntryKind::Allow => left &= !entry.mask,
                    }
                    if left == 0 {
                        return true;
                    }
                }
            }
        }
        false
    }
}

fn on(entry: &Entry, path: &AbsPath) -> bool {
    entry.path.starts_with(path) && path.starts_with(&entry.path)
}
