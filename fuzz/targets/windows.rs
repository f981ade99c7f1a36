//! What goes to programs on Windows: command lines, messages to the runner and to the helper
//! of set-up, and access control lists.
//!
//! Arguments come out as they went in, split by the rules that Microsoft states; a
//! message is read as it was written, and never before all of it is there. Orders,
//! operations and lists have one meaning each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfold_policy::plan::windows::list::List;
use pinfold_policy::plan::windows::order::Order;
use pinfold_policy::plan::windows::{frame, quote, record};

const QUOTE: u16 = b'"' as u16;
const SLASH: u16 = b'\\' as u16;

fn is_space(unit: u16) -> bool {
    unit == u16::from(b' ') || unit == u16::from(b'\t')
}

/// Splits the arguments after the program.
fn split(line: &[u16]) -> Vec<Vec<u16>> {
    // The program stands in quotes without escapes.
    let end = line.iter().skip(1).position(|unit| *unit == QUOTE).unwrap() + 2;
    let mut rest = line[end..].iter().copied().peekable();
    let mut words = Vec::new();
    loop {
        while rest.next_if(|unit| is_space(*unit)).is_some() {}
        if rest.peek().is_none() {
            return words;
        }
        let (mut word, mut quoted, mut slashes) = (Vec::new(), false, 0);
        while let Some(unit) = rest.next_if(|unit| quoted || !is_space(*unit)) {
            match unit {
                SLASH => slashes += 1,
                QUOTE => {
                    word.extend(std::iter::repeat_n(SLASH, slashes / 2));
                    let escaped = slashes % 2 == 1;
                    slashes = 0;
                    // Two quotes inside quotes are one, too.
                    if escaped || (quoted && rest.next_if_eq(&QUOTE).is_some()) {
                        word.push(QUOTE);
                    } else {
                        quoted = !quoted;
                    }
                }
                other => {
                    word.extend(std::iter::repeat_n(SLASH, std::mem::take(&mut slashes)));
                    word.push(other);
                }
            }
        }
        word.extend(std::iter::repeat_n(SLASH, slashes));
        words.push(word);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut words = vec!["prog.exe".encode_utf16().collect::<Vec<u16>>()];
    words.extend(
        bytes.split(|byte| *byte == 0).map(|word| word.iter().copied().map(u16::from).collect()),
    );
    if let Ok(line) = quote::command_line(&words) {
        assert_eq!(split(&line), words[1..]);
    }
    if let Some(order) = Order::decode(bytes) {
        assert_eq!(order.encode(), bytes);
    }
    if let Some(operation) = record::operation_of(bytes) {
        assert_eq!(record::operation_of(&record::operation(&operation)), Some(operation));
    }
    if let Some(list) = std::str::from_utf8(bytes).ok().and_then(List::parse) {
        assert_eq!(List::parse(&list.to_string()), Some(list));
    }
    if let Ok(Some((message, taken))) = frame::decode(bytes) {
        assert_eq!(frame::encode(&message).unwrap(), &bytes[..taken]);
        for length in 0..taken {
            assert_eq!(frame::decode(&bytes[..length]), Ok(None), "{length} of {taken}");
        }
    }
});
