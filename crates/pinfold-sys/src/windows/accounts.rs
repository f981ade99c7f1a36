//! Local accounts and their group, and processes of theirs.

use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use pinfold_policy::plan::windows::quote::command_line;
use pinfold_policy::plan::windows::{GROUP, wide};
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, ERROR_NONE_MAPPED};
use windows_sys::Win32::NetworkManagement::NetManagement::{
    LOCALGROUP_INFO_0, LOCALGROUP_MEMBERS_INFO_0, NERR_GroupNotFound, NERR_Success,
    NERR_UserExists, NERR_UserNotFound, NetApiBufferFree, NetLocalGroupAdd,
    NetLocalGroupAddMembers, NetLocalGroupDel, NetLocalGroupDelMembers, NetLocalGroupGetMembers,
    NetUserAdd, NetUserDel, NetUserSetInfo, UF_DONT_EXPIRE_PASSWD, UF_SCRIPT, USER_INFO_1,
    USER_INFO_1003, USER_PRIV_USER,
};
use windows_sys::Win32::Security::Authorization::ConvertStringSidToSidW;
use windows_sys::Win32::Security::{LookupAccountNameW, LookupAccountSidW, PSID};
use windows_sys::Win32::System::JobObjects::AssignProcessToJobObject;
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessWithLogonW,
    PROCESS_INFORMATION, ResumeThread, STARTUPINFOW, TerminateProcess,
};

use super::call::{self, Local, Number, Outcome, done, owned, wide as text_units, with_nul};
use crate::name;

/// The group that is there, or was made meanwhile (`ERROR_ALIAS_EXISTS`), and the one that is
/// not (`ERROR_NO_SUCH_ALIAS`).
const GROUP_EXISTS: u32 = 1379;
const NO_GROUP: u32 = 1376;
/// `ERROR_MEMBER_IN_ALIAS`, `ERROR_MEMBER_NOT_IN_ALIAS`.
const IS_MEMBER: u32 = 1378;
const NO_MEMBER: u32 = 1377;

/// Everybody who has an account, as an identifier: the group has another name in each language.
const USERS: &str = "S-1-5-32-545";

fn succeeded(code: u32, also: &[u32]) -> Outcome<()> {
    if code == NERR_Success || also.contains(&code) { Ok(()) } else { Err(code as Number) }
}

/// An identifier in the system's own form.
struct Sid(Vec<u8>);

impl Sid {
    fn pointer(&mut self) -> PSID {
        self.0.as_mut_ptr().cast()
    }
}

/// The identifier of a local account or group.
fn look_up(account: &str) -> Outcome<Sid> {
    let name = text_units(account);
    let (mut sid, mut domain) = (vec![0u8; 68], vec![0u16; 256]);
    let (mut length, mut domain_length, mut kind) = (68, 256, 0);
    let (place, domain) = (sid.as_mut_ptr().cast(), domain.as_mut_ptr());
    // SAFETY: the name ends with a NUL; there is as much room as is said, and 68 bytes are the
    // most that an identifier takes.
    done(unsafe {
        LookupAccountNameW(
            null(),
            name.as_ptr(),
            place,
            &mut length,
            domain,
            &mut domain_length,
            &mut kind,
        )
    })?;
    Ok(Sid(sid))
}

/// The identifier of a local account or group, as text.
pub(crate) fn identifier(account: &str) -> Outcome<String> {
    call::sid_text(look_up(account)?.pointer())
}

/// Whether there is such an account or group.
pub(crate) fn exists(account: &str) -> Outcome<bool> {
    match look_up(account) {
        Ok(_) => Ok(true),
        Err(code) if code == ERROR_NONE_MAPPED as Number => Ok(false),
        Err(code) => Err(code),
    }
}

