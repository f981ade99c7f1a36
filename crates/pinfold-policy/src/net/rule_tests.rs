use super::*;

/// The outcome of a rule in one line: what it means, or why not and the hint.
fn read(text: &str) -> String {
    match parse_host_rule(text) {
        Ok((host, ports)) => format!("{host:?} {ports:?}"),
        Err(error) => format!("{error}; {}", error.hint()),
    }
}

fn check(cases: &[(&str, &str, &str)]) {
    for (name, text, expected) in cases {
        assert_eq!(read(text), *expected, "{name}: {text:?}");
    }
}

#[test]
fn hosts_and_ports_are_read() {
    check(&[
        ("a name is lower-cased", "API.Example.COM", r#"Name("api.example.com") []"#),
        ("a single label is a name", "localhost:3000", r#"Name("localhost") [(3000, 3000)]"#),
        ("an underscore is allowed", "_srv.a.example", r#"Name("_srv.a.example") []"#),
        ("encoded labels are names", "xn--bcher-kva.test", r#"Name("xn--bcher-kva.test") []"#),
        ("one star is below", "*.example.com", r#"Below("example.com") []"#),
        (
            "two stars are the name too",
            "**.example.com:443",
            r#"AtOrBelow("example.com") [(443, 443)]"#,
        ),
        ("a lone star is every host", "*:443", "Any [(443, 443)]"),
        ("all ports", "a.example:*", r#"Name("a.example") [(1, 65535)]"#),
        (
            "ports are sorted and merged",
            "a.example:443,80,81-90,85",
            r#"Name("a.example") [(80, 90), (443, 443)]"#,
        ),
        (
            "an address",
            "127.0.0.1:5432",
            "Network { address: 127.0.0.1, prefix: 32 } [(5432, 5432)]",
        ),
        ("a block", "10.0.0.0/8:22", "Network { address: 10.0.0.0, prefix: 8 } [(22, 22)]"),
        ("every IPv4 address", "0.0.0.0/0", "Network { address: 0.0.0.0, prefix: 0 } []"),
        ("a bare IPv6 address", "::1", "Network { address: ::1, prefix: 128 } []"),
        ("a bare IPv6 block", "fd00::/8", "Network { address: fd00::, prefix: 8 } []"),
        (
            "IPv6 with ports",
            "[2001:db8::1]:443",
            "Network { address: 2001:db8::1, prefix: 128 } [(443, 443)]",
        ),
        (
            "an IPv6 block with ports",
            "[fd00::/8]:22",
            "Network { address: fd00::, prefix: 8 } [(22, 22)]",
        ),
    ]);
}

#[test]
fn what_is_no_rule_is_refused_with_what_to_write() {
    let ports = "write a number from 1 to 65535, a range \"8000-8080\", a list \"80,443\" or \"*\"";
    let general = "write HOST or HOST:PORTS, for example \"example.com:443\"";
    let labels = "use letters, digits, \"-\" and \"_\", 1 to 63 between dots";
    let port = |text: &str| format!("\"{text}\" is no port; {ports}");
    let label = |text: &str| format!("\"{text}\" is no part of a host name; {labels}");
    let url = |host: &str| format!("a rule names hosts and ports, not URLs; write \"{host}\"");
    let long = format!("{}.example", "a".repeat(64));
    let cases: Vec<(&str, &str, String)> = vec![
        ("empty", "", "it names no host; write \"*\" for every host".into()),
        ("no host", ":443", "it names no host; write \"*\" for every host".into()),
        ("a URL", "http://x.example/a", url("x.example:80")),
        ("a URL with a port", "https://x.example:8443/", url("x.example:8443")),
        ("a URL with a user", "ssh://git@x.example/a", url("x.example")),
        ("a user", "git@x.example", "a rule holds no user name; write \"x.example\" without the part before \"@\"".into()),
        ("a path", "x.example/a", "a rule holds no path; write \"x.example\" without the part after it".into()),
        ("a space", "a.example b.example", "it contains a space or a control character; write one host per rule, without spaces".into()),
        ("a trailing dot", "x.example.", "it ends with a dot; write \"x.example\"".into()),
        ("a leading dot", ".x.example", "it begins with a dot; write \"*.x.example\" for everything below, \"**.x.example\" for the name too".into()),
        ("a star inside a label", "api*.x.example", "a star stands alone, or as the first label; write \"*.x.example\" for everything below x.example".into()),
        ("a star in the middle", "a.*.example", "a star stands alone, or as the first label; write \"*.example\" for everything below example".into()),
        ("two lone stars", "**", format!("a star stands alone, or as the first label; {general}")),
        ("letters outside ASCII", "bücher.test", "it has letters outside ASCII, which can look like others; write the encoded name that goes over the network, with labels such as \"xn--bcher-kva\"".into()),
        ("an empty label", "a..example", label("")),
        ("a hyphen first", "-a.example", label("-a")),
        ("a character of no name", "a%6f.example", label("a%6f")),
        ("a long name", &long, label(&"a".repeat(64))),
        ("a short address", "127.1", "some programs read it as 127.0.0.1; write \"127.0.0.1\"".into()),
        ("a hexadecimal address", "0x7f000001:80", "some programs read it as 127.0.0.1; write \"127.0.0.1\"".into()),
        ("no address after all", "1.2.3.4.5", format!("it is neither a name nor an address; {general}")),
        ("port 0", "a.example:0", port("0")),
        ("port 65536", "a.example:65536", port("65536")),
        ("no port", "a.example:", port("")),
        ("a signed port", "a.example:+443", port("+443")),
        ("a port with a zero in front", "a.example:0443", port("0443")),
        ("a service name", "a.example:https", port("https")),
        ("an open range", "a.example:80-", port("")),
        ("a range that runs backwards", "a.example:90-80", "the range \"90-80\" ends before it begins; write \"80-90\"".into()),
        ("an IPv6 address without brackets", "a:b:c.example", format!("it has more than one colon; {general}")),
        ("a bracket left open", "[::1", "the bracket is not closed; write \"[ADDRESS]:PORT\"".into()),
        ("a name in brackets", "[a.example]:80", "only IPv6 addresses stand in brackets; write \"a.example:80\"".into()),
        ("text after the bracket", "[::1]80", "\"80\" follows the bracket; write \"[::1]:PORT\"".into()),
        ("a prefix after the bracket", "[fd00::]/8:22", "the prefix length stands outside the brackets; write \"[fd00::/8]:22".into()),
        ("a long prefix", "10.0.0.0/33", "\"33\" is no prefix length; write a number from 0 to 32 after the slash".into()),
        ("host bits", "10.1.2.3/8", "10.1.2.3 has bits beyond the first 8; write \"10.0.0.0/8\" for the block or \"10.1.2.3\" for the address".into()),
        ("IPv4 in IPv6", "::ffff:10.0.0.1", "it is an IPv4 address in IPv6 form; write \"10.0.0.1\"".into()),
    ];
    for (name, text, expected) in &cases {
        check(&[(name, text, expected)]);
    }
}
