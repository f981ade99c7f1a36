//! Mount points in the scratch tmpfs.

use pinfold_policy::plan::linux::MountKind;

use super::Step;
use crate::linux::name::text;

/// A mount point to be made.
pub(super) struct Point {
    pub(super) mode: u32,
    pub(super) kind: MountKind,
}

/// Makes `relative` and the directories that lead to it below `base`.
pub(super) fn make_point(steps: &mut Vec<Step>, base: &str, relative: &[u8], point: Point) {
    let mut path = base.as_bytes().to_vec();
    let mut names = relative.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        path.push(b'/');
        path.extend_from_slice(name);
        let path = text(path.clone());
        let last = names.peek().is_none();
        steps.push(if last && point.kind != MountKind::Directory {
            Step::MakeFile { path, mode: 0o444 }
        } else {
            Step::MakeDirectory { path, mode: point.mode }
        });
    }
}
