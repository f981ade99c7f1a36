use super::*;

#[test]
fn the_end_of_a_head_is_found_however_it_arrives() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    for seen in 0..head.len() - 4 {
        assert_eq!(head_end(&head[..seen], 0), Ok(None), "{seen}");
        assert_eq!(head_end(head, seen.min(26)), Ok(Some(head.len() - 4)), "{seen}");
    }
    for bytes in [&b"GET / HTTP/1.1\n"[..], b"\nGET", b"GET\0"] {
        assert!(head_end(bytes, 0).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_request_line_is_told_from_other_protocols() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], Some(true)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(true)),
        (b"M-SEARCH * HTTP/1.1\r\n", Some(true)),
        (b"PRI * HTTP/2.0\r\n", Some(true)),
        (b"GET / HT", None),
        (b"GE", None),
        (b"", None),
        (b"GET key\r\n", Some(false)),
        (b"PING\r\n", Some(false)),
        (b"SSH-2.0-x\r\n", Some(false)),
        (b"*1\r\n$4\r\nPING\r\n", Some(false)),
        (b"get / HTTP/1.1\r\n", Some(false)),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Some(false)),
    ] {
        assert_eq!(first_line_is_request(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn the_frame_of_an_answer_depends_on_the_request() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (method, status, fields, expected) in [
        ("GET", 200, length, Some(Framing::Length(5))),
        ("GET", 200, chunked, Some(Framing::Chunked)),
        ("GET", 200, "", Some(Framing::UntilClose)),
        ("GET", 204, length, Some(Framing::None)),
        ("GET", 304, length, Some(Framing::None)),
        ("HEAD", 200, length, Some(Framing::None)),
        ("GET", 100, "", Some(Framing::None)),
        ("GET", 200, "Transfer-Encoding: gzip, chunked\r\n", None),
        ("GET", 200, "Content-Length: -5\r\n", None),
        ("GET", 200, "Content-Length: 99999999999999999999\r\n", None),
    ] {
        let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let framing = parse_response(head.as_bytes(), method).ok().map(|head| head.body);
        assert_eq!(framing, expected, "{method} {status} {fields}");
    }
}

/// Every single-byte change of a request is read without panic.
#[test]
fn damaged_heads_are_survived() {
    let whole =
        b"POST http://a.test:8080/p?q HTTP/1.1\r\nHost: a.test:8080\r\nContent-Length: 3\r\n\r\n";
    for at in 0..whole.len() {
        for value in [0, b' ', b':', b'\r', b'\n', b'/', b'@', 0xff] {
            let mut damaged = whole.to_vec();
            damaged[at] = value;
            let _ = parse_request(&damaged);
            let _ = parse_response(&damaged, "GET");
        }
    }
}
