//! The first message of a TLS client, as far as it names a server.

/// What a client's hello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server, in lower case; nothing when the client names none.
    pub server_name: Option<String>,
}

/// Why there is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// More bytes are needed.
    Incomplete,
    /// These bytes are no hello.
    Invalid,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Reads the hello at the start of a connection, however many records and
/// segments it is split into.
///
/// # Errors
/// [`HelloError::Incomplete`] while what is there may still become a hello.
pub fn client_hello(bytes: &[u8]) -> Result<ClientHello, HelloError> {
    let message = handshake_message(bytes)?;
    let mut hello = Fields(&message);
    read_hello(&mut hello).ok_or(HelloError::Invalid)
}

/// Collects the first handshake message out of the records that carry it.
fn handshake_message(bytes: &[u8]) -> Result<Vec<u8>, HelloError> {
    let mut message = Vec::new();
    let mut records = Fields(bytes);
    loop {
        if let Some(length) = message_length(&message)?
            && message.len() >= length
        {
            message.truncate(length);
            return Ok(message.split_off(4));
        }
        if records.0.first().is_some_and(|kind| *kind != HANDSHAKE)
            || records.0.get(1).is_some_and(|major| *major != 3)
        {
            return Err(HelloError::Invalid);
        }
        let header = records.take(3).and_then(|_| records.u16()).ok_or(HelloError::Incomplete)?;
        if header == 0 || header > 1 << 14 {
            return Err(HelloError::Invalid);
        }
        let available = records.0.len().min(header.into());
        message.extend_from_slice(records.take(available).unwrap_or_default());
        if available < header.into() {
            // Enough of this record may be there to see that it is no hello.
            message_length(&message)?;
            return Err(HelloError::Incomplete);
        }
    }
}

/// Length of the message with its header, once that can be seen.
fn message_length(message: &[u8]) -> Result<Option<usize>, HelloError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::Invalid);
    }
    let [_, high, middle, low, ..] = message else { return Ok(None) };
    Ok(Some(4 + (usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low))))
}

fn read_hello(hello: &mut Fields<'_>) -> Option<ClientHello> {
    hello.take(2 + 32)?; // version and random
    hello.vector8()?; // session
    hello.vector16()?; // cipher suites
    hello.vector8()?; // compression
    if hello.0.is_empty() {
        return Some(ClientHello { server_name: None });
    }
    let mut extensions = Fields(hello.vector16()?);
    if !hello.0.is_empty() {
        return None;
    }
    let mut server_name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let value = extensions.vector16()?;
        if kind == SERVER_NAME {
            if server_name.is_some() {
                return None;
            }
            server_name = Some(read_server_name(value)?);
        }
    }
    Some(ClientHello { server_name })
}

/// Exactly one host name: two could be read in two ways.
fn read_server_name(value: &[u8]) -> Option<String> {
    let mut value = Fields(value);
    let mut list = Fields(value.vector16()?);
    if !value.0.is_empty() || list.u8()? != HOST_NAME {
        return None;
    }
    let name = list.vector16()?;
    if !list.0.is_empty() || name.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(name).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.to_ascii_lowercase())
}

/// What is left to read of a message.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes: [u8; 2] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    fn vector16(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
#[path = "hello_tests.rs"]
pub(crate) mod tests;
