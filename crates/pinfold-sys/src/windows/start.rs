//! Starting a process: its handles, its jobs and its console are named one by one.

use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Console::HPCON;
use windows_sys::Win32::System::Threading::{
    CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW, CreateProcessW,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, InitializeProcThreadAttributeList,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_JOB_LIST,
    PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW,
    UpdateProcThreadAttribute,
};
use windows_sys::core::BOOL;

use super::call::{Outcome, done, owned, wide};
use super::console::Console;

/// What a process is started with.
pub(crate) struct Start<'a> {
    /// With their NULs.
    pub(crate) program: &'a [u16],
    pub(crate) line: Vec<u16>,
    pub(crate) directory: &'a [u16],
    pub(crate) environment: &'a [u16],
    pub(crate) standard: &'a [Option<OwnedHandle>; 3],
    /// Each inside the one before.
    pub(crate) jobs: &'a [&'a OwnedHandle],
    pub(crate) token: Option<&'a OwnedHandle>,
    pub(crate) desktop: Option<&'a str>,
    /// What it has for a terminal, in place of standard handles.
    pub(crate) console: Option<&'a Console>,
}

/// Starts a process in jobs, from its first moment on, that inherits its standard
/// handles and nothing else.
pub(crate) fn create_process(start: Start<'_>) -> Outcome<OwnedHandle> {
    let Start { program, mut line, directory, environment, standard, .. } = start;
    let Start { jobs, token, desktop, console, .. } = start;
    let inherited: Vec<HANDLE> =
        standard.iter().flatten().map(AsRawHandle::as_raw_handle).collect();
    let given = |which: usize| {
        let handle = standard.get(which).and_then(Option::as_ref);
        handle.map_or(null_mut(), AsRawHandle::as_raw_handle)
    };
    let jobs: Vec<HANDLE> = jobs.iter().map(|job| job.as_raw_handle()).collect();
    let mut list = AttributeList::of(&inherited, &jobs, console)?;
    let mut desktop = desktop.map(wide);
    let mut startup = STARTUPINFOEXW::default();
    startup.StartupInfo.cb = size_of::<STARTUPINFOEXW>() as u32;
    // With none of them the command opens those of its console; without the flag it would be
    // given this process's own.
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.lpDesktop = desktop.as_mut().map_or(null_mut(), |name| name.as_mut_ptr());
    [
        startup.StartupInfo.hStdInput,
        startup.StartupInfo.hStdOutput,
        startup.StartupInfo.hStdError,
    ] = [given(0), given(1), given(2)];
    startup.lpAttributeList = list.pointer();
    let mut made = PROCESS_INFORMATION::default();
    let flags = CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    let inherits = BOOL::from(!inherited.is_empty());
    let startup = (&raw const startup).cast();
    let environment = environment.as_ptr().cast();
    let result = match token {
        // SAFETY: every text ends with its NUL and outlives the call, as do the list and
        // the handles in it; the line may be written to.
        Some(token) => unsafe {
            CreateProcessAsUserW(
                token.as_raw_handle(),
                program.as_ptr(),
                line.as_mut_ptr(),
                null(),
                null(),
                inherits,
                flags,
                environment,
                directory.as_ptr(),
                startup,
                &mut made,
            )
        },
        // SAFETY: as above.
        None => unsafe {
            CreateProcessW(
                program.as_ptr(),
                line.as_mut_ptr(),
                null(),
                null(),
                inherits,
                flags,
                environment,
                directory.as_ptr(),
                startup,
                &mut made,
            )
        },
    };
    done(result)?;
    drop(owned(made.hThread));
    owned(made.hProcess)
}

/// Names the handles that a process inherits, and its job.
struct AttributeList {
    memory: Vec<usize>,
}

impl AttributeList {
    fn of(
        inherited: &[HANDLE],
        jobs: &[HANDLE],
        console: Option<&Console>,
    ) -> Outcome<AttributeList> {
        let mut length = 0;
        // SAFETY: without a list only the length is written.
        unsafe { InitializeProcThreadAttributeList(null_mut(), 3, 0, &mut length) };
        let mut memory = vec![0usize; length.div_ceil(size_of::<usize>())];
        let place = memory.as_mut_ptr().cast();
        // SAFETY: there is as much room as was asked for.
        done(unsafe { InitializeProcThreadAttributeList(place, 3, 0, &mut length) })?;
        let mut list = AttributeList { memory };
        list.name(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, inherited)?;
        list.name(PROC_THREAD_ATTRIBUTE_JOB_LIST, jobs)?;
        if let Some(named) =
            console.and_then(|console| console.with(|console| list.show_on(console)))
        {
            named?;
        }
        Ok(list)
    }

    fn name(&mut self, which: u32, handles: &[HANDLE]) -> Outcome<()> {
        if handles.is_empty() {
            return Ok(());
        }
        let (first, size) = (handles.as_ptr().cast(), size_of_val(handles));
        let place = self.pointer();
        // SAFETY: the handles outlive the list, which the caller drops first.
        done(unsafe {
            UpdateProcThreadAttribute(place, 0, which as usize, first, size, null_mut(), null())
        })
    }

    fn show_on(&mut self, console: HPCON) -> Outcome<()> {
        let which = PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE as usize;
        let place = self.pointer();
        let value = console as *const c_void;
        // SAFETY: the handle itself is the value, and is open.
        done(unsafe {
            UpdateProcThreadAttribute(
                place,
                0,
                which,
                value,
                size_of::<HPCON>(),
                null_mut(),
                null(),
            )
        })
    }

    fn pointer(&mut self) -> *mut c_void {
        self.memory.as_mut_ptr().cast()
    }
}

impl Drop for AttributeList {
    fn drop(&mut self) {
        // SAFETY: it was initialized, and is deleted once.
        unsafe { DeleteProcThreadAttributeList(self.pointer()) };
    }
}
