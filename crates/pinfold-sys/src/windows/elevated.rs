//! Set-up as an administrator: a copy of this program that the user has agreed to, and that
//! does what it is told over a pipe. It touches pinfold's own accounts and filters only.

use std::os::windows::io::OwnedHandle;
use std::ptr::null_mut;

use pinfold_policy::plan::windows::frame::{Kind, Message};
use pinfold_policy::plan::windows::record;
use pinfold_policy::plan::windows::setup::Operation;
use windows_sys::Win32::Foundation::ERROR_INVALID_DATA;
use windows_sys::Win32::Security::{TOKEN_ELEVATION, TokenElevation};
use windows_sys::Win32::UI::Shell::{
    SEE_MASK_NOASYNC, SEE_MASK_NOCLOSEPROCESS, SHELLEXECUTEINFOW, ShellExecuteExW,
};
use windows_sys::Win32::UI::WindowsAndMessaging::SW_HIDE;

use super::call::{self, Outcome, done, owned, wide, with_nul};
use super::link::Link;
use super::{accounts, setup};

/// The word that makes a program the helper of set-up, before the name of its pipe.
pub(crate) const HELPER: &str = "--set-up-for";

/// Whoever does what takes an administrator.
#[derive(Debug)]
pub struct Administrator(Who);

#[derive(Debug)]
enum Who {
    /// This process can.
    Own,
    /// Another one, over a pipe.
    Helper(Link),
}

impl Administrator {
    /// Finds out whether this process is an administrator's, and asks the user for one that
    /// is if not.
    ///
    /// # Errors
    /// The error number of the system; 1223 when the user does not agree.
    pub fn new() -> Result<Administrator, i32> {
        if is_elevated()? {
            return Ok(Administrator(Who::Own));
        }
        let caller = call::user_of(&call::own_token()?)?;
        // The user who agrees may be another one.
        let sddl = format!("D:P(D;;GA;;;NU)(A;;GA;;;{caller})(A;;0x12019b;;;BA)");
        let (link, _) = Link::with("setup", &sddl, start)?;
        Ok(Administrator(Who::Helper(link)))
    }

    /// Does one thing, with the password of the account that it makes.
    ///
    /// # Errors
    /// The error number of the system.
    pub fn perform(&mut self, operation: &Operation, password: &str) -> Result<(), i32> {
        match &mut self.0 {
            Who::Own => setup::perform(operation, password),
            Who::Helper(link) => {
                let told = [&record::operation(operation), &b"\n"[..], password.as_bytes()];
                link.ask(Kind::Perform, told.concat()).map(drop)
            }
        }
    }
}

fn is_elevated() -> Outcome<bool> {
    let facts = call::token_facts(&call::own_token()?, TokenElevation)?;
    // SAFETY: the system has written a `TOKEN_ELEVATION` there.
    Ok(unsafe { facts.as_ptr().cast::<TOKEN_ELEVATION>().read() }.TokenIsElevated != 0)
}

/// Starts this program as an administrator, which the system asks the user about.
fn start(pipe: &str) -> Outcome<OwnedHandle> {
    let program = with_nul(accounts::own_program()?);
    let (verb, parameters) = (wide("runas"), wide(&format!("{HELPER} {pipe}")));
    let mut asked = SHELLEXECUTEINFOW {
        cbSize: size_of::<SHELLEXECUTEINFOW>() as u32,
        fMask: SEE_MASK_NOCLOSEPROCESS | SEE_MASK_NOASYNC,
        lpVerb: verb.as_ptr(),
        lpFile: program.as_ptr(),
        lpParameters: parameters.as_ptr(),
        nShow: SW_HIDE,
        hwnd: null_mut(),
        ..SHELLEXECUTEINFOW::default()
    };
    // SAFETY: every text ends with its NUL and outlives the call.
    done(unsafe { ShellExecuteExW(&raw mut asked) })?;
    owned(asked.hProcess)
}

/// The helper itself, until the other end is gone.
pub(crate) fn serve(mut link: Link) -> Outcome<()> {
    while let Some(Message { kind, payload }) = link.receive()? {
        let told = (kind == Kind::Perform).then(|| told(&payload)).flatten();
        let result = match told {
            Some((operation, password)) => setup::perform(&operation, &password),
            None => Err(ERROR_INVALID_DATA as i32),
        };
        link.answer(Kind::Done, result.map(|()| Vec::new()))?;
    }
    Ok(())
}

fn told(payload: &[u8]) -> Option<(Operation, String)> {
    let end = payload.iter().position(|byte| *byte == b'\n')?;
    let password = String::from_utf8(payload.get(end + 1..)?.to_vec()).ok()?;
    Some((record::operation_of(payload.get(..end)?)?, password))
}

#[cfg(test)]
mod tests {
    use pinfold_policy::plan::windows::setup::Step;
    use pinfold_policy::plan::windows::{GROUP, OFFLINE};

    use super::super::link::tests::with_thread;
    use super::*;

    #[test]
    fn the_helper_does_what_it_is_told_of_its_own_and_nothing_else() {
        let (link, _process) = with_thread(serve);
        let mut administrator = Administrator(Who::Helper(link));
        // Here it is only seen that this arrives: Wine says that it is done.
        let group = Operation::Apply(Step::Group(GROUP));
        assert_eq!(administrator.perform(&group, ""), Ok(()));
        let password = Operation::Apply(Step::Password(OFFLINE));
        assert!(administrator.perform(&password, "x").is_err(), "that is the user's own");
        let Who::Helper(link) = &mut administrator.0 else { return };
        for told in [&b""[..], b"\n", b"apply group", b"apply user Administrator\nx", b"undo\n"] {
            assert!(link.ask(Kind::Perform, told.to_vec()).is_err());
        }
        assert!(link.ask(Kind::Start, b"apply group\n".to_vec()).is_err());
        assert!(link.ask(Kind::Perform, b"undo group\n".to_vec()).is_ok(), "it goes on");
    }
}
