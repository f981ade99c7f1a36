//! A plan's mounts as a list of single operations, worked out before the
//! sandbox exists, so that its first process only has to go through them.
//!
//! The order is what makes it both safe and fast:
//! 1. writable trees are cloned while they still are writable;
//! 2. one `mount_setattr(2)` seals everything that is mounted: read-only, no
//!    set-user-ID, no devices, no propagation;
//! 3. read-only trees are cloned, and inherit the seal;
//! 4. a scratch tmpfs is filled with whatever is empty: private directories,
//!    masks, mount points of a new root; what is private is bound from it, then
//!    it becomes read-only, so that nobody can change a mask;
//! 5. everything is attached, directories before what is below them.
//!
//! Cloning everything before attaching anything also keeps the price of a mount
//! from growing with their number. The scratch tmpfs lies on `/proc` until the
//! fresh `/proc` covers it.
//!
//! Paths of the host are opened without following any link, and a nested path
//! is looked up in the tree that its parent was cloned into: whoever swaps a
//! directory meanwhile makes the set-up fail and opens no hole.

mod devices;
mod points;
mod trees;

use std::ffi::{CStr, CString};

use super::name::text;
use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{Mount, MountAction, MountKind, NamespacePlan, Root};

use Need::{IfPresent, Required};
use points::{Point, make_point};
use trees::{Moment, root_is_writable};

/// Where an operation leaves a descriptor for later ones.
pub(crate) type Slot = usize;

/// The directory that the scratch tmpfs is mounted on meanwhile.
const SCRATCH: &str = "/proc";

/// So many mounts leave enough descriptors for everything else.
const FEW: usize = 64;

/// One operation of the set-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Opens a path of the host without following a link.
    Open { path: CString, directory: bool, into: Slot, need: Need },
    /// The same, below a tree that was cloned and attached.
    OpenUnder { tree: Slot, path: CString, directory: bool, into: Slot, need: Need },
    /// Clones what `from` is open on, with the mounts below it.
    Clone { from: Slot, into: Slot },
    /// Clones what has this single name in a directory, be it a link.
    CloneUnder { directory: Slot, name: CString, into: Slot },
    /// Clones the mounts at a path that only root of the host can change.
    CloneAt { path: CString, into: Slot, need: Need },
    /// Closes a descriptor.
    Close { slot: Slot },
    /// Mounts the scratch tmpfs.
    Scratch { options: CString },
    /// Makes a directory in the scratch tmpfs; one that exists is fine.
    MakeDirectory { path: CString, mode: u32 },
    /// Makes an empty file in the scratch tmpfs.
    MakeFile { path: CString, mode: u32 },
    /// Makes a link in the scratch tmpfs.
    MakeLink { path: CString, target: CString },
    /// Seals everything that is mounted.
    Seal { read_only: bool },
    /// Makes the scratch tmpfs read-only where it is mounted now.
    SealScratch,
    /// Makes one mount read-only, not those below it.
    ReadOnly { tree: Slot },
    /// Makes a tree and every mount in it read-only.
    ReadOnlyWhole { tree: Slot },
    /// Attaches a tree, unless nothing was there to open.
    Attach { tree: Slot, point: Slot, need: Need },
    /// Attaches a tree at this single name in a tree that was cloned and attached.
    AttachUnder { tree: Slot, above: Slot, name: CString, need: Need },
    /// Attaches a tree at a path that only root of the host can change.
    AttachAt { tree: Slot, path: CString, need: Need },
    /// Binds one such path to another.
    Bind { from: CString, to: CString, need: Need },
    /// Mounts a file system that the kernel makes up.
    Mount { kind: &'static CStr, path: CString, flags: u64, options: &'static CStr, need: Need },
    /// Makes the directory `path` the root.
    Pivot { path: CString },
}

/// Whether the set-up goes on when an operation finds nothing at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// No.
    Required,
    /// Yes: not every host has it, and without it nothing is open.
    IfPresent,
}

/// The steps of one plan.
#[derive(Debug)]
pub(crate) struct Steps {
    /// In order.
    pub(crate) list: Vec<Step>,
    /// How many slots they use.
    pub(crate) slots: usize,
    /// Slots of an empty directory and an empty file to mask with later, when
    /// there is anything to watch.
    pub(crate) masks: Option<(Slot, Slot)>,
}

