//! One safe function per function of the system, with owned handles.

use std::ffi::c_void;
use std::os::windows::io::{
    AsRawHandle, BorrowedHandle, FromRawHandle, IntoRawHandle, OwnedHandle,
};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use windows_sys::Win32::Foundation::{
    DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_ACCESS_DENIED,
    ERROR_SUCCESS, GetLastError, HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, LocalFree,
    SetHandleInformation, WAIT_TIMEOUT,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
    ConvertStringSidToSidW, SDDL_REVISION_1, SE_KERNEL_OBJECT, SetSecurityInfo,
};
use windows_sys::Win32::Security::{
    ACL, CreateRestrictedToken, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl,
    GetTokenInformation, IsTokenRestricted, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
    SID_AND_ATTRIBUTES, SetTokenInformation, TOKEN_ADJUST_DEFAULT, TOKEN_ASSIGN_PRIMARY,
    TOKEN_DEFAULT_DACL, TOKEN_DUPLICATE, TOKEN_GROUPS, TOKEN_INFORMATION_CLASS, TOKEN_QUERY,
    TOKEN_USER, TokenDefaultDacl, TokenGroups, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetFileType};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOBOBJECTINFOCLASS, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;
use windows_sys::Win32::System::StationsAndDesktops::{CloseDesktop, CreateDesktopW, HDESK};
use windows_sys::Win32::System::SystemServices::SE_GROUP_LOGON_ID;
use windows_sys::Win32::System::Threading::{
    CreateEventW, GetCurrentProcess, GetExitCodeProcess, GetProcessId, OpenProcess,
    OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION, SetEvent, WaitForSingleObject,
};
use windows_sys::core::BOOL;

/// The error number of the system.
pub(crate) type Number = i32;
pub(super) type Outcome<T> = Result<T, Number>;

pub(super) fn last_error() -> Number {
    // SAFETY: this call has no precondition.
    unsafe { GetLastError() as Number }
}

pub(super) fn done(result: BOOL) -> Outcome<()> {
    if result == 0 { Err(last_error()) } else { Ok(()) }
}

pub(super) fn owned(handle: HANDLE) -> Outcome<OwnedHandle> {
    if handle.is_null() {
        return Err(last_error());
    }
    // SAFETY: the callers have just been given this handle and keep no other record.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Text with its NUL.
pub(crate) fn with_nul(mut units: Vec<u16>) -> Vec<u16> {
    units.push(0);
    units
}

pub(super) fn wide(text: &str) -> Vec<u16> {
    with_nul(text.encode_utf16().collect())
}

/// Memory that the system has allocated.
pub(super) struct Local(pub(super) *mut c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the functions that fill this say that it is freed so.
        unsafe { LocalFree(self.0) };
    }
}

/// Text that the system has allocated, up to its NUL.
pub(super) fn text(local: &Local) -> String {
    let start = local.0.cast::<u16>();
    let mut length = 0;
    // SAFETY: the text ends with a NUL, at which this stops.
    while unsafe { start.wrapping_add(length).read() } != 0 {
        length += 1;
    }
    // SAFETY: this many units were just read.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(start, length) })
}

/// A job in which nothing runs yet: `CreateJobObjectW`.
pub(crate) fn create_job() -> Outcome<OwnedHandle> {
    // SAFETY: both pointers may be null.
    owned(unsafe { CreateJobObjectW(null(), null()) })
}

/// Sets one kind of limits of a job.
pub(crate) fn set_job<T>(job: &OwnedHandle, class: JOBOBJECTINFOCLASS, limits: &T) -> Outcome<()> {
    let limits = std::ptr::from_ref(limits).cast();
    // SAFETY: the structure is that of its class and as long as is said.
    done(unsafe {
        SetInformationJobObject(job.as_raw_handle(), class, limits, size_of::<T>() as u32)
    })
}

/// Reads one kind of facts about a job into plain numbers.
pub(crate) fn query_job<T: Default>(job: &OwnedHandle, class: JOBOBJECTINFOCLASS) -> Outcome<T> {
    let mut facts = T::default();
    let place = std::ptr::from_mut(&mut facts).cast();
    let length = size_of::<T>() as u32;
    // SAFETY: the structure is that of its class and as long as is said.
    done(unsafe {
        QueryInformationJobObject(job.as_raw_handle(), class, place, length, null_mut())
    })?;
    Ok(facts)
}

/// Ends everything in a job.
pub(crate) fn terminate_job(job: &OwnedHandle) {
    // SAFETY: the handle is open.
    unsafe { TerminateJobObject(job.as_raw_handle(), 1) };
}

