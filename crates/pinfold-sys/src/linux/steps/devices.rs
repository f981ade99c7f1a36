//! The steps of a private `/dev`.

use super::Need::IfPresent;
use super::{Builder, Step, Terminal, bind, mount, scratch_path, text};

/// The devices that every program may use.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

impl Builder<'_> {
    /// The harmless devices, on a `/dev` whose other devices cannot be opened.
    pub(super) fn devices(&mut self, terminal: Option<&Terminal>) {
        let dev = match self.new_root {
            None => String::from("/dev"),
            Some(_) => {
                self.make_dev();
                scratch_path("r/dev")
            }
        };
        self.host_devices(&dev);
        if let Some(Terminal { device }) = terminal {
            // A program that asks for the name of its terminal finds it here.
            let tree = self.slot();
            let path = device.clone();
            self.before_seal.push(Step::CloneAt { path, into: tree, need: IfPresent });
            let path = text(format!("{dev}/console"));
            self.private.push(Step::AttachAt { tree, path, need: IfPresent });
        }
        let shared = text(scratch_path("s"));
        self.make.push(Step::MakeDirectory { path: shared.clone(), mode: 0o1777 });
        self.private.push(bind(shared, format!("{dev}/shm")));
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        let options = c"newinstance,ptmxmode=0666,mode=0620";
        let path = text(format!("{dev}/pts"));
        self.private.push(mount(c"devpts", path, flags, options, IfPresent));
        if self.new_root.is_none() {
            self.private.push(bind(text("/dev/pts/ptmx"), "/dev/ptmx"));
        }
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        self.private.push(mount(c"mqueue", text(format!("{dev}/mqueue")), flags, c"", IfPresent));
    }

    /// Binds the harmless devices from a copy of the host's `/dev` that was made
    /// before the seal: only there, a device can be opened.
    fn host_devices(&mut self, dev: &str) {
        let tree = self.slot();
        let copy = scratch_path("h");
        let path = text("/dev");
        self.before_seal.push(Step::CloneAt { path, into: tree, need: IfPresent });
        self.make.push(Step::MakeDirectory { path: text(copy.clone()), mode: 0o755 });
        self.private.push(Step::AttachAt { tree, path: text(copy.clone()), need: IfPresent });
        for name in DEVICES {
            self.private.push(bind(text(format!("{copy}/{name}")), format!("{dev}/{name}")));
        }
    }

    fn make_dev(&mut self) {
        let directory = |name: &str| Step::MakeDirectory {
            path: text(scratch_path(&format!("r/dev{name}"))),
            mode: 0o755,
        };
        for name in ["", "/pts", "/shm", "/mqueue"] {
            self.make.push(directory(name));
        }
        for name in DEVICES.iter().chain(&["console"]) {
            let path = text(scratch_path(&format!("r/dev/{name}")));
            self.make.push(Step::MakeFile { path, mode: 0o444 });
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            let path = text(scratch_path(&format!("r/dev/{name}")));
            self.make.push(Step::MakeLink { path, target: text(target) });
        }
    }
}
