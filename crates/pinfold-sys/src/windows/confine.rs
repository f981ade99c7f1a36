//! What confines a command besides its job: a restricted token, and a desktop.

use std::os::windows::io::OwnedHandle;

use pinfold_policy::plan::windows::Token;
use pinfold_policy::plan::windows::order::Attempt;
use windows_sys::Win32::Foundation::{
    ERROR_BAD_PATHNAME, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND,
};

use super::call::{self, Descriptor, Desktop, Outcome};

/// What commands of a plan are confined by, in the process that starts them.
#[derive(Debug)]
pub(crate) struct Confinement {
    pub(crate) token: OwnedHandle,
    /// The name of its desktop, which is there as long as this is.
    pub(crate) desktop: String,
    _desktop: Desktop,
}

impl Confinement {
    /// Makes them, for this process's user.
    pub(crate) fn of(plan: &Token) -> Outcome<Confinement> {
        let own = call::own_token()?;
        let user = call::user_of(&own)?;
        let logon = call::logon_of(&own)?;
        let list = Descriptor::parse(&everything(&user, logon.as_deref()))?;
        let mut restricting = plan.restricting.clone();
        restricting.extend(logon);
        let token = call::restrict(&own, plan.flags, &restricting)?;
        // Or the command could not even write to a pipe of its own.
        call::set_default_list(&token, &list)?;
        let desktop = format!("pinfold-{}", std::process::id());
        let made = Desktop::create(&desktop, &list)?;
        Ok(Confinement { token, desktop, _desktop: made })
    }
}

/// A list that grants everything to the system, the user and the logon session, which is
/// among the restricting identifiers.
fn everything(user: &str, logon: Option<&str>) -> String {
    let logon = logon.map_or(String::new(), |logon| format!("(A;;GA;;;{logon})"));
    format!("D:P(A;;GA;;;SY)(A;;GA;;;{user}){logon}")
}

/// Starts the first of several programs that is there.
pub(crate) fn first_there(
    attempts: &[Attempt],
    otherwise: Option<u32>,
    start: impl Fn(&Attempt) -> Outcome<OwnedHandle>,
) -> Outcome<OwnedHandle> {
    let mut error = ERROR_FILE_NOT_FOUND as i32;
    for attempt in attempts {
        match start(attempt) {
            Ok(process) => return Ok(process),
            Err(code) => error = code,
        }
        let missing = [ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_BAD_PATHNAME];
        if !missing.contains(&(error as u32)) {
            return Err(error);
        }
    }
    Err(otherwise.map_or(error, |code| code as i32))
}
