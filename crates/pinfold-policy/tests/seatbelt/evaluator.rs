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
    /// Not about files.
    Other,
}

impl Profile {
    pub(crate) fn read(plan: &Seatbelt) -> Profile {
        assert!(plan.text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{}", plan.text);
        let mut rest = plan.text.as_str();
        let mut rules = Vec::new();
        while !rest.trim_start().is_empty() {
            let Form::List(list) = form(&mut rest) else { panic!("a word outside of a list") };
            match list.as_slice() {
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
            Filter::Other => false,
        }
    }
}

fn filter(form: &Form, plan: &Seatbelt) -> Filter {
    let Form::List(list) = form else { panic!("a filter is a list: {form:?}") };
    match list.as_slice() {
        [Form::Word(kind), value] if kind == "subpath" => Filter::Subpath(path(value, plan)),
        [Form::Word(kind), value] if kind == "literal" => Filter::Literal(path(value, plan)),
        [Form::Word(kind), Form::Text(text)] if kind == "regex" => {
            Filter::Expression(Regex::new(&format!("(?-u){text}")).unwrap())
        }
        [Form::Word(kind), ..]
            if ["target", "global-name", "remote", "local"].contains(&kind.as_str()) =>
        {
            Filter::Other
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
