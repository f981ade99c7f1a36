//! The access control lists of files and directories. A link is itself the object, not
//! where it leads.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
    SE_FILE_OBJECT, SetSecurityInfo,
};
use windows_sys::Win32::Security::{DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_DELETE,
    FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING, READ_CONTROL, WRITE_DAC,
};

use super::call::{Descriptor, Local, Number, done, last_error, text, with_nul};

/// Opens whatever is at a path.
fn open(path: &[u16], rights: u32) -> Result<OwnedHandle, Number> {
    let path = with_nul(path.to_vec());
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    // A directory is opened only so.
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    // SAFETY: the path ends with a NUL; the other pointers may be null.
    let handle = unsafe {
        CreateFileW(path.as_ptr(), rights, share, null(), OPEN_EXISTING, flags, null_mut())
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(last_error());
    }
    // SAFETY: it has just been made, and nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// The list of a file or directory, as text.
pub(crate) fn list_of(path: &[u16]) -> Result<String, Number> {
    let object = open(path, READ_CONTROL)?;
    let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
    // SAFETY: the handle is open; the descriptor is written, the rest is not wanted.
    let error = unsafe {
        GetSecurityInfo(
            object.as_raw_handle(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            &mut descriptor,
        )
    };
    if error != ERROR_SUCCESS {
        return Err(error as Number);
    }
    let descriptor = Local(descriptor);
    let mut place = null_mut();
    // SAFETY: the descriptor was just written; one pointer is.
    done(unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.0,
            SDDL_REVISION_1,
            DACL_SECURITY_INFORMATION,
            &mut place,
            null_mut(),
        )
    })?;
    Ok(text(&Local(place.cast())))
}

/// Gives a file or directory another list; what is below a directory inherits from it at once.
pub(crate) fn set_list(path: &[u16], sddl: &str) -> Result<(), Number> {
    let object = open(path, READ_CONTROL | WRITE_DAC)?;
    let descriptor = Descriptor::parse(sddl)?;
    let list = descriptor.list()?;
    // SAFETY: the handle is open, and the list lives in the descriptor until this returns.
    let error = unsafe {
        SetSecurityInfo(
            object.as_raw_handle(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            list,
            null(),
        )
    };
    if error == ERROR_SUCCESS { Ok(()) } else { Err(error as Number) }
}
