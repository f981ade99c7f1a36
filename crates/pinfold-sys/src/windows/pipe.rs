//! Named pipes that are read and written at once: every operation is overlapped, and waited
//! for before its memory goes.

use std::io::{self, Read, Write};
use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle, RawHandle,
};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_PIPE_CONNECTED, GENERIC_READ, GENERIC_WRITE, HANDLE,
    INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_DUPLEX, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, GetNamedPipeClientProcessId, GetNamedPipeServerProcessId,
    PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES,
    PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForMultipleObjects};
use windows_sys::core::BOOL;

use super::call::{self, Descriptor, Outcome, done, last_error, wide};

/// Bytes that are kept for a slow reader, on each way.
const KEPT: u32 = 64 * 1024;

/// One end of a named pipe.
#[derive(Debug)]
pub(crate) struct Pipe(OwnedHandle);

/// What a wait also ends with: another object, or so many milliseconds.
pub(crate) struct Until<'a> {
    pub(crate) other: Option<BorrowedHandle<'a>>,
    pub(crate) milliseconds: u32,
}

pub(crate) const FOR_EVER: Until<'static> = Until { other: None, milliseconds: INFINITE };

fn made(handle: HANDLE) -> Outcome<Pipe> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(last_error());
    }
    // SAFETY: it has just been made, and nobody else knows it.
    Ok(Pipe(unsafe { OwnedHandle::from_raw_handle(handle) }))
}

/// The name of a pipe that nobody has used or can guess.
pub(crate) fn unique(purpose: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    // Each state is keyed by the system's random numbers.
    let random = || RandomState::new().hash_one(purpose);
    format!(r"\\.\pipe\pinfold-{purpose}-{:016x}{:016x}", random(), random())
}

impl Pipe {
    /// The serving end, for one client; `first` when there must be no pipe of this name.
    pub(crate) fn create(name: &str, list: &Descriptor, first: bool) -> Outcome<Pipe> {
        let attributes = SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: list.pointer(),
            bInheritHandle: 0,
        };
        let first = if first { FILE_FLAG_FIRST_PIPE_INSTANCE } else { 0 };
        let name = wide(name);
        // SAFETY: the name ends with a NUL, and the attributes outlive the call.
        made(unsafe {
            CreateNamedPipeW(
                name.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first,
                PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                PIPE_UNLIMITED_INSTANCES,
                KEPT,
                KEPT,
                0,
                &raw const attributes,
            )
        })
    }

    /// The other end. Whoever serves it may find out who this is, and not act as it.
    pub(crate) fn open(name: &str) -> Outcome<Pipe> {
        let name = wide(name);
        let flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
        let rights = GENERIC_READ | GENERIC_WRITE;
        // SAFETY: the name ends with a NUL; the other pointers may be null.
        made(unsafe {
            CreateFileW(name.as_ptr(), rights, 0, null(), OPEN_EXISTING, flags, null_mut())
        })
    }

    /// Waits for the client.
    pub(crate) fn accept(&self, until: &Until<'_>) -> Outcome<()> {
        let pipe = self.0.as_raw_handle();
        // SAFETY: the handle is open, and the operation is waited for.
        self.perform(until, |overlapped| unsafe { ConnectNamedPipe(pipe, overlapped) }).map(drop)
    }

    /// The process of the client.
    pub(crate) fn client(&self) -> Outcome<u32> {
        let mut process = 0;
        // SAFETY: the handle is open; one number is written.
        done(unsafe { GetNamedPipeClientProcessId(self.0.as_raw_handle(), &mut process) })?;
        Ok(process)
    }

    /// The process of the server.
    pub(crate) fn server(&self) -> Outcome<u32> {
        let mut process = 0;
        // SAFETY: the handle is open; one number is written.
        done(unsafe { GetNamedPipeServerProcessId(self.0.as_raw_handle(), &mut process) })?;
        Ok(process)
    }

    /// Ends everything that waits at this end.
    pub(crate) fn cancel(&self) {
        // SAFETY: the handle is open; without an operation all of them are meant.
        unsafe { CancelIoEx(self.0.as_raw_handle(), null()) };
    }

    /// Begins an operation and waits until it is over; how many bytes it moved.
    fn perform(
        &self,
        until: &Until<'_>,
        begin: impl FnOnce(*mut OVERLAPPED) -> BOOL,
    ) -> Outcome<u32> {
        let event = call::event()?;
        let mut overlapped = OVERLAPPED { hEvent: event.as_raw_handle(), ..OVERLAPPED::default() };
        let place = &raw mut overlapped;
        if begin(place) == 0 {
            match last_error() as u32 {
                ERROR_IO_PENDING => {}
                ERROR_PIPE_CONNECTED => return Ok(0),
                code => return Err(code as i32),
            }
        }
        let other = until.other.map(|other| other.as_raw_handle());
        let objects: Vec<RawHandle> = [event.as_raw_handle()].into_iter().chain(other).collect();
        let (count, first) = (objects.len() as u32, objects.as_ptr());
        // SAFETY: all these handles are open.
        let ended = unsafe { WaitForMultipleObjects(count, first, 0, until.milliseconds) };
        if ended != WAIT_OBJECT_0 {
            // SAFETY: the handle is open, and the operation is this one.
            unsafe { CancelIoEx(self.0.as_raw_handle(), place) };
        }
        let mut moved = 0;
        // SAFETY: the operation was begun on this handle; its memory stays until this returns.
        done(unsafe { GetOverlappedResult(self.0.as_raw_handle(), place, &mut moved, 1) })?;
        Ok(moved)
    }

    fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (pipe, place) = (self.0.as_raw_handle(), buffer.as_mut_ptr());
        let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        // SAFETY: the buffer is as long as is said, and the operation is waited for.
        let read = self.perform(&FOR_EVER, |overlapped| unsafe {
            ReadFile(pipe, place, length, null_mut(), overlapped)
        });
        match read {
            Ok(count) => Ok(count as usize),
            // The other end is gone.
            Err(code) if code == ERROR_BROKEN_PIPE as i32 => Ok(0),
            Err(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let (pipe, place) = (self.0.as_raw_handle(), bytes.as_ptr());
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // SAFETY: the bytes are as many as is said, and the operation is waited for.
        let written = self.perform(&FOR_EVER, |overlapped| unsafe {
            WriteFile(pipe, place, length, null_mut(), overlapped)
        });
        written.map(|count| count as usize).map_err(io::Error::from_raw_os_error)
    }
}

impl AsHandle for Pipe {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

impl Read for &Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer)
    }
}

impl Write for &Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
