//! One proxy for one run.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pinfold_policy::profile::NetPolicy;
use tokio::sync::oneshot;

use crate::defect::THREAD;
use crate::dns::Names;
use crate::doors::{Door, House};
use crate::gate::Gate;
use crate::journal::Report;
use crate::options::Options;

/// A proxy that has not opened its doors yet.
pub struct Egress {
    house: House,
}

/// A proxy at work on a thread of its own. Dropping it stops it.
pub struct Running {
    gate: Arc<Gate>,
    names: Arc<Mutex<Names>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Egress {
    /// A proxy for this policy, which stays as it is for the whole run.
    pub fn new(policy: NetPolicy, options: Options) -> Egress {
        Egress { house: House::new(Arc::new(Gate::new(policy, options))) }
    }

    /// Opens the doors and serves until `end` comes; open connections then have a
    /// moment to deliver what was sent. Must run inside a tokio runtime with time
    /// and network; connections that outlive the call end with that runtime.
    ///
    /// # Errors
    /// When a door's socket cannot be used.
    pub async fn serve(&self, doors: Vec<Door>, end: impl Future<Output = ()>) -> io::Result<()> {
        self.house.serve(doors, end).await
    }

    /// Serves on a thread of its own. Call it before the command starts and
    /// [`Running::stop`] once the command's last process has gone: until then the
    /// doors keep their network namespace alive.
    ///
    /// # Errors
    /// When the thread or its event queue cannot be made.
    pub fn start(self, doors: Vec<Door>) -> io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (gate, names) = (self.house.gate.clone(), self.house.names.clone());
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            let end = async {
                // A sender that is gone means stop as well.
                let _ = stopped.await;
            };
            let result = runtime.block_on(self.serve(doors, end));
            // Not waiting for a resolver or a decider that hangs.
            runtime.shutdown_background();
            result
        })?;
        Ok(Running { gate, names, stop: Some(stop), thread: Some(thread) })
    }

    /// What happened so far.
    pub fn report(&self) -> Report {
        self.house.gate.journal.report()
    }
}

impl Running {
    /// Says which name an address that the name server made up stands for, also
    /// after the end.
    pub fn names(&self) -> impl Fn(IpAddr) -> Option<String> + Send + Sync + 'static {
        let names = self.names.clone();
        move |address| match address {
            IpAddr::V4(address) => {
                let names = names.lock().unwrap_or_else(PoisonError::into_inner);
                names.name(address).map(String::from)
            }
            IpAddr::V6(_) => None,
        }
    }

    /// What happened so far.
    pub fn report(&self) -> Report {
        self.gate.journal.report()
    }

    /// Closes every connection and door, and says what happened.
    pub fn stop(mut self) -> Report {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A thread that has ended hears nothing.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A door that could not be used has refused everything already.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
