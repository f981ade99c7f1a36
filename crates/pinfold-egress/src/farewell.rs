//! Last words for clients that do not speak HTTP.

/// The TLS alert "access denied" (49), fatal: the one refusal at this level that
/// clients name as what it is.
pub(crate) const ACCESS_DENIED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 49];

/// The start of an SSH conversation that ends at once: a banner, and the message
/// "disconnect" with a text that clients print.
pub(crate) fn ssh_disconnect(text: &str) -> Vec<u8> {
    const DISCONNECT: u8 = 1;
    const HOST_NOT_ALLOWED_TO_CONNECT: u32 = 1;
    let mut payload = vec![DISCONNECT];
    payload.extend(HOST_NOT_ALLOWED_TO_CONNECT.to_be_bytes());
    for string in [text.as_bytes(), b"en"] {
        payload.extend(u32::try_from(string.len()).unwrap_or_default().to_be_bytes());
        payload.extend(string);
    }
    // Length, padding length, payload and padding come in blocks of eight, with
    // at least four bytes of padding.
    let padding = 4 + (8 - (payload.len() + 1) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or_default();
    let mut message = b"SSH-2.0-pinfold\r\n".to_vec();
    message.extend(length.to_be_bytes());
    message.push(u8::try_from(padding).unwrap_or_default());
    message.extend(payload);
    message.resize(message.len() + padding, 0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_is_a_whole_packet_whatever_the_text() {
        for length in 0..40 {
            let text = "x".repeat(length);
            let message = ssh_disconnect(&text);
            let packet = message.strip_prefix(b"SSH-2.0-pinfold\r\n").unwrap();
            let (size, rest) = packet.split_at(4);
            assert_eq!(u32::from_be_bytes(size.try_into().unwrap()) as usize, rest.len());
            assert_eq!(packet.len() % 8, 0, "{length}");
            let padding = usize::from(rest[0]);
            assert!((4..=11).contains(&padding));
            let payload = &rest[1..rest.len() - padding];
            assert_eq!(&payload[9..9 + length], text.as_bytes());
            assert_eq!(&payload[9 + length..], b"\0\0\0\x02en");
        }
    }
}
