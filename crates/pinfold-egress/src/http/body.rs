//! Bodies, copied piece by piece as they arrive.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::head::Framing;
use crate::link::Source;

/// Longest line of a chunk's head, and of all trailers together.
const LONGEST_LINES: usize = 8 * 1024;

/// How a body is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// As it is.
    Plain,
    /// In chunks.
    Chunked,
}

/// Copies one body and returns its size. Chunks are read strictly and written
/// anew; extensions and trailers are dropped.
pub(crate) async fn copy_body<W: AsyncWrite + Unpin>(
    source: &mut Source<'_>,
    sink: &mut W,
    framing: Framing,
    writing: Writing,
) -> io::Result<u64> {
    let size = match framing {
        Framing::None => 0,
        Framing::Length(length) => copy_length(source, sink, length, Writing::Plain).await?,
        Framing::UntilClose => copy_to_end(source, sink).await?,
        Framing::Chunked => copy_chunks(source, sink, writing).await?,
    };
    sink.flush().await?;
    Ok(size)
}

async fn copy_length<W: AsyncWrite + Unpin>(
    source: &mut Source<'_>,
    sink: &mut W,
    length: u64,
    writing: Writing,
) -> io::Result<u64> {
    let mut left = length;
    while left > 0 {
        if source.ahead().is_empty() && !source.fill_block().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = source.ahead().bytes();
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        write_piece(sink, bytes.get(..count).unwrap_or_default(), writing).await?;
        source.ahead().consume(count);
        left -= count as u64;
    }
    Ok(length)
}

async fn copy_to_end<W: AsyncWrite + Unpin>(
    source: &mut Source<'_>,
    sink: &mut W,
) -> io::Result<u64> {
    let mut size = 0;
    loop {
        let bytes = source.ahead().bytes();
        let count = bytes.len();
        sink.write_all(bytes).await?;
        size += count as u64;
        source.ahead().consume(count);
        if !source.fill_block().await? {
            return Ok(size);
        }
    }
}

async fn copy_chunks<W: AsyncWrite + Unpin>(
    source: &mut Source<'_>,
    sink: &mut W,
    writing: Writing,
) -> io::Result<u64> {
    let mut size = 0u64;
    loop {
        let line = line(source, LONGEST_LINES).await?;
        let length = chunk_length(&line).ok_or_else(|| invalid("a chunk has no valid length"))?;
        if length == 0 {
            break;
        }
        size = size.checked_add(length).ok_or_else(|| invalid("the chunks are too large"))?;
        copy_length(source, sink, length, writing).await?;
        if !self::line(source, 2).await?.is_empty() {
            return Err(invalid("a chunk is longer than it says"));
        }
    }
    let mut left = LONGEST_LINES;
    loop {
        let trailer = line(source, left).await?;
        if trailer.is_empty() {
            break;
        }
        left -= trailer.len().min(left);
    }
    if writing == Writing::Chunked {
        sink.write_all(b"0\r\n\r\n").await?;
    }
    Ok(size)
}

async fn write_piece<W: AsyncWrite + Unpin>(
    sink: &mut W,
    bytes: &[u8],
    writing: Writing,
) -> io::Result<()> {
    match writing {
        Writing::Plain => sink.write_all(bytes).await,
        Writing::Chunked => {
            sink.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
            sink.write_all(bytes).await?;
            sink.write_all(b"\r\n").await
        }
    }
}

/// One line without its end, which must be CR LF.
async fn line(source: &mut Source<'_>, longest: usize) -> io::Result<Vec<u8>> {
    loop {
        let bytes = source.ahead().bytes();
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let mut line = source.ahead().take(end + 1);
            line.pop();
            let ended = line.pop() == Some(b'\r');
            return if ended {
                Ok(line)
            } else {
                Err(invalid("a line ends without a carriage return"))
            };
        }
        if bytes.len() >= longest {
            return Err(invalid("a line is too long"));
        }
        if !source.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The length of a chunk: plain hexadecimal digits, then nothing or an extension.
fn chunk_length(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    let plain = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(text, 16).ok()
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_length_is_plain_hexadecimal() {
        for (line, expected) in [
            ("0", Some(0)),
            ("1a", Some(26)),
            ("1A;name=value", Some(26)),
            ("ffffffffffffffff", Some(u64::MAX)),
            ("10000000000000000", None),
            ("", None),
            (";x", None),
            ("+1", None),
            ("-1", None),
            ("0x1", None),
            (" 1", None),
            ("1 2", None),
        ] {
            assert_eq!(chunk_length(line.as_bytes()), expected, "{line:?}");
        }
    }
}
