//! The plans of this system, under the names that the library uses everywhere.

use pinfold_policy::plan::macos;

pub use pinfold_policy::host::MacHost as Host;
pub use pinfold_policy::plan::macos::{Plan, compile};

use crate::seam::{Captured, Network};

/// The system that plans are made for.
pub const SYSTEM: pinfold_policy::host::System = pinfold_policy::host::System::MacOs;

/// A plan as text.
pub fn render(plan: &Plan) -> String {
    macos::render(plan)
}

/// What enforces a plan, in a word.
pub fn mechanism(plan: &Plan) -> &'static str {
    match plan {
        Plan::Seatbelt(_) => "seatbelt",
        Plan::Unconfined(_) => "none",
    }
}

/// Where a command finds its proxy, when its profile has host rules.
pub fn network(plan: &Plan) -> Network {
    match plan {
        Plan::Seatbelt(plan) if plan.proxy => Network::Host,
        Plan::Seatbelt(_) | Plan::Unconfined(_) => Network::NoProxy,
    }
}

/// Which connections come to the proxy: none is captured, and what a sandbox refuses is
/// told; nothing when nothing is refused.
pub fn captured(plan: &Plan) -> Option<Captured> {
    match plan {
        Plan::Seatbelt(_) => Some(Captured::Ports(Vec::new())),
        Plan::Unconfined(_) => None,
    }
}

/// Whether the host may close the mechanism of a plan and leave another: there is
/// one mechanism only.
pub fn has_fallback(_plan: &Plan) -> bool {
    false
}

/// Whether a plan is for that other mechanism.
pub fn is_fallback(_plan: &Plan) -> bool {
    false
}

/// Why files and programs that commands attempt to use cannot be told of; nothing when they
/// can.
pub fn untold(plan: &Plan) -> Option<&'static str> {
    match plan {
        Plan::Seatbelt(_) => None,
        Plan::Unconfined(_) => Some("the system's log tells of sandboxes only"),
    }
}
