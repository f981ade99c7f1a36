//! Cases as data, and how one is run.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// One case. In every text `{ws}` is the workspace, `{out}` a directory outside
/// of it, `{home}` the home directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// A sentence about behaviour.
    pub(crate) name: String,
    /// The fields of `[permissions.case]`; it extends `:workspace`.
    #[serde(default)]
    profile: String,
    /// A built-in profile instead.
    #[serde(default)]
    builtin: Option<String>,
    /// `dir PATH`, `file PATH TEXT`, `link PATH TARGET`, `mode PATH OCTAL`.
    #[serde(default)]
    given: Vec<String>,
    /// Further options of `run`.
    #[serde(default)]
    options: Vec<String>,
    /// Operations inside, each `OPERATION ARGUMENTS => RESULT`.
    inside: Vec<String>,
    /// What holds outside afterwards: `missing PATH`, `content PATH TEXT`,
    /// `exists PATH`.
    #[serde(default)]
    outside: Vec<String>,
    /// Done by the host while the command waits (`wait` inside).
    #[serde(default)]
    meanwhile: Vec<String>,
    /// Why the case is not run without enforcement: it passes there as well, or
    /// it would change the host.
    #[serde(default)]
    only_enforced: String,
    /// Where the plans for other systems differ, by which gaps: `crates/pinfold-policy/tests/corpus`
    /// compares them.
    #[serde(default, rename = "gap")]
    _gap: std::collections::BTreeMap<String, Vec<String>>,
    /// Who can run it: `root` or `user`; anyone when empty.
    #[serde(default)]
    only: String,
}

pub(crate) enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Reads all cases of a folder, in the order of their files.
pub(crate) fn load(folder: &Path) -> Vec<Case> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let cases: Cases =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.case
    };
    files.iter().flat_map(read).collect()
}

/// The directories of one run; removed when dropped.
struct World {
    base: PathBuf,
}

impl World {
    fn new() -> World {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = PathBuf::from(format!("/var/tmp/pinfold-case-{}-{number}", std::process::id()));
        for name in ["ws", "out", "home", "config"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        World { base }
    }

    fn text(&self, text: &str) -> String {
        let directory = |name: &str| self.base.join(name).display().to_string();
        text.replace("{ws}", &directory("ws"))
            .replace("{out}", &directory("out"))
            .replace("{home}", &directory("home"))
            .replace("{base}", &self.base.display().to_string())
    }

    fn apply(&self, step: &str) {
        let step = self.text(step);
        let words: Vec<&str> = step.splitn(3, ' ').collect();
        let path = Path::new(words[1]);
        let parent = path.parent().unwrap();
        match words[0] {
            "dir" => fs::create_dir_all(path).unwrap(),
            "file" => {
                fs::create_dir_all(parent).unwrap();
                fs::write(path, words.get(2).copied().unwrap_or_default()).unwrap();
            }
            "save" => {
                // As editors do: beside, then renamed over.
                let beside = parent.join("save.tmp");
                fs::write(&beside, words[2]).unwrap();
                fs::rename(&beside, path).unwrap();
            }
            "link" => std::os::unix::fs::symlink(words[2], path).unwrap(),
            "mode" => {
                let mode = u32::from_str_radix(words[2], 8).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            other => panic!("unknown step {other}"),
        }
    }

    fn holds(&self, claim: &str) -> bool {
        let claim = self.text(claim);
        let words: Vec<&str> = claim.splitn(3, ' ').collect();
        let path = Path::new(words[1]);
        match words[0] {
            "missing" => fs::symlink_metadata(path).is_err(),
            "exists" => fs::symlink_metadata(path).is_ok(),
            "content" => fs::read_to_string(path).is_ok_and(|text| text.trim_end() == words[2]),
            other => panic!("unknown claim {other}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(&self.base).output();
        let _ = fs::remove_dir_all(&self.base);
    }
}

impl Case {
    pub(crate) fn run(&self) -> Verdict {
        let root = fs::metadata("/proc/self").map(|found| is_root(&found)).unwrap_or(false);
        match (self.only.as_str(), root) {
            ("root", false) => return Verdict::Skipped("only user 0 can do this".into()),
            ("user", true) => return Verdict::Skipped("user 0 can do this anyway".into()),
            _ => {}
        }
        let enforced = self.once(None);
        if !enforced.is_empty() {
            return Verdict::Failed(enforced);
        }
        if self.only_enforced.is_empty() && self.once(Some(":danger-full-access")).is_empty() {
            return Verdict::Failed("it passes without enforcement as well\n".into());
        }
        Verdict::Passed
    }

    /// What is wrong after one run; nothing when all is well.
    fn once(&self, instead: Option<&str>) -> String {
        let world = World::new();
        self.given.iter().for_each(|step| world.apply(step));
        let output = self.launch(&world, instead);
        let mut wrong = String::new();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let results: Vec<&str> = text.lines().collect();
        for (index, operation) in self.inside.iter().enumerate() {
            let (operation, expected) = operation.rsplit_once(" => ").unwrap();
            let got = results.get(index).copied().unwrap_or("nothing");
            if !expected.split('|').any(|one| one == got) {
                let _ = writeln!(wrong, "  {operation}: expected {expected}, got {got}");
            }
        }
        for claim in &self.outside {
            if !world.holds(claim) {
                let _ = writeln!(wrong, "  outside, this does not hold: {claim}");
            }
        }
        if !wrong.is_empty() {
            let _ = writeln!(wrong, "  {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        wrong
    }

    fn launch(&self, world: &World, instead: Option<&str>) -> Output {
        let profile = format!(
            "default_permissions = \"case\"\n[permissions.case]\nextends = \":workspace\"\n{}",
            world.text(&self.profile)
        );
        fs::write(world.base.join("config/config.toml"), profile).unwrap();
        // The probe must be where the profile can read it.
        let probe = world.base.join("probe");
        fs::copy(std::env::current_exe().unwrap(), &probe).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
        command.arg("run");
        if let Some(profile) = instead.or(self.builtin.as_deref()) {
            command.args(["-p", profile]);
        }
        command.args(self.options.iter().map(|option| world.text(option)));
        command.arg("--").arg(&probe).arg("probe");
        for operation in &self.inside {
            command.arg(world.text(operation.rsplit_once(" => ").unwrap().0));
        }
        command
            .current_dir(world.base.join("ws"))
            .env("HOME", world.base.join("home"))
            .env("PINFOLD_HOME", world.base.join("config"))
            .env_remove("XDG_STATE_HOME")
            .env("A_TOKEN", "secret")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        if !self.meanwhile.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(400));
            self.meanwhile.iter().for_each(|step| world.apply(step));
        }
        child.wait_with_output().unwrap()
    }
}

fn is_root(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.uid() == 0
}