fn own_process() -> HANDLE {
    // SAFETY: this call has no precondition.
    unsafe { GetCurrentProcess() }
}

/// The token of this process.
pub(crate) fn own_token() -> Outcome<OwnedHandle> {
    let access = TOKEN_DUPLICATE | TOKEN_QUERY | TOKEN_ASSIGN_PRIMARY | TOKEN_ADJUST_DEFAULT;
    let mut token = null_mut();
    // SAFETY: the handle of the own process is always valid; one handle is written.
    done(unsafe { OpenProcessToken(own_process(), access, &mut token) })?;
    owned(token)
}

/// Facts about a token, in memory that is aligned for pointers.
pub(super) fn token_facts(
    token: &OwnedHandle,
    class: TOKEN_INFORMATION_CLASS,
) -> Outcome<Vec<usize>> {
    let mut length = 0;
    // SAFETY: without room only the length is written.
    unsafe { GetTokenInformation(token.as_raw_handle(), class, null_mut(), 0, &mut length) };
    let mut facts = vec![0usize; (length as usize).div_ceil(size_of::<usize>())];
    let place = facts.as_mut_ptr().cast();
    // SAFETY: there is as much room as is said.
    done(unsafe { GetTokenInformation(token.as_raw_handle(), class, place, length, &mut length) })?;
    Ok(facts)
}

pub(super) fn sid_text(sid: PSID) -> Outcome<String> {
    let mut place = null_mut();
    // SAFETY: the identifier is one of a token; one pointer is written.
    done(unsafe { ConvertSidToStringSidW(sid, &mut place) })?;
    Ok(text(&Local(place.cast())))
}

/// Whether a process is the same user's as this one, and has no restricted token.
pub(crate) fn is_of_same_user(process: u32) -> bool {
    // SAFETY: this call has no precondition.
    let opened = owned(unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process) });
    let user = opened.and_then(|process| {
        let mut token = null_mut();
        // SAFETY: the handle is open; one handle is written.
        done(unsafe { OpenProcessToken(process.as_raw_handle(), TOKEN_QUERY, &mut token) })?;
        let token = owned(token)?;
        // SAFETY: the handle is open.
        if unsafe { IsTokenRestricted(token.as_raw_handle()) } != 0 {
            return Err(ERROR_ACCESS_DENIED as Number);
        }
        user_of(&token)
    });
    let own = own_token().and_then(|token| user_of(&token));
    user.is_ok() && user == own
}

/// The user of a token, as text.
pub(crate) fn user_of(token: &OwnedHandle) -> Outcome<String> {
    let facts = token_facts(token, TokenUser)?;
    // SAFETY: the system has written a `TOKEN_USER` there.
    let user = unsafe { facts.as_ptr().cast::<TOKEN_USER>().read() };
    sid_text(user.User.Sid)
}

/// The logon session of a token, as text; nothing for a service.
pub(crate) fn logon_of(token: &OwnedHandle) -> Outcome<Option<String>> {
    let facts = token_facts(token, TokenGroups)?;
    let groups = facts.as_ptr().cast::<TOKEN_GROUPS>();
    // SAFETY: the system has written a `TOKEN_GROUPS` there.
    let count = unsafe { groups.read() }.GroupCount as usize;
    let first = groups.cast::<u8>().wrapping_add(std::mem::offset_of!(TOKEN_GROUPS, Groups));
    let mark = SE_GROUP_LOGON_ID as u32;
    for at in 0..count {
        let group = first.cast::<SID_AND_ATTRIBUTES>().wrapping_add(at);
        // SAFETY: there are this many groups.
        let group = unsafe { group.read() };
        if group.Attributes & mark == mark {
            return sid_text(group.Sid).map(Some);
        }
    }
    Ok(None)
}

/// A token with less: `CreateRestrictedToken`, with restricting identifiers as text.
pub(crate) fn restrict(token: &OwnedHandle, flags: u32, sids: &[String]) -> Outcome<OwnedHandle> {
    let mut kept = Vec::new();
    for sid in sids {
        let mut place: PSID = null_mut();
        // SAFETY: the text ends with a NUL; one pointer is written.
        done(unsafe { ConvertStringSidToSidW(wide(sid).as_ptr(), &mut place) })?;
        kept.push(Local(place));
    }
    let restricting: Vec<SID_AND_ATTRIBUTES> =
        kept.iter().map(|sid| SID_AND_ATTRIBUTES { Sid: sid.0, Attributes: 0 }).collect();
    let (count, first) = (restricting.len() as u32, restricting.as_ptr());
    let mut restricted = null_mut();
    // SAFETY: the identifiers live until the call is over; one handle is written.
    done(unsafe {
        CreateRestrictedToken(
            token.as_raw_handle(),
            flags,
            0,
            null(),
            0,
            null(),
            count,
            first,
            &mut restricted,
        )
    })?;
    owned(restricted)
}

