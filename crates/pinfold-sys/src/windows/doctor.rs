//! Says which level this host is prepared for.

use pinfold_policy::plan::windows::setup::steps;

use super::setup;
use crate::seam::Check;

/// Looks at everything.
pub fn doctor() -> Vec<Check> {
    let remedy = Some(String::from("run \"pinfold setup --accounts\", as an administrator agrees"));
    let check = |works, detail, remedy| {
        vec![Check { name: "sandbox accounts", works, needed: false, detail, remedy }]
    };
    let Some(port) = setup::proxy_port() else {
        let detail = "not prepared: commands run as the caller, under a restricted token";
        return check(false, String::from(detail), remedy);
    };
    let missing = steps(port, &[]).into_iter().find(|step| setup::has(step) != Ok(true));
    match missing {
        None => check(true, format!("prepared, with the proxy at port {port}"), None),
        // Only administrators may look at filters.
        Some(step) => check(false, format!("not seen: {step:?}"), remedy),
    }
}
