//! Messages between pinfold and the runner in the sandbox account: a kind, a
//! length, and that many bytes. What the other side sends is never trusted.

/// The largest payload in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;

const HEADER: usize = 5;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What to run, to the runner.
    Start,
    /// The command runs; its process number.
    Started,
    /// Input for the command.
    Input,
    /// The end of its input.
    EndOfInput,
    /// What the command wrote to standard output.
    Output,
    /// What it wrote to standard error.
    Error,
    /// The size of its terminal.
    Resize,
    /// End the command.
    Terminate,
    /// The command has ended; its exit code.
    Ended,
    /// The runner could not do it; why.
    Failed,
}

/// All kinds; the place is the byte on the wire.
const KINDS: [Kind; 10] = [
    Kind::Start,
    Kind::Started,
    Kind::Input,
    Kind::EndOfInput,
    Kind::Output,
    Kind::Error,
    Kind::Resize,
    Kind::Terminate,
    Kind::Ended,
    Kind::Failed,
];

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
