use super::*;

/// A hello with these extensions, in one handshake message.
fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, value) in extensions {
        list.extend(kind.to_be_bytes());
        list.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        list.extend(value);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 0x01, 1, 0]);
    body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    body.extend(list);
    let mut message = vec![CLIENT_HELLO, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        record.extend(part);
        record
    };
    message.chunks(size).flat_map(record).collect()
}

fn name_extension(names: &[(u8, &str)]) -> (u16, Vec<u8>) {
    let mut list = Vec::new();
    for (kind, name) in names {
        list.push(*kind);
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend(name.as_bytes());
    }
    let mut value = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
    value.extend(list);
    (SERVER_NAME, value)
}

#[test]
fn the_server_name_is_found() {
    let padding = (21, vec![0; 15_000]);
    let named = |name| name_extension(&[(HOST_NAME, name)]);
    for (name, bytes, expected) in [
        ("a name", records(&message(&[named("OK.test")]), 16_000), Some("ok.test")),
        (
            "after other extensions",
            records(&message(&[(10, vec![0, 0]), named("ok.test")]), 16_000),
            Some("ok.test"),
        ),
        ("no name", records(&message(&[(10, vec![0, 0])]), 16_000), None),
        ("no extensions", records(&message(&[]), 16_000), None),
        ("in small records", records(&message(&[named("ok.test")]), 3), Some("ok.test")),
        (
            "in a large hello",
            records(&message(&[padding, named("ok.test")]), 16_000),
            Some("ok.test"),
        ),
    ] {
        let hello = client_hello(&bytes).unwrap();
        assert_eq!(hello.server_name.as_deref(), expected, "{name}");
        for end in 0..bytes.len() {
            assert_eq!(client_hello(&bytes[..end]), Err(HelloError::Incomplete), "{name}: {end}");
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_no_hello() {
    let named = |name| name_extension(&[(HOST_NAME, name)]);
    for (name, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec()),
        ("another record", vec![23, 3, 3, 0, 1, 0]),
        ("another message", vec![22, 3, 1, 0, 1, 2]),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        (
            "two names",
            records(&message(&[name_extension(&[(0, "ok.test"), (0, "deny.test")])]), 16_000),
        ),
        ("two name extensions", records(&message(&[named("ok.test"), named("deny.test")]), 16_000)),
        ("an empty name", records(&message(&[named("")]), 16_000)),
        ("a zero byte in the name", records(&message(&[named("ok.test\0.deny.test")]), 16_000)),
        ("another kind of name", records(&message(&[name_extension(&[(1, "ok.test")])]), 16_000)),
    ] {
        assert_eq!(client_hello(&bytes), Err(HelloError::Invalid), "{name}");
    }
}

/// Every prefix and every single-byte change of a hello is read without panic.
#[test]
fn damaged_hellos_are_survived() {
    let whole = records(&message(&[name_extension(&[(0, "ok.test")])]), 16_000);
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let _ = client_hello(&damaged);
        }
    }
}
