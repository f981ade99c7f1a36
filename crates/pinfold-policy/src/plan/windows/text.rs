//! A plan as text.

use std::fmt::Write;

use super::{Entry, EntryKind, Inherit, Plan, Trustee};

/// A plan for people, and for comparison.
pub fn render(plan: &Plan) -> String {
    let Plan::Confined(plan) = plan else {
        return String::from("nothing is enforced\n");
    };
    let mut text = String::new();
    let _ = writeln!(text, "account {:?}", plan.account);
    let _ = writeln!(text, "token flags {:#x}", plan.token.flags);
    for restricting in &plan.token.restricting {
        let _ = writeln!(text, "token restricted to {restricting}");
    }
    for entry in &plan.entries {
        let _ = writeln!(text, "entry {} {}", entry.path, sddl(entry, super::GROUP));
    }
    for (name, value) in &plan.environment {
        let _ = writeln!(text, "variable {name}={value}");
    }
    let _ = writeln!(text, "desktop {:?}", plan.desktop);
    let _ = write!(text, "job kill-on-close");
    if let Some(processes) = plan.job.processes {
        let _ = write!(text, ", {processes} processes");
    }
    if let Some(memory) = plan.job.memory {
        let _ = write!(text, ", {memory} bytes");
    }
    if let Some(wall_time) = plan.job.wall_time {
        let _ = write!(text, ", {wall_time:?}");
    }
    text.push('\n');
    if let Some(port) = plan.proxy_port {
        let _ = writeln!(text, "proxy 127.0.0.1:{port}");
    }
    text
}

/// An entry in the security descriptor language; `group` is the identifier of
/// the local group of the sandbox accounts.
pub fn sddl(entry: &Entry, group: &str) -> String {
    let kind = match entry.kind {
        EntryKind::Deny => "D",
        EntryKind::Allow => "A",
    };
    let inherit = match entry.inherit {
        Inherit::Object => "",
        Inherit::Tree => "OICI",
    };
    let trustee = match &entry.trustee {
        Trustee::Group => group,
        Trustee::Capability(capability) => capability,
    };
    format!("({kind};{inherit};{:#x};;;{trustee})", entry.mask)
}

/// The security descriptor of the runner's pipes: the caller and the account
/// that runs the command, nobody else, nothing inherited, and no remote client
/// whoever it is. Both are identifiers as text; nothing for a text that is none.
pub fn pipe_sddl(caller: &str, account: &str) -> Option<String> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let identifier =
        |text: &str| text.strip_prefix("S-1-").is_some_and(|rest| rest.split('-').all(number));
    if !identifier(caller) || !identifier(account) {
        return None;
    }
    // NU is whoever came over the network. The account may not make instances
    // of the pipe (0x4), or it could answer in the caller's place.
    Some(format!("D:P(D;;GA;;;NU)(A;;GA;;;{caller})(A;;0x12019b;;;{account})"))
}