/// What the steps depend on besides the plan.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    /// The device of the terminal that a standard descriptor is open on.
    pub(crate) device: CString,
}

/// Works out the steps for a plan.
pub(crate) fn steps(plan: &NamespacePlan, terminal: Option<&Terminal>) -> Steps {
    let mut mounts: Vec<&Mount> = plan.mounts.iter().collect();
    mounts.sort_by(|left, right| left.path.cmp(&right.path));
    let fresh_proc =
        mounts.iter().position(|mount| matches!(mount.action, MountAction::Proc { .. }));
    let mut builder = Builder {
        plan,
        fresh_proc: fresh_proc.map(|index| &mounts[index].path),
        mounts,
        before_seal: Vec::new(),
        after_seal: Vec::new(),
        make: Vec::new(),
        private: Vec::new(),
        attach: Vec::new(),
        last: Vec::new(),
        slots: 0,
        above: Vec::new(),
        shared: None,
        new_root: None,
        masks: None,
    };
    builder.scratch();
    builder.root();
    for index in 0..builder.mounts.len() {
        builder.mount(index, terminal);
    }
    builder.finish()
}

/// A mount that later ones may lie below.
#[derive(Clone)]
struct Placed {
    /// Its index among the sorted mounts.
    index: usize,
    /// The clone that is attached there.
    tree: Slot,
    /// Its directory in the scratch tmpfs, when it was made there.
    scratch: Option<String>,
}

struct Builder<'a> {
    plan: &'a NamespacePlan,
    /// The plan's mounts, sorted, so that the mounts above one are a stack.
    mounts: Vec<&'a Mount>,
    fresh_proc: Option<&'a AbsPath>,
    before_seal: Vec<Step>,
    after_seal: Vec<Step>,
    /// What is made in the scratch tmpfs.
    make: Vec<Step>,
    /// What is bound from there while it is writable.
    private: Vec<Step>,
    attach: Vec<Step>,
    /// What comes after everything else: it covers the scratch tmpfs.
    last: Vec<Step>,
    slots: usize,
    above: Vec<Placed>,
    /// The host's directory that was opened last for several trees in it.
    shared: Option<(AbsPath, Slot)>,
    new_root: Option<Slot>,
    masks: Option<(Slot, Slot)>,
}