/// A security descriptor, from its text.
pub(crate) struct Descriptor(Local);

impl Descriptor {
    pub(crate) fn parse(sddl: &str) -> Outcome<Descriptor> {
        let mut place: PSECURITY_DESCRIPTOR = null_mut();
        let sddl = wide(sddl);
        // SAFETY: the text ends with a NUL; one pointer is written.
        done(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                sddl.as_ptr(),
                SDDL_REVISION_1,
                &mut place,
                null_mut(),
            )
        })?;
        Ok(Descriptor(Local(place)))
    }
}

impl Descriptor {
    /// Where it is, as long as it is there.
    pub(super) fn pointer(&self) -> PSECURITY_DESCRIPTOR {
        self.0.0
    }

    /// Its list, which lives as long as it does.
    pub(super) fn list(&self) -> Outcome<*mut ACL> {
        let (mut present, mut list, mut defaulted) = (0, null_mut(), 0);
        // SAFETY: the descriptor was made by `parse`; three values are written.
        done(unsafe {
            GetSecurityDescriptorDacl(self.0.0, &mut present, &mut list, &mut defaulted)
        })?;
        Ok(list)
    }
}

/// What objects that a token's processes make allow.
pub(crate) fn set_default_list(token: &OwnedHandle, list: &Descriptor) -> Outcome<()> {
    let default = TOKEN_DEFAULT_DACL { DefaultDacl: list.list()? };
    let (place, length) = (&raw const default, size_of::<TOKEN_DEFAULT_DACL>() as u32);
    // SAFETY: the list lives in the descriptor, and is copied.
    done(unsafe {
        SetTokenInformation(token.as_raw_handle(), TokenDefaultDacl, place.cast(), length)
    })
}

/// A desktop that is closed with this.
#[derive(Debug)]
pub(crate) struct Desktop(HDESK);

// SAFETY: the handle is the process's, and nothing but its end is done with it.
unsafe impl Send for Desktop {}
// SAFETY: as above.
unsafe impl Sync for Desktop {}

impl Desktop {
    /// Makes one on the window station of this process.
    pub(crate) fn create(name: &str, list: &Descriptor) -> Outcome<Desktop> {
        const ALL: u32 = 0x000f_01ff;
        let attributes = SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: list.0.0,
            bInheritHandle: 0,
        };
        let name = wide(name);
        // SAFETY: the name ends with a NUL, and the attributes outlive the call.
        let desktop =
            unsafe { CreateDesktopW(name.as_ptr(), null(), null(), 0, ALL, &raw const attributes) };
        if desktop.is_null() { Err(last_error()) } else { Ok(Desktop(desktop)) }
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // SAFETY: it was made by `create` and is closed once.
        unsafe { CloseDesktop(self.0) };
    }
}

/// Copies of the standard handles that a command inherits; none for what is closed.
pub(crate) fn standard() -> [Option<OwnedHandle>; 3] {
    [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE].map(|which| {
        // SAFETY: this call has no precondition.
        let handle = unsafe { GetStdHandle(which) };
        if handle.is_null() || handle == INVALID_HANDLE_VALUE {
            return None;
        }
        duplicate(handle).ok()
    })
}

/// Lets children inherit the standard handles no longer.
pub(crate) fn keep_standard() {
    for which in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: this call has no precondition.
        let handle = unsafe { GetStdHandle(which) };
        // SAFETY: a handle that is none is refused.
        unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
    }
}

/// Keeps keys that interrupt (Ctrl-C, Ctrl-Break) for the command, which has the same
/// console and gets them itself.
pub(crate) fn leave_interrupts() {
    unsafe extern "system" fn handled(_kind: u32) -> BOOL {
        1
    }
    // SAFETY: the handler touches nothing.
    unsafe { SetConsoleCtrlHandler(Some(handled), 1) };
}

/// Whether one of those keys was pressed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Notes that such a key was pressed, in place of ending this process.
pub(crate) fn notice_interrupts() {
    unsafe extern "system" fn handled(_kind: u32) -> BOOL {
        INTERRUPTED.store(true, SeqCst);
        1
    }
    // SAFETY: the handler stores one value.
    unsafe { SetConsoleCtrlHandler(Some(handled), 1) };
}

/// Whether one was, since they are noticed.
pub(crate) fn was_interrupted() -> bool {
    INTERRUPTED.load(SeqCst)
}

