//! Set-up for Windows as data: what is made, in which order, and repaired.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use pinfold_policy::path::{AbsPath, PathStyle};
use pinfold_policy::plan::windows::setup::{
    Action, Operation, Report, Step, Traffic, removal, repair, steps,
};
use pinfold_policy::plan::windows::{Entry, EntryKind, Inherit, OFFLINE, PROXY, Trustee, mask};

fn entry(path: &str) -> Entry {
    Entry {
        path: AbsPath::parse(PathStyle::Windows, path.as_bytes()).unwrap(),
        kind: EntryKind::Allow,
        trustee: Trustee::Group,
        mask: mask::READ,
        inherit: Inherit::Tree,
    }
}

/// What a host has after the operations.
fn perform(observed: &[Step], operations: &[Operation]) -> Vec<Step> {
    let mut there: BTreeSet<Step> = observed.iter().cloned().collect();
    for operation in operations {
        match operation {
            Operation::Apply(step) => assert!(there.insert(step.clone()), "{step:?} twice"),
            Operation::Undo(step) => assert!(there.remove(step), "{step:?} is not there"),
        }
    }
    there.into_iter().collect()
}

#[test]
fn whatever_is_there_is_repaired_and_then_left_alone() {
    let wanted = steps(4128, &[entry(r"C:\a"), entry(r"C:\b")]);
    let mut expected = wanted.clone();
    expected.sort();
    // Each step alone may be missing, and all before it.
    for left_out in 0..wanted.len() {
        let mut without = wanted.clone();
        without.remove(left_out);
        for observed in [&without[..], &wanted[left_out..], &wanted[..left_out]] {
            let found = perform(observed, &repair(observed, &wanted));
            assert_eq!(found, expected);
            assert_eq!(repair(&found, &wanted), [], "a second time does nothing");
        }
    }
}

#[test]
fn another_port_and_other_entries_take_the_old_ones_away() {
    let old = steps(4128, &[entry(r"C:\a")]);
    let new = steps(4129, &[entry(r"C:\b")]);
    let operations = repair(&old, &new);
    assert_eq!(operations.len(), 4, "{operations:?}");
    let mut expected = new.clone();
    expected.sort();
    assert_eq!(perform(&old, &operations), expected);
}

#[test]
fn removal_leaves_nothing_and_takes_accounts_last() {
    let observed = steps(4128, &[entry(r"C:\a")]);
    let operations = removal(&observed);
    assert_eq!(perform(&observed, &operations), []);
    assert!(matches!(operations[0], Operation::Undo(Step::Entry(_))));
    assert!(matches!(operations.last(), Some(Operation::Undo(Step::Group(_)))));
}

#[test]
fn only_one_account_has_a_way_and_it_is_the_proxy() {
    for user in [OFFLINE, PROXY] {
        let mut permitted = Vec::new();
        let mut blocked = Vec::new();
        for step in steps(4128, &[]) {
            if let Step::Filter(filter) = step
                && filter.user == user
            {
                match filter.action {
                    Action::Permit => permitted.push(filter.traffic),
                    Action::Block => blocked.push(filter.traffic),
                }
            }
        }
        assert_eq!(blocked, [Traffic::Outbound, Traffic::Inbound], "{user}");
        let expected: &[Traffic] = if user == PROXY { &[Traffic::Loopback(4128)] } else { &[] };
        assert_eq!(permitted, expected, "{user}");
    }
}

#[test]
fn every_failure_has_a_code_of_its_own() {
    let mut codes = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for step in steps(4128, &[entry(r"C:\a")]) {
        kinds.insert(format!("{step:?}").split('(').next().unwrap().to_owned());
        for operation in [Operation::Apply(step.clone()), Operation::Undo(step)] {
            let worked = Report { operation, failure: None };
            assert_eq!(worked.code(), None);
            codes.extend(Report { failure: Some(5), ..worked }.code());
        }
    }
    assert_eq!(codes.len(), 2 * kinds.len());
}
