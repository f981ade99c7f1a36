//! The bridge between a command's pipes and other streams. The program is its own
//! command, so that this runs wherever the library does.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
// A descendant that outlives the command is what one test is about.
#![allow(clippy::zombie_processes)]

use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pinfold::{BRIDGED, DRAIN, Streams, bridge};

const PART: &str = "PINFOLD_BRIDGE_PART";

/// What the program does as a command, chosen by [`PART`].
fn act(part: &str) -> i32 {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    match part {
        // Everything back, and as much again as errors, then a status of its own.
        "echo" => {
            let mut all = Vec::new();
            input.read_to_end(&mut all).unwrap();
            output.write_all(&all).unwrap();
            io::stderr().write_all(&all).unwrap();
            7
        }
        "line" => {
            let mut byte = [0];
            while input.read(&mut byte).unwrap() == 1 {
                output.write_all(&byte).unwrap();
                output.flush().unwrap();
            }
            0
        }
        "flood" => {
            let block = [b'x'; 64 * 1024];
            (0..160).try_for_each(|_| output.write_all(&block)).map_or(1, |()| 0)
        }
        "hold" => {
            let own = std::env::current_exe().unwrap();
            Command::new(own).arg("part").env(PART, "rest").spawn().unwrap();
            writeln!(output, "ended").unwrap();
            0
        }
        "rest" => {
            std::thread::sleep(DRAIN * 2);
            0
        }
        "sleep" => {
            std::thread::sleep(Duration::from_secs(60));
            0
        }
        _ => 9,
    }
}

/// The part of a command is a test, which does nothing in the program itself.
#[test]
fn part() {
    if let Ok(part) = std::env::var(PART) {
        std::process::exit(act(&part));
    }
}

type Theirs = Streams<ChildStdin, ChildStdout, ChildStderr>;

fn command(part: &str) -> (Child, Theirs) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "part", "--nocapture", "--quiet"]).env(PART, part);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let streams = Streams {
        input: child.stdin.take().unwrap(),
        output: child.stdout.take().unwrap(),
        error: child.stderr.take().unwrap(),
    };
    (child, streams)
}

/// A stream that remembers what it was given, and says when.
#[derive(Clone, Default)]
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    largest: Arc<Mutex<usize>>,
    told: Option<Sender<usize>>,
}

impl Kept {
    /// What the command wrote, without what the harness says around it.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned();
        let lines = text.split_inclusive('\n');
        lines.filter(|line| !line.trim().is_empty() && !line.starts_with("running ")).collect()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        let mut largest = self.largest.lock().unwrap();
        *largest = (*largest).max(bytes.len());
        if let Some(told) = &self.told {
            let _ = told.send(bytes.len());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn everything_is_passed_on_and_the_end_of_input_too() {
    let (process, theirs) = command("echo");
    let text: String = (0..40_000).map(|number| format!("{number}\n")).collect();
    let (output, error) = (Kept::default(), Kept::default());
    let input = io::Cursor::new(text.clone().into_bytes());
    let ours = Streams { input, output: output.clone(), error: error.clone() };
    let (_interrupt, interrupts) = mpsc::channel();
    assert_eq!(bridge(process, theirs, ours, &interrupts).unwrap(), 7);
    assert!(output.text().ends_with(&text), "{} bytes", output.text().len());
    assert!(error.text().ends_with(&text), "{} bytes", error.text().len());
    assert!(*output.largest.lock().unwrap() <= BRIDGED);
}

#[test]
fn output_comes_while_the_command_runs() {
    let (process, theirs) = command("line");
    let (told, heard) = mpsc::channel();
    let output = Kept { told: Some(told), ..Kept::default() };
    let (reader, mut writer) = io::pipe().unwrap();
    let ours = Streams { input: reader, output: output.clone(), error: io::sink() };
    let (_interrupt, interrupts) = mpsc::channel();
    let bridged = std::thread::spawn(move || bridge(process, theirs, ours, &interrupts).unwrap());
    writer.write_all(b"first\n").unwrap();
    while !output.text().contains("first\n") {
        heard.recv_timeout(Duration::from_secs(60)).expect("nothing came before the end");
    }
    drop(writer);
    assert_eq!(bridged.join().unwrap(), 0);
}

#[test]
fn an_interrupt_ends_the_command() {
    let (process, theirs) = command("sleep");
    let ours = Streams { input: io::empty(), output: io::sink(), error: io::sink() };
    let (interrupt, interrupts) = mpsc::channel();
    interrupt.send(()).unwrap();
    let began = Instant::now();
    assert_ne!(bridge(process, theirs, ours, &interrupts).unwrap(), 0);
    assert!(began.elapsed() < Duration::from_secs(50));
}

/// A reader that takes its time gets everything; nothing is dropped for it.
struct Slow(Kept);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_micros(100));
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_burst_is_not_lost_on_a_slow_reader() {
    let (process, theirs) = command("flood");
    let output = Kept::default();
    let ours = Streams { input: io::empty(), output: Slow(output.clone()), error: io::sink() };
    let (_interrupt, interrupts) = mpsc::channel();
    assert_eq!(bridge(process, theirs, ours, &interrupts).unwrap(), 0);
    let count = output.bytes.lock().unwrap().iter().filter(|byte| **byte == b'x').count();
    assert_eq!(count, 160 * 64 * 1024);
}

#[test]
fn what_a_descendant_holds_is_waited_for_a_while_and_no_longer() {
    let (process, theirs) = command("hold");
    let output = Kept::default();
    let ours = Streams { input: io::empty(), output: output.clone(), error: io::sink() };
    let (_interrupt, interrupts) = mpsc::channel();
    let began = Instant::now();
    assert_eq!(bridge(process, theirs, ours, &interrupts).unwrap(), 0);
    assert!(began.elapsed() < DRAIN * 8, "{:?}", began.elapsed());
    assert!(output.text().ends_with("ended\n"), "{}", output.text());
}
