//! A directory, a home and a configuration for one test; removed afterwards.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The gaps that the `landlock` mechanism has with every profile.
const GAPS: [&str; 9] = [
    "attributes",
    "entries",
    "existence",
    "loopback",
    "private-directory",
    "processes-visible",
    "shared-memory",
    "survivors",
    "unix-sockets",
];

/// The options of a sandbox without namespaces.
pub(crate) fn landlock() -> Vec<&'static str> {
    let mut options = vec!["-c", "linux.mechanism=\"landlock\""];
    options.extend(GAPS.iter().flat_map(|gap| ["--allow-gap", gap]));
    options
}

pub(crate) struct World {
    base: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new(name: &str) -> World {
        let base = PathBuf::from(format!("/var/tmp/pinfold-test-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        for directory in ["ws", "home", "config"] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        World { base }
    }

    /// A path in the workspace.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.join("ws").join(name)
    }

    /// Makes a file in the workspace.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the user's configuration.
    pub(crate) fn configuration(&self, text: &str) {
        fs::write(self.base.join("config/config.toml"), text).unwrap();
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.base.join("config/config.toml")
    }

    /// A command in the workspace with this world's home and configuration.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.base.join("ws"))
            .env("HOME", self.base.join("home"))
            .env("PINFOLD_HOME", self.base.join("config"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn pinfold(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_pinfold"));
        self.output(command.args(arguments))
    }

    /// The same with the home of whoever runs the tests.
    pub(crate) fn pinfold_at_home(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_pinfold"));
        match std::env::var_os("HOME") {
            Some(home) => command.env("HOME", home),
            None => command.env_remove("HOME"),
        };
        self.output(command.args(arguments))
    }

    pub(crate) fn output(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap();
        let status = match output.status.code() {
            Some(code) => code,
            None => -std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or(0),
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs a shell script on the host; its output.
    pub(crate) fn outside(&self, script: &str) -> String {
        let output = self.output(self.command("sh").args(["-c", script]));
        assert_eq!(output.status, 0, "{script}\n{}", output.stderr);
        output.stdout
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(&self.base).output();
        let _ = fs::remove_dir_all(&self.base);
    }
}
