//! What Windows needs as bytes: command lines, environments, messages.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use pinfold_policy::plan::windows::block::{BlockError, environment_block};
use pinfold_policy::plan::windows::frame::{FrameError, Kind, LARGEST, Message, decode, encode};
use pinfold_policy::plan::windows::pipe_sddl;
use pinfold_policy::plan::windows::quote::{QuoteError, command_line};

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// Splits as Microsoft documents it, written from the rules alone.
fn split(line: &str) -> Vec<String> {
    let mut characters = line.chars().peekable();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in characters.by_ref() {
        match character {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => break,
            other => words[0].push(other),
        }
    }
    loop {
        while characters.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if characters.peek().is_none() {
            return words;
        }
        let (mut word, mut quoted) = (String::new(), false);
        while let Some(character) = characters.next_if(|c| quoted || !matches!(c, ' ' | '\t')) {
            let mut slashes = 0;
            let mut next = Some(character);
            while next == Some('\\') {
                slashes += 1;
                next = characters.next_if(|c| matches!(c, '\\' | '"'));
            }
            match next {
                Some('"') => {
                    word.push_str(&"\\".repeat(slashes / 2));
                    // Two quotes inside quotes are one, too.
                    let literal =
                        slashes % 2 == 1 || (quoted && characters.next_if_eq(&'"').is_some());
                    if literal {
                        word.push('"');
                    } else {
                        quoted = !quoted;
                    }
                }
                Some(other) => {
                    word.push_str(&"\\".repeat(slashes));
                    word.push(other);
                }
                None => word.push_str(&"\\".repeat(slashes)),
            }
        }
        words.push(word);
    }
}

#[test]
fn arguments_come_out_as_they_went_in() {
    let letters = ['a', ' ', '"', '\\', '\t', '\u{e9}'];
    let mut words = vec![String::new()];
    for length in 0..5_u32 {
        for mut number in 0..letters.len().pow(length) {
            let mut word = String::new();
            for _ in 0..length {
                word.push(letters[number % letters.len()]);
                number /= letters.len();
            }
            words.push(word);
        }
    }
    for pair in words.windows(2) {
        let arguments = [r"C:\a b\p.exe", &pair[0], &pair[1], "end"];
        let line = command_line(&arguments.map(wide)).unwrap();
        assert_eq!(split(&String::from_utf16(&line).unwrap()), arguments);
    }
}

#[test]
fn what_has_no_command_line_is_refused() {
    for (arguments, expected) in [
        (vec![], QuoteError::Empty),
        (vec![""], QuoteError::Empty),
        (vec!["a\"b"], QuoteError::Program),
        (vec!["a.exe", "b\0c"], QuoteError::Nul),
        (vec![r"C:\x.bat"], QuoteError::Batch),
        (vec!["x.CMD", "&calc"], QuoteError::Batch),
        (vec!["x.cmd. ."], QuoteError::Batch),
        (vec!["x.exe", &"a".repeat(32_767)], QuoteError::TooLong),
    ] {
        let arguments: Vec<_> = arguments.into_iter().map(wide).collect();
        assert_eq!(command_line(&arguments), Err(expected));
    }
}

#[test]
fn environments_are_sorted_without_case_and_end_twice() {
    let check = |variables: &[(&str, &str)], expected: Result<&str, BlockError>| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (wide(name), wide(value))).collect();
        assert_eq!(environment_block(&variables), expected.map(wide));
    };
    check(&[], Ok("\0\0"));
    check(&[("b", "2"), ("A", "1"), ("C", "")], Ok("A=1\0b=2\0C=\0\0"));
    check(&[("Path", "old"), ("PATH", "new")], Ok("PATH=new\0\0"));
    check(&[("=C:", r"C:\x")], Ok("=C:=C:\\x\0\0"));
    check(&[("", "x")], Err(BlockError::Name));
    check(&[("a=b", "x")], Err(BlockError::Name));
    check(&[("a", "x\0b=y")], Err(BlockError::Nul));
}

#[test]
fn messages_come_out_as_they_went_in_however_they_are_cut() {
    let messages = [(Kind::Start, 3), (Kind::Done, 0), (Kind::Perform, 300), (Kind::Failed, 1)]
        .map(|(kind, length)| Message { kind, payload: vec![7; length] });
    let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
    let mut rest = &bytes[..];
    for message in &messages {
        let (found, length) = decode(rest).unwrap().unwrap();
        assert_eq!(&found, message);
        for cut in 0..length {
            assert_eq!(decode(&rest[..cut]), Ok(None), "{cut} of {length} bytes");
        }
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
}

#[test]
fn hostile_messages_are_refused_at_their_header() {
    assert_eq!(decode(&[6]), Err(FrameError::Kind(6)));
    assert_eq!(decode(&[0, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::TooLarge));
    assert_eq!(decode(&[0, 1, 0, 0x80, 0]), Err(FrameError::TooLarge));
    let largest = Message { kind: Kind::Start, payload: vec![0; LARGEST] };
    assert!(encode(&largest).is_ok());
    let larger = Message { kind: Kind::Start, payload: vec![0; LARGEST + 1] };
    assert_eq!(encode(&larger), Err(FrameError::TooLarge));
}

#[test]
fn a_pipe_is_for_two_and_no_text_adds_a_third() {
    let caller = "S-1-5-21-1-2-3-1001";
    let text = pipe_sddl(caller, "S-1-5-21-1-2-3-1002").unwrap();
    assert_eq!(text.matches("(A;").count(), 2, "{text}");
    assert!(text.starts_with("D:P(D;;GA;;;NU)"), "{text}");
    let account = text.rsplit_once("(A;;").unwrap().1.split(';').next().unwrap();
    let rights = u32::from_str_radix(account.trim_start_matches("0x"), 16).unwrap();
    assert_eq!(rights & 0x4, 0, "no instances of its own");
    for hostile in ["", "WD", "S-1-", "S-1-5-", "S-1-5)(A;;GA;;;WD", "S-1-5-21 ", "S-1-1-\u{661}"] {
        assert_eq!(pipe_sddl(caller, hostile), None, "{hostile:?}");
        assert_eq!(pipe_sddl(hostile, caller), None, "{hostile:?}");
    }
}
