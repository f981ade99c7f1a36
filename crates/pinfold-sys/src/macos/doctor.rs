//! Tries what the sandbox needs.

use std::process::{Command, Stdio};

use super::run::SANDBOX_EXEC;
use crate::seam::Check;

/// Tries everything.
pub fn doctor() -> Vec<Check> {
    let mut trial = Command::new(SANDBOX_EXEC);
    trial.args(["-p", "(version 1)(allow default)", "/usr/bin/true"]);
    trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (works, detail) = match trial.status() {
        Ok(status) if status.success() => (true, String::from("works")),
        // 71: the process is in a sandbox already.
        Ok(status) => (false, format!("{SANDBOX_EXEC} ends with {status}")),
        Err(error) => (false, format!("{SANDBOX_EXEC}: {error}")),
    };
    let remedy = "run pinfold outside of every other sandbox".to_owned();
    let remedy = (!works).then_some(remedy);
    vec![Check { name: "sandbox-exec", works, needed: true, detail, remedy }]
}
