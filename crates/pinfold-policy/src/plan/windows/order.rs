//! What the runner in a sandbox account is told to start, as bytes. Handles and jobs are
//! numbers in the runner's own table: pinfold has put them there.

use super::Token;

/// A command for the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// How its token is restricted.
    pub token: Token,
    /// Programs and their command lines, in UTF-16 units without a NUL; the first that is
    /// there decides.
    pub attempts: Vec<Attempt>,
    /// The error when none is there, if it is not that of the last.
    pub otherwise: Option<u32>,
    /// The working directory, in UTF-16 units without a NUL.
    pub directory: Vec<u16>,
    /// The environment block.
    pub environment: Vec<u16>,
    /// Standard input, output and error; 0 for none.
    pub standard: [u64; 3],
    /// The jobs that it is in, each inside the one before.
    pub jobs: Vec<u64>,
    /// A terminal in place of the standard handles.
    pub terminal: Option<Terminal>,
}

/// One program that may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where it is.
    pub program: Vec<u16>,
    /// Its command line.
    pub line: Vec<u16>,
}

/// A terminal that the runner makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// What a change of its size names it by.
    pub number: u32,
    /// Its height in lines.
    pub rows: u16,
    /// Its width in cells.
    pub columns: u16,
    /// What is typed is read here.
    pub input: u64,
    /// What is shown is written here.
    pub output: u64,
}

impl Order {
    /// The payload of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        number(&mut bytes, u64::from(self.token.flags));
        number(&mut bytes, self.token.restricting.len() as u64);
        for sid in &self.token.restricting {
            number(&mut bytes, sid.len() as u64);
            bytes.extend_from_slice(sid.as_bytes());
        }
        number(&mut bytes, self.attempts.len() as u64);
        for attempt in &self.attempts {
            units(&mut bytes, &attempt.program);
            units(&mut bytes, &attempt.line);
        }
        optional(&mut bytes, self.otherwise.map(|code| [u64::from(code)]));
        units(&mut bytes, &self.directory);
        units(&mut bytes, &self.environment);
        self.standard.iter().for_each(|handle| number(&mut bytes, *handle));
        number(&mut bytes, self.jobs.len() as u64);
        self.jobs.iter().for_each(|job| number(&mut bytes, *job));
        let terminal = |terminal: Terminal| {
            let Terminal { number, rows, columns, input, output } = terminal;
            [u64::from(number), u64::from(rows), u64::from(columns), input, output]
        };
        optional(&mut bytes, self.terminal.map(terminal));
        bytes
    }

    /// The order in a payload; nothing when it is none, or has something after it.
    pub fn decode(bytes: &[u8]) -> Option<Order> {
        let mut rest = Rest(bytes);
        let flags = u32::try_from(rest.number()?).ok()?;
        let restricting = rest.list(|rest| {
            let length = rest.length(1)?;
            Some(std::str::from_utf8(rest.take(length)?).ok()?.to_owned())
        })?;
        let attempts =
            rest.list(|rest| Some(Attempt { program: rest.units()?, line: rest.units()? }))?;
        let otherwise = match rest.optional()? {
            Some([code]) => Some(u32::try_from(code).ok()?),
            None => None,
        };
        let order = Order {
            token: Token { flags, restricting },
            attempts,
            otherwise,
            directory: rest.units()?,
            environment: rest.units()?,
            standard: [rest.number()?, rest.number()?, rest.number()?],
            jobs: rest.list(Rest::number)?,
            terminal: match rest.optional()? {
                Some([number, rows, columns, input, output]) => Some(Terminal {
                    number: u32::try_from(number).ok()?,
                    rows: u16::try_from(rows).ok()?,
                    columns: u16::try_from(columns).ok()?,
                    input,
                    output,
                }),
                None => None,
            },
        };
        rest.0.is_empty().then_some(order)
    }
}

fn number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn units(bytes: &mut Vec<u8>, units: &[u16]) {
    number(bytes, units.len() as u64);
    units.iter().for_each(|unit| bytes.extend_from_slice(&unit.to_le_bytes()));
}

fn optional<const N: usize>(bytes: &mut Vec<u8>, numbers: Option<[u64; N]>) {
    number(bytes, u64::from(numbers.is_some()));
    numbers.into_iter().flatten().for_each(|one| number(bytes, one));
}

/// What has not been read yet.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let (taken, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*taken))
    }

    /// How many things of at least this size follow: never more than there is room for.
    fn length(&mut self, size: usize) -> Option<usize> {
        let length = usize::try_from(self.number()?).ok()?;
        (length <= self.0.len() / size).then_some(length)
    }

    fn units(&mut self) -> Option<Vec<u16>> {
        let length = self.length(2)?;
        let bytes = self.take(length * 2)?;
        Some(bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect())
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.length(8)?;
        (0..length).map(|_| one(self)).collect()
    }

    fn optional<const N: usize>(&mut self) -> Option<Option<[u64; N]>> {
        match self.number()? {
            0 => Some(None),
            1 => {
                let mut numbers = [0; N];
                for place in &mut numbers {
                    *place = self.number()?;
                }
                Some(Some(numbers))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> [Order; 2] {
        let wide = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let least = Order {
            token: Token { flags: 0, restricting: Vec::new() },
            attempts: Vec::new(),
            otherwise: None,
            directory: Vec::new(),
            environment: Vec::new(),
            standard: [0; 3],
            jobs: Vec::new(),
            terminal: None,
        };
        let most = Order {
            token: Token { flags: 0xd, restricting: vec!["S-1-1-0".into(), "S-1-15-3-1".into()] },
            attempts: ["C:\\a.exe", "C:\\b \u{1f600}.exe"]
                .map(|name| Attempt { program: wide(name), line: wide("a \"b\" \u{e4}") })
                .to_vec(),
            otherwise: Some(193),
            directory: wide("C:\\w"),
            environment: vec![0xd800, 61, 0, 0],
            standard: [4, 0, u64::MAX],
            jobs: vec![8, 12],
            terminal: Some(Terminal { number: 3, rows: 24, columns: 80, input: 16, output: 20 }),
        };
        [least, most]
    }

    #[test]
    fn orders_come_out_as_they_went_in_and_no_part_of_one_is_one() {
        for order in orders() {
            let bytes = order.encode();
            assert_eq!(Order::decode(&bytes), Some(order));
            for cut in 0..bytes.len() {
                assert_eq!(Order::decode(&bytes[..cut]), None, "{cut} of {}", bytes.len());
            }
            assert_eq!(Order::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_take_memory() {
        let [_, order] = orders();
        let bytes = order.encode();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Some(read) = Order::decode(&changed) {
                    assert_eq!(read.encode(), changed, "one meaning each");
                }
            }
        }
    }
}