/// The name of the group of everybody who has an account.
fn users() -> Outcome<Vec<u16>> {
    let mut place: PSID = null_mut();
    // SAFETY: the text ends with a NUL; one pointer is written.
    done(unsafe { ConvertStringSidToSidW(text_units(USERS).as_ptr(), &mut place) })?;
    let sid = Local(place);
    let (mut name, mut domain) = (vec![0u16; 256], vec![0u16; 256]);
    let (mut length, mut domain_length, mut kind) = (256, 256, 0);
    let (first, other) = (name.as_mut_ptr(), domain.as_mut_ptr());
    // SAFETY: the identifier was just made; there is as much room as is said.
    done(unsafe {
        LookupAccountSidW(null(), sid.0, first, &mut length, other, &mut domain_length, &mut kind)
    })?;
    name.truncate(length as usize);
    Ok(with_nul(name))
}

pub(crate) fn make_group() -> Outcome<()> {
    let mut name = text_units(GROUP);
    let group = LOCALGROUP_INFO_0 { lgrpi0_name: name.as_mut_ptr() };
    // SAFETY: the structure is that of its level, and its text ends with a NUL.
    let code = unsafe { NetLocalGroupAdd(null(), 0, (&raw const group).cast(), null_mut()) };
    succeeded(code, &[GROUP_EXISTS])
}

pub(crate) fn remove_group() -> Outcome<()> {
    // SAFETY: the name ends with a NUL.
    let code = unsafe { NetLocalGroupDel(null(), text_units(GROUP).as_ptr()) };
    succeeded(code, &[NO_GROUP, NERR_GroupNotFound])
}

/// Makes an account, or gives the one that is there another password.
pub(crate) fn make_user(user: &str, password: &str) -> Outcome<()> {
    let (mut name, mut word) = (text_units(user), text_units(password));
    let mut comment = text_units("pinfold runs commands as this account");
    let account = USER_INFO_1 {
        usri1_name: name.as_mut_ptr(),
        usri1_password: word.as_mut_ptr(),
        usri1_priv: USER_PRIV_USER,
        usri1_comment: comment.as_mut_ptr(),
        usri1_flags: UF_SCRIPT | UF_DONT_EXPIRE_PASSWD,
        ..USER_INFO_1::default()
    };
    // SAFETY: the structure is that of its level, and its texts end with a NUL.
    let code = unsafe { NetUserAdd(null(), 1, (&raw const account).cast(), null_mut()) };
    if code != NERR_UserExists {
        return succeeded(code, &[]);
    }
    let change = USER_INFO_1003 { usri1003_password: word.as_mut_ptr() };
    let change = (&raw const change).cast();
    // SAFETY: as above.
    let code = unsafe { NetUserSetInfo(null(), name.as_ptr(), 1003, change, null_mut()) };
    succeeded(code, &[])
}

pub(crate) fn remove_user(user: &str) -> Outcome<()> {
    // SAFETY: the name ends with a NUL.
    let code = unsafe { NetUserDel(null(), text_units(user).as_ptr()) };
    succeeded(code, &[NERR_UserNotFound])
}

/// Puts an account into our group, and among the ordinary users.
pub(crate) fn join(user: &str) -> Outcome<()> {
    let mut sid = look_up(user)?;
    for group in [text_units(GROUP), users()?] {
        let member = LOCALGROUP_MEMBERS_INFO_0 { lgrmi0_sid: sid.pointer() };
        let member = (&raw const member).cast();
        // SAFETY: one structure of its level; the identifier outlives the call.
        let code = unsafe { NetLocalGroupAddMembers(null(), group.as_ptr(), 0, member, 1) };
        succeeded(code, &[IS_MEMBER])?;
    }
    Ok(())
}

/// Takes an account out of our group.
pub(crate) fn leave(user: &str) -> Outcome<()> {
    let mut sid = look_up(user)?;
    let member = LOCALGROUP_MEMBERS_INFO_0 { lgrmi0_sid: sid.pointer() };
    let (group, member) = (text_units(GROUP), (&raw const member).cast());
    // SAFETY: one structure of its level; the identifier outlives the call.
    let code = unsafe { NetLocalGroupDelMembers(null(), group.as_ptr(), 0, member, 1) };
    succeeded(code, &[NO_MEMBER, NO_GROUP])
}

