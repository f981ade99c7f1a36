//! The plans of this system, under the names that the library uses everywhere.

use pinfold_policy::plan::windows;

pub use pinfold_policy::host::WindowsHost as Host;
pub use pinfold_policy::plan::windows::{Plan, compile};

use crate::seam::{Captured, Network};

/// The system that plans are made for.
pub const SYSTEM: pinfold_policy::host::System = pinfold_policy::host::System::Windows;

/// A plan as text.
pub fn render(plan: &Plan) -> String {
    windows::render(plan)
}

/// What enforces a plan, in a word.
pub fn mechanism(plan: &Plan) -> &'static str {
    match plan {
        Plan::Confined(plan) if plan.account == windows::Account::Caller => "restricted-token",
        Plan::Confined(_) => "account",
        Plan::Unconfined(_) => "none",
    }
}

/// Where a command finds its proxy, when its profile has host rules.
pub fn network(plan: &Plan) -> Network {
    match plan {
        Plan::Confined(plan) if plan.proxy_port.is_some() => Network::Host,
        Plan::Confined(_) | Plan::Unconfined(_) => Network::NoProxy,
    }
}

/// Which connections come to the proxy, when commands have a network of their own: they have
/// the host's.
pub fn captured(_plan: &Plan) -> Option<Captured> {
    None
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

/// Why files and programs that commands attempt to use cannot be told of.
pub fn untold(_plan: &Plan) -> Option<&'static str> {
    Some("this version does not hear of refusals on this system")
}
