//! The door of a proxy on the host's own loopback.

use std::io;
use std::net::TcpListener;

use crate::seam::{Error, OpenDoors};

/// Hands the door out, if there is one; its port. The command starts when somebody serves it.
pub(crate) fn serve(
    door: Option<&TcpListener>,
    opened: impl FnOnce(OpenDoors) -> bool,
) -> Result<Option<u16>, Error> {
    let Some(door) = door else { return Ok(None) };
    let cannot = |error: io::Error| Error::System {
        attempted: String::from("open the door of the proxy"),
        code: error.raw_os_error().unwrap_or_default(),
    };
    let port = door.local_addr().map_err(cannot)?.port();
    let proxy = door.try_clone().map_err(cannot)?;
    match opened(OpenDoors::only(proxy)) {
        true => Ok(Some(port)),
        false => Err(Error::Unprepared {
            attempted: String::from("start the command: nobody serves the door of the proxy"),
            remedy: "see what was said before",
        }),
    }
}
