//! Commands of a sandbox account. A process of that account, the runner, starts them; pinfold
//! puts the handles that they are to have into it, and takes theirs out of it, so that what
//! they read and write passes nobody.

use std::collections::BTreeMap;
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use pinfold_policy::plan::windows::frame::{Kind, Message};
use pinfold_policy::plan::windows::order::{Order, Terminal};
use pinfold_policy::plan::windows::pipe_sddl;
use windows_sys::Win32::Foundation::{ERROR_INVALID_DATA, ERROR_INVALID_SID};

use super::call::{self, Outcome, with_nul};
use super::confine::{Confinement, first_there};
use super::console::Console;
use super::link::Link;
use super::start::{Start, create_process};
use super::{accounts, sealed};
use crate::seam::Size;

/// The word that makes a program the runner, before the name of its pipe.
pub(crate) const RUNNER: &str = "--run-in-account";

/// The runner, as pinfold sees it. It ends with this, and everything that it has started.
#[derive(Debug)]
pub(crate) struct Runner {
    link: Mutex<Link>,
    process: OwnedHandle,
    _job: OwnedHandle,
    terminals: AtomicU32,
}

/// What a command is connected to, in this process's handles.
pub(crate) struct Connected<'a> {
    pub(crate) standard: [Option<&'a OwnedHandle>; 3],
    pub(crate) jobs: &'a [&'a OwnedHandle],
    pub(crate) terminal: Option<&'a RemoteTerminal>,
}

/// A terminal that the runner makes; the ends that it is given.
#[derive(Debug)]
pub(crate) struct RemoteTerminal {
    pub(crate) number: u32,
    pub(crate) size: Size,
    pub(crate) input: OwnedHandle,
    pub(crate) output: OwnedHandle,
}

impl Runner {
    /// Starts one as an account that set-up has made.
    pub(crate) fn start(user: &str, job: OwnedHandle) -> Outcome<Runner> {
        let caller = call::user_of(&call::own_token()?)?;
        let account = accounts::identifier(user)?;
        let sddl = pipe_sddl(&caller, &account).ok_or(ERROR_INVALID_SID as i32)?;
        let password = sealed::password(user)?;
        let (link, process) = Link::with("runner", &sddl, |pipe| {
            accounts::start_as((user, &password), &[RUNNER, pipe], &job)
        })?;
        Ok(Runner::over(link, process, job))
    }

    fn over(link: Link, process: OwnedHandle, job: OwnedHandle) -> Runner {
        Runner { link: Mutex::new(link), process, _job: job, terminals: AtomicU32::new(0) }
    }

    /// A number for another terminal.
    pub(crate) fn next_terminal(&self) -> u32 {
        self.terminals.fetch_add(1, SeqCst)
    }

    /// Puts a handle into the runner.
    fn put(&self, handle: &OwnedHandle) -> Outcome<u64> {
        call::copy_into(handle.as_raw_handle(), &self.process)
    }

    /// Starts a command; its process.
    pub(crate) fn run(&self, mut order: Order, connected: &Connected<'_>) -> Outcome<OwnedHandle> {
        for (place, handle) in order.standard.iter_mut().zip(connected.standard) {
            *place = handle.map_or(Ok(0), |handle| self.put(handle))?;
        }
        order.jobs = connected.jobs.iter().map(|job| self.put(job)).collect::<Outcome<_>>()?;
        if let Some(RemoteTerminal { number, size, input, output }) = connected.terminal {
            let Size { rows, columns } = *size;
            let (input, output) = (self.put(input)?, self.put(output)?);
            order.terminal = Some(Terminal { number: *number, rows, columns, input, output });
        }
        let answer = self.locked().ask(Kind::Start, order.encode())?;
        let process = answer.first_chunk::<8>().ok_or(ERROR_INVALID_DATA as i32)?;
        call::take_from(&self.process, u64::from_le_bytes(*process))
    }

