//! Runs the cases of `tests/conformance` at the root of the repository: each sets
//! up files, runs operations inside, and looks at the result from outside.
//!
//! Every case that expects a refusal is also run without enforcement and must
//! fail then: a test that cannot fail shows nothing.

#![allow(clippy::print_stdout)]

mod case;
mod probe;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some("probe") {
        probe::operations(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let folder = std::env::var("PINFOLD_CASES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance").into());
    let cases: Vec<case::Case> = case::load(Path::new(&folder))
        .into_iter()
        .filter(|case| filter.is_none_or(|filter| case.name.contains(filter.as_str())))
        .collect();
    println!("\nrunning {} tests", cases.len());
    let mut failed = 0;
    let mut skipped = 0;
    for case in &cases {
        match case.run() {
            case::Verdict::Passed => println!("test {} ... ok", case.name),
            case::Verdict::Skipped(why) => {
                skipped += 1;
                println!("test {} ... ignored, {why}", case.name);
            }
            case::Verdict::Failed(why) => {
                failed += 1;
                println!("test {} ... FAILED\n{why}", case.name);
            }
        }
    }
    let passed = cases.len() - failed - skipped;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored; \
         0 measured; 0 filtered out; finished in 0.00s\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
