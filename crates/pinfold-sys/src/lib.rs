//! The seam between plans and operating systems.
