//! The start of a program without the standard library's own: that makes some
//! twenty system calls for things a launcher does not need, and leaves SIGPIPE
//! ignored, which the command would inherit.

/// How much of the arena is to be made to exist at once.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Prefault {
    /// What every start of the program uses.
    Start,
    /// What a launch uses.
    Launch,
}

/// Makes `$run`, a `fn(Vec<OsString>) -> i32`, the program's entry, with the
/// arena as its allocator, which the function `$prepare` that this makes prepares for a
/// launch. The crate must be `#![no_main]`.
#[macro_export]
macro_rules! entry {
    ($run:path, $prepare:ident) => {
        #[global_allocator]
        static ALLOCATOR: $crate::Arena = $crate::Arena::empty();

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn main(
            count: ::std::ffi::c_int,
            vector: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            $crate::prefault(&ALLOCATOR, $crate::Prefault::Start);
            // SAFETY: these are the arguments that the system starts `main` with.
            $run(unsafe { $crate::command_line(count, vector) })
        }

        /// Makes the memory exist that a launch allocates.
        fn $prepare() {
            $crate::prefault(&ALLOCATOR, $crate::Prefault::Launch);
        }
    };
}