/// Whether an account is in our group.
pub(crate) fn is_member(user: &str) -> Outcome<bool> {
    let wanted = identifier(user)?;
    let (mut first, mut count, mut all) = (null_mut(), 0, 0);
    let group = text_units(GROUP);
    // SAFETY: the name ends with a NUL; one pointer and two numbers are written.
    let code = unsafe {
        NetLocalGroupGetMembers(
            null(),
            group.as_ptr(),
            0,
            &mut first,
            u32::MAX,
            &mut count,
            &mut all,
            null_mut(),
        )
    };
    if [NO_GROUP, NERR_GroupNotFound].contains(&code) {
        return Ok(false);
    }
    succeeded(code, &[])?;
    let members = first.cast::<LOCALGROUP_MEMBERS_INFO_0>();
    let mut found = false;
    for at in 0..count as usize {
        // SAFETY: the system has written so many.
        let member = unsafe { members.wrapping_add(at).read() };
        found |= call::sid_text(member.lgrmi0_sid).is_ok_and(|sid| sid == wanted);
    }
    // SAFETY: the system has made this memory, and says that it is freed so.
    unsafe { NetApiBufferFree(first.cast::<c_void>()) };
    Ok(found)
}

/// Starts this program as an account, without a window, in a job from before its first
/// instruction. It inherits nothing.
pub(crate) fn start_as(
    (user, password): (&str, &str),
    arguments: &[&str],
    job: &OwnedHandle,
) -> Outcome<OwnedHandle> {
    let program = own_program()?;
    let words = arguments.iter().map(|word| word.encode_utf16().collect::<Vec<u16>>());
    let words: Vec<Vec<u16>> = [program.clone()].into_iter().chain(words).collect();
    let line = command_line(&words).map_err(|_| ERROR_INVALID_PARAMETER as Number)?;
    let mut line = with_nul(line);
    let startup = STARTUPINFOW { cb: size_of::<STARTUPINFOW>() as u32, ..STARTUPINFOW::default() };
    let root = super::places::system_volume().ok_or(ERROR_INVALID_PARAMETER as Number)?;
    let directory = with_nul(wide::units(root.as_bytes()));
    let (user, password, here) = (text_units(user), text_units(password), text_units("."));
    let flags = CREATE_SUSPENDED | CREATE_NO_WINDOW | CREATE_UNICODE_ENVIRONMENT;
    let mut made = PROCESS_INFORMATION::default();
    // SAFETY: every text ends with its NUL and outlives the call; the line may be written to.
    done(unsafe {
        CreateProcessWithLogonW(
            user.as_ptr(),
            here.as_ptr(),
            password.as_ptr(),
            0,
            with_nul(program).as_ptr(),
            line.as_mut_ptr(),
            flags,
            null(),
            directory.as_ptr(),
            &raw const startup,
            &mut made,
        )
    })?;
    let (process, thread) = (owned(made.hProcess)?, owned(made.hThread)?);
    // SAFETY: both handles are open.
    let assigned =
        done(unsafe { AssignProcessToJobObject(job.as_raw_handle(), process.as_raw_handle()) });
    if let Err(code) = assigned {
        // SAFETY: the handle is open; nothing of the process has run yet.
        unsafe { TerminateProcess(process.as_raw_handle(), 1) };
        return Err(code);
    }
    // SAFETY: the handle is open.
    if unsafe { ResumeThread(thread.as_raw_handle()) } == u32::MAX {
        return Err(call::last_error());
    }
    Ok(process)
}

/// Where this program is.
pub(crate) fn own_program() -> Outcome<Vec<u16>> {
    let program = std::env::current_exe().map_err(|error| super::link::number(&error))?;
    Ok(wide::units(name::bytes(program.as_os_str())))
}
