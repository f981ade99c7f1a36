//! A door for the proxy where the command has no network of its own.

use std::net::TcpListener;

use crate::seam::Error;

/// Listens on the host's own loopback, at a port of the kernel's choice.
pub(crate) fn loopback_door() -> Result<TcpListener, Error> {
    TcpListener::bind(("127.0.0.1", 0)).map_err(|error| Error::System {
        attempted: String::from("listen on the loopback of the host"),
        code: error.raw_os_error().unwrap_or(libc::EIO),
    })
}
