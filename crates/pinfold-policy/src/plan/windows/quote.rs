//! One command line from many arguments, as programs split it again.

/// Why arguments cannot be one command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteError {
    /// There is no program to start.
    Empty,
    /// A NUL would end the command line early.
    Nul,
    /// The program's name holds a double quote, which no file name can.
    Program,
    /// A batch file is read by `cmd.exe`, which has no quoting that holds.
    Batch,
    /// The system takes at most [`LONGEST`] units.
    TooLong,
}

impl std::fmt::Display for QuoteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            QuoteError::Empty => "there is no program to start",
            QuoteError::Nul => "an argument holds a NUL",
            QuoteError::Program => "the program's name holds a double quote",
            QuoteError::Batch => "batch files cannot be given arguments safely",
            QuoteError::TooLong => "the command line is too long",
        })
    }
}

impl std::error::Error for QuoteError {}

/// The longest command line in UTF-16 units, the final NUL included.
pub const LONGEST: usize = 32_767;

/// The command line for a program and its arguments in UTF-16 units, without a
/// final NUL: what `CommandLineToArgvW` and C programs split into the same.
pub fn command_line(arguments: &[Vec<u16>]) -> Result<Vec<u16>, QuoteError> {
    let (program, rest) = arguments.split_first().ok_or(QuoteError::Empty)?;
    if program.is_empty() {
        return Err(QuoteError::Empty);
    }
    if arguments.iter().any(|argument| argument.contains(&0)) {
        return Err(QuoteError::Nul);
    }
    if program.contains(&QUOTE) {
        return Err(QuoteError::Program);
    }
    if is_batch(program) {
        return Err(QuoteError::Batch);
    }
    // The first word follows other rules: backslashes mean nothing in it.
    let mut line = vec![QUOTE];
    line.extend_from_slice(program);
    line.push(QUOTE);
    for argument in rest {
        line.push(u16::from(b' '));
        quote(argument, &mut line);
    }
    if line.len() >= LONGEST { Err(QuoteError::TooLong) } else { Ok(line) }
}

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

/// Windows ignores dots and spaces at the end of a name, and so a batch file
/// hides behind none.
fn is_batch(program: &[u16]) -> bool {
    let name = String::from_utf16_lossy(program).to_ascii_lowercase();
    let name = name.trim_end_matches(['.', ' ']);
    [".bat", ".cmd"].iter().any(|ending| name.ends_with(ending))
}

fn quote(argument: &[u16], line: &mut Vec<u16>) {
    let plain = |unit: &u16| ![b' ', b'\t', b'\n', 0x0b, b'"'].map(u16::from).contains(unit);
    if !argument.is_empty() && argument.iter().all(plain) {
        return line.extend_from_slice(argument);
    }
    line.push(QUOTE);
    let mut backslashes = 0;
    for unit in argument {
        match *unit {
            BACKSLASH => backslashes += 1,
            QUOTE => {
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(*unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}