    pub(crate) fn resize(&self, terminal: u32, size: Size) -> Outcome<()> {
        let numbers = [size.rows.to_le_bytes(), size.columns.to_le_bytes()].concat();
        let payload = [&terminal.to_le_bytes()[..], &numbers].concat();
        self.locked().ask(Kind::Resize, payload).map(drop)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runner itself: does what it is told until pinfold is gone.
pub(crate) fn serve(mut link: Link) -> Outcome<()> {
    let mut inside = Inside { confinement: None, terminals: BTreeMap::new() };
    while let Some(Message { kind, payload }) = link.receive()? {
        match kind {
            Kind::Start => link.answer(Kind::Started, inside.start(&payload))?,
            Kind::Resize => link.answer(Kind::Done, inside.resize(&payload))?,
            _ => link.answer(Kind::Done, Err(ERROR_INVALID_DATA as i32))?,
        }
    }
    Ok(())
}

struct Inside {
    confinement: Option<Confinement>,
    terminals: BTreeMap<u32, Arc<Console>>,
}

impl Inside {
    fn start(&mut self, payload: &[u8]) -> Outcome<Vec<u8>> {
        let order = Order::decode(payload).ok_or(ERROR_INVALID_DATA as i32)?;
        // Closed again here whatever happens: they are the command's, not the runner's.
        let standard = order.standard.map(call::given);
        let jobs: Vec<OwnedHandle> =
            order.jobs.iter().filter_map(|job| call::given(*job)).collect();
        let console = match order.terminal {
            None => None,
            Some(Terminal { number, rows, columns, input, output }) => {
                let ends = call::given(input).zip(call::given(output));
                let (input, output) = ends.ok_or(ERROR_INVALID_DATA as i32)?;
                let console = Arc::new(Console::on(&input, &output, Size { rows, columns })?);
                self.terminals.insert(number, console.clone());
                Some((number, console))
            }
        };
        let confinement = match self.confinement.take() {
            Some(made) => self.confinement.insert(made),
            None => self.confinement.insert(Confinement::of(&order.token)?),
        };
        let jobs: Vec<&OwnedHandle> = jobs.iter().collect();
        let directory = with_nul(order.directory);
        let process = first_there(&order.attempts, order.otherwise, |attempt| {
            create_process(Start {
                program: &with_nul(attempt.program.clone()),
                line: with_nul(attempt.line.clone()),
                directory: &directory,
                environment: &order.environment,
                standard: &standard,
                jobs: &jobs,
                token: Some(&confinement.token),
                desktop: Some(&confinement.desktop),
                console: console.as_ref().map(|(_, console)| console.as_ref()),
            })
        });
        let process = match (process, &console) {
            (Ok(process), _) => process,
            (Err(code), console) => {
                console.as_ref().map(|(number, _)| self.terminals.remove(number));
                return Err(code);
            }
        };
        if let Some((_, console)) = console {
            close_with(console, &process)?;
        }
        // Pinfold takes it out of this process's table.
        let number = call::leave_open(process);
        Ok(number.to_le_bytes().to_vec())
    }

    fn resize(&mut self, payload: &[u8]) -> Outcome<Vec<u8>> {
        let &[a, b, c, d, e, f, g, h] = payload else { return Err(ERROR_INVALID_DATA as i32) };
        let size = Size { rows: u16::from_le_bytes([e, f]), columns: u16::from_le_bytes([g, h]) };
        let console = self.terminals.get(&u32::from_le_bytes([a, b, c, d]));
        console.map_or(Ok(()), |console| console.resize(size))?;
        Ok(Vec::new())
    }
}

/// Closes a console when the process that it was made for has ended: only then what it
/// shows comes to its end.
pub(crate) fn close_with(console: Arc<Console>, process: &OwnedHandle) -> Outcome<()> {
    let process = process.try_clone().map_err(|error| super::link::number(&error))?;
    let close = move || {
        call::wait(process.as_handle(), u32::MAX);
        console.close();
    };
    let thread = std::thread::Builder::new().name(String::from("pinfold-console"));
    thread.spawn(close).map(drop).map_err(|error| super::link::number(&error))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use pinfold_policy::plan::windows::Token;
    use pinfold_policy::plan::windows::order::Attempt;
    use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;

    use super::super::link::tests::with_thread;
    use super::*;

    fn order(programs: &[&str], line: &str) -> Order {
        let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let attempt = |program: &&str| Attempt { program: units(program), line: units(line) };
        Order {
            token: Token { flags: 1, restricting: vec![String::from("S-1-1-0")] },
            attempts: programs.iter().map(attempt).collect(),
            otherwise: None,
            directory: units("C:\\"),
            environment: units("SystemRoot=C:\\windows\0GIVEN=value\0\0"),
            standard: [0; 3],
            jobs: Vec::new(),
            terminal: None,
        }
    }

    const SHELL: &str = r"C:\windows\system32\cmd.exe";

    #[test]
    fn commands_get_the_handles_of_this_process_and_it_gets_theirs() {
        let (link, process) = with_thread(serve);
        let runner = Runner::over(link, process, call::create_job().unwrap());
        for round in 0..3 {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let output = OwnedHandle::from(writer);
            let jobs = [call::create_job().unwrap(), call::create_job().unwrap()];
            let line = format!("cmd.exe /c echo %GIVEN% {round}& exit {}", round + 3);
            let connected = Connected {
                standard: [None, Some(&output), Some(&output)],
                jobs: &jobs.each_ref(),
                terminal: None,
            };
            let command =
                runner.run(order(&[r"C:\no\such.exe", SHELL], &line), &connected).unwrap();
            // To its end: nothing of it has stayed open in the runner.
            drop(output);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text.trim(), format!("value {round}"));
            assert!(call::wait(command.as_handle(), 20_000));
            assert_eq!(call::exit_status(&command).unwrap(), round + 3);
        }
    }

    #[test]
    fn what_cannot_be_started_and_what_is_no_order_are_errors_and_the_next_works() {
        let (link, process) = with_thread(serve);
        let runner = Runner::over(link, process, call::create_job().unwrap());
        let nothing = Connected { standard: [None; 3], jobs: &[], terminal: None };
        let missing = runner.run(order(&[r"C:\nosuch.exe"], "such"), &nothing).unwrap_err();
        assert_eq!(missing, ERROR_FILE_NOT_FOUND as i32);
        let unwritable = Order { otherwise: Some(193), ..order(&[], "") };
        assert_eq!(runner.run(unwritable, &nothing).unwrap_err(), 193);
        let garbled = runner.locked().ask(Kind::Start, vec![1, 2, 3]).unwrap_err();
        assert_eq!(garbled, ERROR_INVALID_DATA as i32);
        assert!(runner.locked().ask(Kind::Perform, b"apply group".to_vec()).is_err());
        let job = call::create_job().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let input = OwnedHandle::from(reader);
        let standard = [Some(&input), None, None];
        let bounded = Connected { standard, jobs: &[&job], terminal: None };
        // It waits for a line that never comes.
        let waits = order(&[SHELL], "cmd.exe /c set /p x=");
        let command = runner.run(waits, &bounded).unwrap();
        assert!(!call::wait(command.as_handle(), 300));
        call::terminate_job(&job);
        assert!(call::wait(command.as_handle(), 20_000), "it is in the job that was given");
    }
}
