use super::*;
use pinfold_policy::net::parse_host_rule;
use pinfold_policy::origin::Origin;
use pinfold_policy::profile::{HostAction, HostRule, NetAccess, NetMode};

fn policy(rules: &[&str]) -> NetPolicy {
    let rule = |text: &&str| {
        let (host, ports) = parse_host_rule(text).unwrap();
        let origin = Origin::BuiltIn("test");
        HostRule { text: (*text).into(), host, ports, action: HostAction::Allow, origin }
    };
    NetPolicy {
        access: NetAccess::Rules,
        origin: Origin::BuiltIn("test"),
        mode: NetMode::Full,
        allow_local_binding: None,
        upstream_resolves: false,
        hosts: rules.iter().map(rule).collect(),
        unix_sockets: Vec::new(),
    }
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// The answer in words.
fn ask(names: &Mutex<Names>, message: &[u8]) -> String {
    let Some(reply) = answer(&policy(&["db:5432"]), names, message) else {
        return "nothing".into();
    };
    assert_eq!(reply[..2], message[..2], "the number of the question");
    assert_eq!(reply[2] & 0x80, 0x80, "an answer");
    match (reply[3] & 15, reply[7]) {
        (0, 0) => "no data".into(),
        (0, 1) => {
            Ipv4Addr::from(<[u8; 4]>::try_from(&reply[reply.len() - 4..]).unwrap()).to_string()
        }
        (code, _) => format!("error {code}"),
    }
}

#[test]
fn questions_are_answered_without_asking_anyone() {
    let names = Mutex::new(Names::new(100));
    let (a, aaaa, https, txt, ptr, any) = (1, 28, 65, 16, 12, 255);
    let mut two_questions = question("ok.test", a);
    two_questions[5] = 2;
    let mut pointer = question("", a);
    pointer.splice(12..13, [0xc0, 0x0c]);
    let mut an_answer = question("ok.test", a);
    an_answer[2] |= 0x80;
    let mut an_update = question("ok.test", a);
    an_update[2] |= 0x28;
    let mut chaos = question("version.bind", txt);
    *chaos.last_mut().unwrap() = 3;
    // Three labels of 63 bytes, with dots 192, and one more: 253 is the longest name.
    let long = |last: usize| format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(last));
    assert!(ask(&names, &question(&long(61), a)).starts_with("198.1"), "253 bytes");
    for (name, message, expected) in [
        ("254 bytes", question(&long(62), a), "error 1"),
        ("N45 AAAA", question("ok.test", aaaa), "no data"),
        ("N45 HTTPS", question("ok.test", https), "no data"),
        ("N45 TXT", question("ok.test", txt), "no data"),
        ("N45 ANY", question("ok.test", any), "no data"),
        ("N45 PTR", question("34.216.184.93.in-addr.arpa", ptr), "error 3"),
        ("a single label", question("host", a), "error 3"),
        ("a single label in a rule", question("localhost", a), "127.0.0.1"),
        ("the root", question("", a), "error 3"),
        ("an address", question("127.0.0.1", a), "error 3"),
        ("what is no host name", question("a b.test", a), "error 1"),
        ("a zero byte", question("a\0.test", a), "error 1"),
        ("a pointer in the question", pointer, "error 1"),
        ("two questions", two_questions, "error 1"),
        ("an update", an_update, "error 4"),
        ("another class", chaos, "error 5"),
        ("an answer", an_answer, "nothing"),
        ("half a header", vec![0; 11], "nothing"),
    ] {
        assert_eq!(ask(&names, &message), expected, "{name}");
    }
    let first = ask(&names, &question("OK.test", a));
    assert!(first.starts_with("198.1"), "{first}");
    assert_eq!(ask(&names, &question("ok.TEST", a)), first, "case does not matter");
    assert_ne!(ask(&names, &question("other.test", a)), first);
    assert!(ask(&names, &question("db", a)).starts_with("198.1"), "a rule names it");
    let address = first.parse().unwrap();
    assert_eq!(names.lock().unwrap().name(address), Some("ok.test"));
    assert!(is_fake(address));
}

#[test]
fn n47_the_number_of_names_is_bounded_and_no_address_is_given_twice() {
    let names = Mutex::new(Names::new(1000));
    let answers: Vec<String> =
        (0..1001).map(|at| ask(&names, &question(&format!("x{at}.deny.test"), 1))).collect();
    assert_eq!(answers[1000], "error 5");
    let different: std::collections::BTreeSet<&String> = answers[..1000].iter().collect();
    assert_eq!(different.len(), 1000);
    assert_eq!(ask(&names, &question("x7.deny.test", 1)), answers[7], "known names go on");
}

/// Every prefix of a question, and every one with a changed byte, is survived.
#[test]
fn damaged_questions_are_survived() {
    let whole = question("a.ok.test", 1);
    let names = Mutex::new(Names::new(100));
    for at in 0..whole.len() {
        answer(&policy(&[]), &names, &whole[..at]);
        for value in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            answer(&policy(&[]), &names, &damaged);
        }
    }
}
