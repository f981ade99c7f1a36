//! System calls without a C library in between.
//!
//! The first process of a sandbox shares its memory, and so the C library's
//! `errno`, with the supervisor that runs beside it. These calls return the
//! error instead of storing it, and so are safe to make from both at once.

use std::arch::asm;

/// A Linux error number, as in `errno(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// Up to six arguments of a system call; the rest is zero.
pub(crate) type Arguments = [usize; 6];

/// Fills up the arguments of a call.
pub(crate) const fn arguments<const N: usize>(given: [usize; N]) -> Arguments {
    let mut all = [0; 6];
    let mut index = 0;
    while index < N {
        all[index] = given[index];
        index += 1;
    }
    all
}

/// Makes one system call.
///
/// # Safety
/// The arguments must be what the kernel documents for `number`: pointers are
/// valid for what the call reads and writes, for as long as it needs them.
pub(crate) unsafe fn call(number: libc::c_long, given: Arguments) -> Result<usize, Errno> {
    // SAFETY: the caller vouches for the arguments.
    let result = unsafe { enter(number, given) };
    match result {
        -4095..=-1 => Err(Errno(-result as i32)),
        _ => Ok(result as usize),
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn enter(number: libc::c_long, [a, b, c, d, e, f]: Arguments) -> isize {
    let result;
    // SAFETY: this is the calling convention of x86-64 Linux: `syscall`
    // clobbers rcx and r11 and returns in rax. The caller vouches for the rest.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn enter(number: libc::c_long, [a, b, c, d, e, f]: Arguments) -> isize {
    let result;
    // SAFETY: this is the calling convention of 64-bit ARM Linux: the number
    // in x8, arguments from x0, the result in x0. The caller vouches for the rest.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    result
}