/// Waits until a process has ended or an event is set, at most for so many milliseconds;
/// whether it is so.
pub(crate) fn wait(object: BorrowedHandle<'_>, milliseconds: u32) -> bool {
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(object.as_raw_handle(), milliseconds) != WAIT_TIMEOUT }
}

/// An event that is not set, and stays set once it is: `CreateEventW`.
pub(crate) fn event() -> Outcome<OwnedHandle> {
    // SAFETY: both pointers may be null.
    owned(unsafe { CreateEventW(null(), 1, 0, null()) })
}

pub(crate) fn set_event(event: &OwnedHandle) {
    // SAFETY: the handle is open.
    unsafe { SetEvent(event.as_raw_handle()) };
}

/// Whether a pipe has something to read or has lost its other end, and whether anything
/// else that can be waited for is there.
pub(crate) fn is_ready(handle: BorrowedHandle<'_>) -> bool {
    // SAFETY: the handle is open.
    if unsafe { GetFileType(handle.as_raw_handle()) } != FILE_TYPE_PIPE {
        return wait(handle, 0);
    }
    let mut waiting = 0;
    // SAFETY: the handle is open; one number is written.
    let looked = unsafe {
        PeekNamedPipe(handle.as_raw_handle(), null_mut(), 0, null_mut(), &mut waiting, null_mut())
    };
    looked == 0 || waiting > 0
}

/// Another handle for the same, which children can be given.
pub(crate) fn inheritable(handle: &OwnedHandle) -> Outcome<OwnedHandle> {
    duplicate(handle.as_raw_handle())
}

/// Puts a handle into another process, for its children to inherit; its number there.
pub(crate) fn copy_into(handle: HANDLE, process: &OwnedHandle) -> Outcome<u64> {
    let (own, into, mut copy) = (own_process(), process.as_raw_handle(), null_mut());
    // SAFETY: both processes' handles are open; one handle is written.
    done(unsafe { DuplicateHandle(own, handle, into, &mut copy, 0, 1, DUPLICATE_SAME_ACCESS) })?;
    Ok(copy as u64)
}

/// Takes a handle out of another process.
pub(crate) fn take_from(process: &OwnedHandle, number: u64) -> Outcome<OwnedHandle> {
    let (from, own, mut copy) = (process.as_raw_handle(), own_process(), null_mut());
    let how = DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE;
    // SAFETY: both processes' handles are open; the number is looked up in the other's table.
    done(unsafe { DuplicateHandle(from, number as HANDLE, own, &mut copy, 0, 0, how) })?;
    owned(copy)
}

/// A handle that another process has put into this one; none for 0.
pub(crate) fn given(number: u64) -> Option<OwnedHandle> {
    let handle = number as HANDLE;
    // SAFETY: it was put here for this, and nothing else in this process knows it.
    (!handle.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Leaves a handle for another process to take; its number.
pub(crate) fn leave_open(handle: OwnedHandle) -> u64 {
    handle.into_raw_handle() as u64
}

/// Lets nobody open this process but the system: whoever has the same user, as every command of
/// a sandbox account has, could take handles out of it. Handles that others have already stay.
pub(crate) fn close_to_others() -> Outcome<()> {
    let nobody = Descriptor::parse("D:P(A;;GA;;;SY)")?;
    let list = nobody.list()?;
    // SAFETY: the handle of the own process is always valid, and the list lives until this
    // returns.
    let error = unsafe {
        SetSecurityInfo(
            own_process(),
            SE_KERNEL_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            list,
            null(),
        )
    };
    if error == ERROR_SUCCESS { Ok(()) } else { Err(error as Number) }
}

/// The number of a process.
pub(crate) fn process_id(process: &OwnedHandle) -> Outcome<u32> {
    // SAFETY: the handle is open.
    match unsafe { GetProcessId(process.as_raw_handle()) } {
        0 => Err(last_error()),
        number => Ok(number),
    }
}

pub(super) fn duplicate(handle: HANDLE) -> Outcome<OwnedHandle> {
    let (own, mut copy) = (own_process(), null_mut());
    // SAFETY: the handle of the own process is always valid; one handle is written.
    done(unsafe { DuplicateHandle(own, handle, own, &mut copy, 0, 1, DUPLICATE_SAME_ACCESS) })?;
    owned(copy)
}

/// The exit status of a process that has ended.
pub(crate) fn exit_status(process: &OwnedHandle) -> Outcome<u32> {
    let mut status = 0;
    // SAFETY: the handle is open; one number is written.
    done(unsafe { GetExitCodeProcess(process.as_raw_handle(), &mut status) })?;
    Ok(status)
}
