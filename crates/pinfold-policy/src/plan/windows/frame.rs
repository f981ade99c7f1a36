//! Messages between pinfold and a process that does something for it as somebody else, the
//! runner in a sandbox account or the helper of set-up: a kind, a length, and that many bytes.
//! What the other side sends is never trusted.

/// The largest payload in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;

const HEADER: usize = 5;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What to run, to the runner: an [`Order`](super::order::Order).
    Start,
    /// The command runs: its process in the runner's table of handles, 8 bytes.
    Started,
    /// The size of a terminal: its number, 4 bytes, its rows and its columns, 2 bytes each.
    Resize,
    /// What to do to this host, to the helper of set-up: an operation as
    /// [`record`](super::record) writes it.
    Perform,
    /// It is done.
    Done,
    /// It could not be done: the error of the system, 4 bytes.
    Failed,
}

/// All kinds; the place is the byte on the wire.
const KINDS: [Kind; 6] =
    [Kind::Start, Kind::Started, Kind::Resize, Kind::Perform, Kind::Done, Kind::Failed];

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub payload: Vec<u8>,
}

/// Why bytes are no message, or a message has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No message has this kind.
    Kind(u8),
    /// The payload would be larger than [`LARGEST`].
    TooLarge,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Kind(kind) => write!(f, "no message has the kind {kind}"),
            FrameError::TooLarge => write!(f, "a message has more than {LARGEST} bytes"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The bytes of a message.
pub fn encode(message: &Message) -> Result<Vec<u8>, FrameError> {
    let length = u32::try_from(message.payload.len()).map_err(|_| FrameError::TooLarge)?;
    if message.payload.len() > LARGEST {
        return Err(FrameError::TooLarge);
    }
    let kind = KINDS.iter().position(|kind| *kind == message.kind).unwrap_or_default();
    let mut bytes = vec![u8::try_from(kind).unwrap_or_default()];
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&message.payload);
    Ok(bytes)
}

/// The first message in `bytes` and how many of them it took; nothing when more
/// are needed. An error is found before the payload is waited for.
pub fn decode(bytes: &[u8]) -> Result<Option<(Message, usize)>, FrameError> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
    let kind = *KINDS.get(usize::from(*kind)).ok_or(FrameError::Kind(*kind))?;
    let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| FrameError::TooLarge)?;
    if length > LARGEST {
        return Err(FrameError::TooLarge);
    }
    let payload = bytes.get(HEADER..HEADER + length);
    Ok(payload.map(|payload| (Message { kind, payload: payload.to_vec() }, HEADER + length)))
}