impl Builder<'_> {
    fn slot(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }

    fn scratch(&mut self) {
        let mut options = String::from("mode=0755");
        if let Some(size) = self.plan.limits.tmp_size {
            options.push_str(&format!(",size={size}"));
        }
        self.make.push(Step::Scratch { options: text(options) });
        let watches = self.has_watches();
        if self.has_masks() {
            self.make.push(Step::MakeDirectory { path: text(scratch_path("d")), mode: 0 });
            self.make.push(Step::MakeFile { path: text(scratch_path("f")), mode: 0 });
        }
        if watches {
            let (directory, file) = (self.slot(), self.slot());
            for (name, slot) in [("d", directory), ("f", file)] {
                let path = text(scratch_path(name));
                self.attach.push(Step::Open { path, directory: false, into: slot, need: Required });
            }
            self.masks = Some((directory, file));
        }
    }

    fn has_watches(&self) -> bool {
        !self.plan.watches.is_empty() || !self.plan.patterns.is_empty()
    }

    fn has_masks(&self) -> bool {
        let masks = |mount: &&Mount| mount.action == MountAction::Mask;
        self.has_watches() || self.mounts.iter().any(masks)
    }

    fn root(&mut self) {
        if self.plan.root != Root::Empty {
            return;
        }
        let path = text(scratch_path("r"));
        let tree = self.slot();
        self.make.push(Step::MakeDirectory { path: path.clone(), mode: 0o755 });
        self.private.push(Step::CloneAt { path: path.clone(), into: tree, need: Required });
        self.private.push(Step::AttachAt { tree, path, need: Required });
        self.new_root = Some(tree);
    }

    fn mount(&mut self, index: usize, terminal: Option<&Terminal>) {
        let mount = self.mounts[index];
        while self
            .above
            .last()
            .is_some_and(|above| !mount.path.starts_with(&self.mounts[above.index].path))
        {
            self.above.pop();
        }
        match &mount.action {
            // The tree as it is: the seal leaves it writable.
            MountAction::Write if mount.path.is_root() => {}
            MountAction::Write | MountAction::Pin => self.host_tree(index, Moment::BeforeSeal),
            MountAction::Read if self.below_fresh_proc(mount) => self.kernel_file(mount),
            MountAction::Read => self.host_tree(index, Moment::AfterSeal),
            MountAction::Mask => self.mask(index),
            MountAction::Private => self.private(index),
            MountAction::Devices => self.devices(terminal),
            MountAction::Proc { read_only } => self.proc(*read_only),
            MountAction::Link(target) => {
                let (path, target) = (self.within_new_root(&mount.path), text(target.clone()));
                self.make.push(Step::MakeLink { path, target });
            }
            MountAction::Directory => {
                let path = self.within_new_root(&mount.path);
                self.make.push(Step::MakeDirectory { path, mode: 0o755 });
            }
        }
    }

    fn mask(&mut self, index: usize) {
        let mount = self.mounts[index];
        let tree = self.slot();
        let mut scratch = None;
        let source = if self.has_mounts_below(index) {
            let name = scratch_path(&format!("m{index}"));
            // Mode 0111: something below is granted, so the way there is open.
            self.make.push(Step::MakeDirectory { path: text(name.clone()), mode: 0o111 });
            scratch = Some(name.clone());
            name
        } else {
            scratch_path(if mount.kind == MountKind::Directory { "d" } else { "f" })
        };
        // Cloned only now, from the sealed tmpfs: nobody can change a mask.
        self.attach.push(Step::CloneAt { path: text(source), into: tree, need: Required });
        self.attach_below(index, tree);
        self.placed(Placed { index, tree, scratch });
    }

    fn private(&mut self, index: usize) {
        let mount = self.mounts[index];
        let tree = self.slot();
        let scratch = scratch_path(&format!("p{index}"));
        let path = text(scratch.clone());
        self.make.push(Step::MakeDirectory { path: path.clone(), mode: 0o1777 });
        let to = self.within_new_root(&mount.path);
        if self.above.is_empty() {
            if self.new_root.is_some() {
                self.make_in_new_root(mount);
            }
            self.private.push(Step::Bind { from: path, to: to.clone(), need: Required });
            if self.has_mounts_below(index) {
                self.attach.push(Step::Open {
                    path: to,
                    directory: true,
                    into: tree,
                    need: Required,
                });
            }
        } else {
            self.private.push(Step::CloneAt { path, into: tree, need: Required });
            self.attach_below(index, tree);
        }
        self.placed(Placed { index, tree, scratch: Some(scratch) });
    }

    /// Remembers a mount for those below it; without any, its tree is closed.
    fn placed(&mut self, placed: Placed) {
        if self.has_mounts_below(placed.index) {
            self.above.push(placed);
        } else {
            self.close(placed.tree);
        }
    }

    /// Closes a descriptor that is no longer needed, where there are so many
    /// that they could run out; otherwise all go at once when everything is done.
    fn close(&mut self, slot: Slot) {
        if self.mounts.len() > FEW {
            self.attach.push(Step::Close { slot });
        }
    }

    /// Looks the mount point up where it now is, makes it if it lies in the
    /// scratch tmpfs, and attaches `tree` there.
    fn attach_below(&mut self, index: usize, tree: Slot) {
        let mount = self.mounts[index];
        let directory = mount.kind == MountKind::Directory;
        let need = if mount.kind == MountKind::Socket { IfPresent } else { Required };
        let point = self.slot();
        let Some((above, relative, scratch)) = self.place(mount) else {
            let path = text(mount.path.as_bytes());
            self.attach.push(Step::Open { path, directory, into: point, need });
            self.attach.push(Step::Attach { tree, point, need });
            self.close(point);
            return;
        };
        if let Some(base) = scratch {
            let masked = self.above.last().map(|above| &self.mounts[above.index].action);
            let mode = if masked == Some(&MountAction::Mask) { 0o111 } else { 0o755 };
            make_point(&mut self.make, &base, relative, Point { mode, kind: mount.kind });
        }
        let path = text(relative);
        // Only opening finds out that a directory has been replaced by a link meanwhile.
        if directory || relative.contains(&b'/') {
            self.attach.push(Step::OpenUnder { tree: above, path, directory, into: point, need });
            self.attach.push(Step::Attach { tree, point, need });
            self.close(point);
        } else {
            self.attach.push(Step::AttachUnder { tree, above, name: path, need });
        }
    }

    /// The tree that a mount lies in, its name there, and where that tree is in
    /// the scratch tmpfs. Nothing for a path of the sealed host tree.
    fn place<'p>(&self, mount: &'p Mount) -> Option<(Slot, &'p [u8], Option<String>)> {
        if let Some(above) = self.above.last() {
            let relative = mount.path.strip_prefix(&self.mounts[above.index].path)?;
            return Some((above.tree, relative, above.scratch.clone()));
        }
        let relative = mount.path.strip_prefix(&AbsPath::root())?;
        Some((self.new_root?, relative, Some(scratch_path("r"))))
    }

    /// The mounts are sorted, so whatever lies below one follows it.
    fn has_mounts_below(&self, index: usize) -> bool {
        let path = &self.mounts[index].path;
        self.mounts.get(index + 1).is_some_and(|mount| mount.path.starts_with(path))
    }

    fn proc(&mut self, read_only: bool) {
        let path = match self.new_root {
            None => text("/proc"),
            Some(_) => {
                let path = text(scratch_path("r/proc"));
                self.make.push(Step::MakeDirectory { path: path.clone(), mode: 0o555 });
                path
            }
        };
        let read_only = if read_only { libc::MS_RDONLY } else { 0 };
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | read_only;
        self.last.insert(0, mount(c"proc", path, flags, c"hidepid=ptraceable", Required));
    }

    fn below_fresh_proc(&self, mount: &Mount) -> bool {
        self.fresh_proc.is_some_and(|proc| mount.path.starts_with(proc))
    }

    /// A file or directory of the fresh `/proc`, made read-only.
    fn kernel_file(&mut self, mount: &Mount) {
        let path = match self.new_root {
            None => text(mount.path.as_bytes()),
            Some(_) => self.within_new_root(&mount.path),
        };
        let tree = self.slot();
        self.last.push(Step::CloneAt { path: path.clone(), into: tree, need: IfPresent });
        self.last.push(Step::ReadOnly { tree });
        self.last.push(Step::AttachAt { tree, path, need: IfPresent });
    }

    /// Where a path is while the new root is being made.
    fn within_new_root(&self, path: &AbsPath) -> CString {
        let mut bytes = match self.new_root {
            Some(_) => scratch_path("r").into_bytes(),
            None => Vec::new(),
        };
        bytes.extend_from_slice(path.as_bytes());
        text(bytes)
    }

    fn make_in_new_root(&mut self, mount: &Mount) {
        if let Some(relative) = mount.path.strip_prefix(&AbsPath::root()) {
            let point = Point { mode: 0o755, kind: mount.kind };
            make_point(&mut self.make, &scratch_path("r"), relative, point);
        }
    }

    fn finish(self) -> Steps {
        let read_only = !root_is_writable(&self.mounts);
        let has_masks = self.has_masks();
        let mut list = self.before_seal;
        list.push(Step::Seal { read_only });
        list.extend(self.after_seal);
        list.extend(self.make);
        list.extend(self.private);
        if has_masks {
            list.push(Step::SealScratch);
        }
        list.extend(self.attach);
        list.extend(self.last);
        if let Some(tree) = self.new_root {
            list.push(Step::ReadOnly { tree });
            list.push(Step::Pivot { path: text(scratch_path("r")) });
        }
        Steps { list, slots: self.slots, masks: self.masks }
    }
}

fn bind(from: CString, to: impl AsRef<[u8]>) -> Step {
    Step::Bind { from, to: text(to), need: IfPresent }
}

fn mount(
    kind: &'static CStr,
    path: CString,
    flags: u64,
    options: &'static CStr,
    need: Need,
) -> Step {
    Step::Mount { kind, path, flags, options, need }
}

fn scratch_path(name: &str) -> String {
    format!("{SCRATCH}/{name}")
}
