//! What pinfold itself prints. Nothing goes to standard output while a command
//! runs.

use std::io::{IsTerminal, Write};

/// Why pinfold stops, and with which exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) status: i32,
}

impl From<pinfold::Error> for Failure {
    fn from(error: pinfold::Error) -> Failure {
        Failure { text: error.to_string(), status: error.status() }
    }
}

/// A mistake on the command line: status 2.
pub(crate) fn usage(message: &str, hint: &str) -> Failure {
    Failure { text: format!("error: {message}\nhint: {hint}"), status: 2 }
}

/// An error of pinfold: status 125.
pub(crate) fn failed(message: &str, hint: &str) -> Failure {
    Failure { text: format!("error: {message}\nhint: {hint}"), status: 125 }
}

/// Asks whoever sits at the terminal; an error where nobody does.
pub(crate) fn confirmed(question: &str, otherwise: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(usage("nobody can be asked here", otherwise));
    }
    complain(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints to standard output. A reader that has gone away is not an error.
pub(crate) fn print(text: &str) -> Result<i32, Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(failed("cannot write to standard output", "check where it leads"))
        }
        _ => Ok(0),
    }
}

/// Prints a line to standard error; there is nowhere to complain if that fails.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
