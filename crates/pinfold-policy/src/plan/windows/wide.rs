//! Text in the units that Windows takes.

/// Bytes of UTF-8 as units of UTF-16. A half of a surrogate pair, which is three
/// bytes that are no UTF-8, is itself; any other byte that is no UTF-8 becomes the
/// replacement character, so that no two names of files become one by a byte that
/// is left out.
pub fn units(bytes: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (text, length) = match std::str::from_utf8(rest) {
            Ok(text) => (text, rest.len()),
            Err(error) => {
                let valid = error.valid_up_to();
                (std::str::from_utf8(&rest[..valid]).unwrap_or_default(), valid)
            }
        };
        units.extend(text.encode_utf16());
        rest = &rest[length..];
        match rest {
            [] => {}
            [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, after @ ..] => {
                units.push(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f));
                rest = after;
            }
            [_, after @ ..] => {
                units.push(0xfffd);
                rest = after;
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn text_comes_back_and_halves_of_pairs_stay_apart() {
        for text in ["", "a", "ä€😀", "C:\\x"] {
            assert_eq!(String::from_utf16(&units(text.as_bytes())).unwrap(), text);
        }
        assert_eq!(units(b"a\xed\xa0\x80b"), [0x61, 0xd800, 0x62]);
        assert_eq!(units(b"\xed\xbf\xbf"), [0xdfff]);
        assert_eq!(units(b"a\xff\xe2\x82"), [0x61, 0xfffd, 0xfffd, 0xfffd]);
    }
}
