//! On a terminal: an interactive shell of the host, pinfold in it, and job control
//! as without.
#![allow(clippy::unwrap_used, clippy::panic, clippy::multiple_unsafe_ops_per_block, unsafe_code)]

mod world;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use world::World;

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// An interactive bash on a terminal of its own.
struct Terminal {
    shell: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
}

impl Terminal {
    fn start(world: &World) -> Terminal {
        let (mut outer, mut inner) = (-1, -1);
        let null = std::ptr::null_mut();
        // SAFETY: the call writes two descriptors.
        let opened = unsafe {
            libc::openpty(&raw mut outer, &raw mut inner, null, null.cast(), null.cast())
        };
        assert_eq!(opened, 0);
        // SAFETY: both were just opened and belong to nobody else.
        let (outer, inner) = unsafe { (OwnedFd::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) };
        let mut command = world.command("bash");
        command.args(["--norc", "--noediting", "-i"]).env("PS1", "$ ").env("TERM", "dumb");
        command.stdin(inner.try_clone().unwrap());
        command.stdout(inner.try_clone().unwrap());
        command.stderr(inner);
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Whoever runs the tests in the background ignores these.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGQUIT, libc::SIG_DFL);
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let shell = command.spawn().unwrap();
        let keyboard = File::from(outer);
        let mut reader = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = reader.read(&mut buffer) {
                if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { shell, keyboard, screen }
    }

    /// Types something and waits until the screen shows `expected`.
    fn check(&mut self, typed: &str, expected: &str) {
        self.keyboard.write_all(typed.as_bytes()).unwrap();
        let mut seen = String::new();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(100)) {
                seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            if seen.contains(expected) {
                return;
            }
        }
        panic!("after {typed:?}: {expected:?} is not in {seen:?}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn a_terminal_is_passed_on_and_job_control_works() {
    let world = World::new("terminal");
    let mut terminal = Terminal::start(&world);
    terminal.check(
        &format!("{PINFOLD} run -- sh -c 'tty; echo ready; read x; echo got-$x'\n"),
        "/dev/console\r\nready",
    );
    terminal.check("hello\n", "got-hello");
    terminal
        .check(&format!("{PINFOLD} run -- sh -c 'echo started; exec sleep 20'\n"), "started\r\n");
    // Until the program is there: one that is being started cannot stop.
    std::thread::sleep(Duration::from_millis(500));
    terminal.check("\x1a", "Stopped");
    terminal.check("fg\n", "sleep 20'");
    // The shell shows the command before it gives it the terminal.
    std::thread::sleep(Duration::from_millis(500));
    terminal.check("\x03", "$ ");
    terminal.check("echo status=$?\n", "status=130");
}

#[test]
fn a_pipeline_shares_the_terminal() {
    let world = World::new("pipeline");
    let mut terminal = Terminal::start(&world);
    terminal.check(
        &format!(
            "{PINFOLD} run -- echo one | {PINFOLD} run -- sh -c 'read x; echo $x-two </dev/tty'\n"
        ),
        "one-two",
    );
    terminal.check("echo status=$?\n", "status=0");
}
