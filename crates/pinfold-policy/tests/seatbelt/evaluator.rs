//! Judges operations by a Seatbelt profile: the subset that the compiler writes.
//! Anything else in a profile is a panic, which fails the test.
//!
//! Nobody has documented whether the last matching rule wins, or the last one
//! of the most exact operation. Both readings are computed and must agree.

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::macos::Seatbelt;
use regex::bytes::Regex;

#[derive(Clone, Debug)]
enum Form {
    Word(String),
    Text(String),
    List(Vec<Form>),
}

/// A profile, read.
pub(crate) struct Profile {
    rules: Vec<(bool, String, Vec<Filter>)>,
}

enum Filter {
    Subpath(Vec<u8>),
    Literal(Vec<u8>),
    Expression(Regex),
    /// Not about files: what it is written as.
    Other(String),
}

impl Profile {
    pub(crate) fn read(plan: &Seatbelt) -> Profile {
        assert!(plan.text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{}", plan.text);
        let mut rest = plan.text.as_str();
        let mut rules = Vec::new();
        let mut forms = Vec::new();
        while !rest.trim_start().is_empty() {
            forms.push(form(&mut rest));
        }
        forms.reverse();
        while let Some(next) = forms.pop() {
            let Form::List(list) = next else { panic!("a word outside of a list") };
            match list.as_slice() {
                // As on a system that knows every filter.
                [Form::Word(when), Form::List(known), then @ ..] if when == "when" => {
                    let [Form::Word(defined), Form::Word(name)] = known.as_slice() else {
                        panic!("unknown condition {known:?}")
                    };
                    assert!(defined == "defined?" && name.starts_with('\''), "{known:?}");
                    forms.extend(then.iter().rev().cloned());
                }
                [Form::Word(verb), rest @ ..] if verb == "allow" || verb == "deny" => {
                    for operation in rest {
                        let Form::Word(operation) = operation else { break };
                        let filters = rest.iter().filter(|form| !matches!(form, Form::Word(_)));
                        let filters = filters.map(|form| filter(form, plan)).collect();
                        rules.push((verb == "allow", operation.clone(), filters));
                    }
                }
                [Form::Word(verb), Form::Word(number)] if verb == "version" && number == "1" => {}
                other => panic!("unknown form {other:?}"),
            }
        }
        Profile { rules }
    }

    /// The last word on an operation with a filter that is not about files, written as here.
    pub(crate) fn says(&self, operation: &str, written: &str) -> Option<bool> {
        let is = |filter: &Filter| matches!(filter, Filter::Other(text) if text == written);
        let rule = self.rules.iter().rev().find(|(_, name, filters)| {
            name == operation && (filters.is_empty() || filters.iter().any(is))
        });
        rule.map(|(allow, _, _)| *allow)
    }

    /// Whether an operation on a path is allowed.
    pub(crate) fn allows(&self, operation: &str, path: &AbsPath) -> bool {
        let group = operation.rsplit_once('-').map(|(group, _)| format!("{group}*"));
        let last = |names: &[&str]| {
            let rule = self.rules.iter().rev().find(|(_, name, filters)| {
                names.contains(&name.as_str())
                    && (filters.is_empty() || filters.iter().any(|filter| filter.covers(path)))
            });
            rule.map(|(allow, _, _)| *allow)
        };
        let group = group.as_deref().unwrap_or_default();
        let by_place = last(&[operation, group]).unwrap_or(false);
        let by_name = last(&[operation]).or_else(|| last(&[group])).unwrap_or(false);
        assert_eq!(by_place, by_name, "{operation} of {path} depends on how rules are ordered");
        by_place
    }
}

impl Filter {
    fn covers(&self, path: &AbsPath) -> bool {
        match self {
            Filter::Subpath(base) => path.starts_with(&AbsPath::posix(base).unwrap()),
            Filter::Literal(literal) => path.as_bytes() == literal,
            Filter::Expression(expression) => expression.is_match(path.as_bytes()),
            Filter::Other(_) => false,
        }
    }
}

/// Filters by a name.
const NAMED: [&str; 4] =
    ["global-name", "global-name-prefix", "iokit-user-client-class", "mac-policy-name"];

fn filter(form: &Form, plan: &Seatbelt) -> Filter {
    let Form::List(list) = form else { panic!("a filter is a list: {form:?}") };
    match list.as_slice() {
        [Form::Word(kind), value] if kind == "subpath" => Filter::Subpath(path(value, plan)),
        [Form::Word(kind), value] if kind == "literal" => Filter::Literal(path(value, plan)),
        [Form::Word(kind), Form::Text(text)] if kind == "regex" => {
            Filter::Expression(Regex::new(&format!("(?-u){text}")).unwrap())
        }
        [Form::Word(kind), ..] if ["target", "remote", "local"].contains(&kind.as_str()) => {
            Filter::Other(kind.clone())
        }
        [Form::Word(kind), Form::Text(name)] if NAMED.contains(&kind.as_str()) => {
            Filter::Other(format!("{kind} {name}"))
        }
        [Form::Word(kind), Form::Word(number)] if kind == "ioctl-command" => {
            Filter::Other(format!("{kind} {:#x}", number.parse::<u32>().unwrap()))
        }
        other => panic!("unknown filter {other:?}"),
    }
}

fn path(form: &Form, plan: &Seatbelt) -> Vec<u8> {
    match form {
        Form::Text(text) => text.clone().into_bytes(),
        Form::List(list) => match list.as_slice() {
            [Form::Word(word), Form::Text(name)] if word == "param" => {
                let index: usize = name.strip_prefix('P').unwrap().parse().unwrap();
                plan.parameters[index].as_bytes().to_vec()
            }
            other => panic!("unknown value {other:?}"),
        },
        other => panic!("unknown value {other:?}"),
    }
}

fn form(rest: &mut &str) -> Form {
    *rest = rest.trim_start();
    if let Some(text) = rest.strip_prefix("#\"").or_else(|| rest.strip_prefix('"')) {
        let (text, after) = text.split_once('"').expect("a closing quote");
        *rest = after;
        return Form::Text(text.to_owned());
    }
    if let Some(inside) = rest.strip_prefix('(') {
        *rest = inside.trim_start();
        let mut list = Vec::new();
        while !rest.starts_with(')') {
            assert!(!rest.is_empty(), "a closing parenthesis");
            list.push(form(rest));
            *rest = rest.trim_start();
        }
        *rest = &rest[1..];
        return Form::List(list);
    }
    let end = rest.find([' ', '\n', '(', ')']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    assert!(!word.is_empty(), "a form at {rest:?}");
    *rest = after;
    Form::Word(word.to_owned())
}
