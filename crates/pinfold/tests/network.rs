//! A program that decides about hosts itself, and is told of everything.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pinfold::{Answer, Caller, Event, Options, Question, Remember, Sandbox};

/// A directory to work in, removed afterwards.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn callbacks_answer_questions_and_hear_of_every_connection() {
    let work = Work(PathBuf::from(format!("/var/tmp/pinfold-library-{}", std::process::id())));
    std::fs::create_dir_all(&work.0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let caller = Caller::at_root().in_directory(work.0.as_os_str()).unwrap();
    for allow in [true, false] {
        let questions: Arc<Mutex<Vec<Question>>> = Arc::default();
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let (asked, told) = (questions.clone(), events.clone());
        let mut options = Options::default();
        options.request.hosts = vec![format!("127.0.0.1:{port}=ask")];
        options.network.decide = Some(Arc::new(move |question: &Question| {
            asked.lock().unwrap().push(question.clone());
            Answer { allow, remember: Remember::Run }
        }));
        options.network.observer =
            Some(Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone())));
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET http://127.0.0.1:{port}/ HTTP/1.1\\r\\n\
             Host: 127.0.0.1:{port}\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -1 <&3 | grep -q ' 200 '"
        );
        let sandbox = Sandbox::open(&caller, &options).unwrap();
        let outcome = sandbox.run(&["bash".into(), "-c".into(), script.into()]).unwrap();
        assert_eq!(outcome.ended.status.code() == 0, allow);
        let questions = questions.lock().unwrap();
        assert_eq!(questions.len(), 1, "{questions:?}");
        assert_eq!(questions[0].port, port);
        let events = events.lock().unwrap();
        let reached = |event: &Event| match event {
            Event::Allowed { request, .. } => request.port == port && allow,
            Event::Refused(refusal) => !allow && refusal.request.is_some(),
            Event::Closed { .. } => false,
        };
        assert!(events.iter().any(reached), "{events:?}");
        // The list of denials is kept beside.
        assert_eq!(outcome.denials.unwrap().list.len(), usize::from(!allow));
    }
}
