//! Names that appear in directories: inotify, with an instance of its own for a run,
//! and one for all sessions of this process, of which a user may have only 128
//! (`fs.inotify.max_user_instances`).

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::call;
use super::raw::Errno;

/// The number of a watch and a name in its directory.
pub(crate) type Event = (i32, Vec<u8>);

/// Where events come from.
pub(crate) enum Inotify {
    /// Nothing is watched.
    Nothing,
    /// An instance of its own.
    Own(i32),
    /// The instance of all sessions.
    Shared(Subscriber),
}

impl Inotify {
    pub(crate) fn own() -> Result<Inotify, Errno> {
        call::inotify_init().map(Inotify::Own)
    }

    pub(crate) fn shared() -> Result<Inotify, Errno> {
        Subscriber::new().map(Inotify::Shared)
    }

    /// Ready for reading when something has appeared; -1 for none.
    pub(crate) fn descriptor(&self) -> i32 {
        match self {
            Inotify::Nothing => -1,
            Inotify::Own(descriptor) => *descriptor,
            Inotify::Shared(subscriber) => subscriber.mailbox.ready,
        }
    }

    /// Watches a directory; the number of the watch.
    pub(crate) fn add(&mut self, directory: &CStr) -> Result<i32, Errno> {
        match self {
            Inotify::Nothing => Err(Errno(libc::EBADF)),
            Inotify::Own(descriptor) => call::inotify_add_watch(*descriptor, directory),
            Inotify::Shared(subscriber) => subscriber.add(directory),
        }
    }

    /// What has appeared since the last time. A negative number stands for watches that
    /// are not known, because there was too much.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        match self {
            Inotify::Nothing => Vec::new(),
            Inotify::Own(descriptor) => read_events(*descriptor),
            Inotify::Shared(subscriber) => subscriber.mailbox.take(),
        }
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        if let Inotify::Own(descriptor) = self {
            call::close(*descriptor);
        }
    }
}

/// What is waiting on a descriptor.
fn read_events(inotify: i32) -> Vec<Event> {
    let mut events = Vec::new();
    let mut buffer = [0u8; 8192];
    while let Ok(length) = call::read(inotify, &mut buffer) {
        if length == 0 {
            break;
        }
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((event, after)) = parse(rest) {
            rest = after;
            events.push(event);
        }
    }
    events.dedup();
    events
}

/// Takes one `struct inotify_event` off the front of `bytes`.
fn parse(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let length = word(12)? as usize;
    let name = bytes.get(16..16 + length)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Some(((word(0)? as i32, name.get(..end)?.to_vec()), bytes.get(16 + length..)?))
}

/// The one instance, as long as anybody uses it.
static EXCHANGE: Mutex<Option<Exchange>> = Mutex::new(None);

struct Exchange {
    inotify: i32,
    /// Ends the thread that reads.
    stop: i32,
    subscribers: usize,
    /// Who wants to hear of each watch.
    wanted: HashMap<i32, Vec<Arc<Mailbox>>>,
}

/// Events for one subscriber.
struct Mailbox {
    /// An event descriptor, ready when there are some.
    ready: i32,
    events: Mutex<Vec<Event>>,
}

/// Somebody who watches directories with others.
pub(crate) struct Subscriber {
    mailbox: Arc<Mailbox>,
    watches: Vec<i32>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    fn put(&self, event: Event) {
        locked(&self.events).push(event);
        let _ = call::write(self.ready, &1u64.to_ne_bytes());
    }

    fn take(&self) -> Vec<Event> {
        let mut events = locked(&self.events);
        let _ = call::read(self.ready, &mut [0; 8]);
        let mut taken = std::mem::take(&mut *events);
        taken.dedup();
        taken
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        call::close(self.ready);
    }
}

impl Subscriber {
    fn new() -> Result<Subscriber, Errno> {
        let mailbox = Arc::new(Mailbox { ready: call::eventfd()?, events: Mutex::default() });
        let mut exchange = locked(&EXCHANGE);
        if exchange.is_none() {
            *exchange = Some(Exchange::open()?);
        }
        if let Some(exchange) = &mut *exchange {
            exchange.subscribers += 1;
        }
        Ok(Subscriber { mailbox, watches: Vec::new() })
    }

    fn add(&mut self, directory: &CStr) -> Result<i32, Errno> {
        let mut exchange = locked(&EXCHANGE);
        let exchange = exchange.as_mut().ok_or(Errno(libc::EBADF))?;
        // For a directory that is watched already, the same number.
        let number = call::inotify_add_watch(exchange.inotify, directory)?;
        if !self.watches.contains(&number) {
            self.watches.push(number);
            exchange.wanted.entry(number).or_default().push(self.mailbox.clone());
        }
        Ok(number)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut shared = locked(&EXCHANGE);
        let Some(exchange) = &mut *shared else { return };
        for number in &self.watches {
            let Some(wanting) = exchange.wanted.get_mut(number) else { continue };
            wanting.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
            if wanting.is_empty() {
                exchange.wanted.remove(number);
                // One whose directory is gone has ended by itself.
                let _ = call::inotify_rm_watch(exchange.inotify, *number);
            }
        }
        exchange.subscribers -= 1;
        if exchange.subscribers == 0 {
            let _ = call::write(exchange.stop, &1u64.to_ne_bytes());
            *shared = None;
        }
    }
}

impl Exchange {
    fn open() -> Result<Exchange, Errno> {
        let inotify = call::inotify_init()?;
        let stop = call::eventfd().inspect_err(|_| call::close(inotify))?;
        let thread = std::thread::Builder::new().name(String::from("pinfold-inotify"));
        thread.spawn(move || deliver(inotify, stop)).map_err(|error| {
            call::close(inotify);
            call::close(stop);
            Errno(error.raw_os_error().unwrap_or(libc::EAGAIN))
        })?;
        Ok(Exchange { inotify, stop, subscribers: 0, wanted: HashMap::new() })
    }
}

/// Hands events out until nobody is left who wants any.
fn deliver(inotify: i32, stop: i32) {
    let mut polled =
        [inotify, stop].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        let _ = call::ppoll(&mut polled, None);
        if polled[1].revents != 0 {
            break;
        }
        let events = read_events(inotify);
        let exchange = locked(&EXCHANGE);
        let wanted = exchange.as_ref().map(|exchange| &exchange.wanted);
        for (number, name) in events {
            let everybody = number < 0;
            let wanting =
                wanted.into_iter().flatten().filter(|(of, _)| everybody || **of == number);
            wanting.flat_map(|(_, mailboxes)| mailboxes).for_each(|mailbox| {
                mailbox.put((number, name.clone()));
            });
        }
    }
    call::close(inotify);
    call::close(stop);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn until_events(inotify: &mut Inotify) -> Vec<Event> {
        let fd = inotify.descriptor();
        let mut polled = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        let limit = libc::timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(call::ppoll(&mut polled, Some(limit)), Ok(1), "nothing was told");
        inotify.events()
    }

    #[test]
    fn subscribers_of_one_directory_all_hear_and_leave_each_other_alone() {
        let root = std::env::temp_dir().join(format!("pinfold-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let name = CString::new(root.to_str().unwrap()).unwrap();
        let mut first = Inotify::shared().unwrap();
        let mut second = Inotify::shared().unwrap();
        let number = first.add(&name).unwrap();
        assert_eq!(second.add(&name).unwrap(), number);
        std::fs::write(root.join("a"), "").unwrap();
        for one in [&mut first, &mut second] {
            assert_eq!(until_events(one), [(number, b"a".to_vec())]);
        }
        drop(first);
        std::fs::write(root.join("b"), "").unwrap();
        assert_eq!(until_events(&mut second), [(number, b"b".to_vec())]);
        assert_eq!(second.events(), []);
        std::fs::remove_dir_all(root).unwrap();
    }
}
