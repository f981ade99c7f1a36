//! Questions to whoever decides about hosts with an `ask` rule.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pinfold_policy::net::Host;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::gate::Request;
use crate::refusal::{Protocol, Reason};

/// A question: may the command reach this?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// How the client spoke.
    pub protocol: Protocol,
    /// The rule that says to ask.
    pub rule: String,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the command may.
    pub allow: bool,
    /// How long the answer holds.
    pub remember: Remember,
}

/// How long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remember {
    /// For those who are waiting; the next connection asks again.
    Once,
    /// Until the run ends.
    Run,
}

/// Answers questions. It is called on a thread of its own and may take its time;
/// who waits longer than the bound is refused, and a late answer still counts
/// for later connections.
pub type Decider = Arc<dyn Fn(&Question) -> Answer + Send + Sync>;

/// Where the answers appear.
type Asked = HashMap<(Host, u16), watch::Receiver<Option<Answer>>>;

/// The questions of a run: one per host and port, however many wait for it.
pub(crate) struct Book {
    decider: Option<Decider>,
    time: Duration,
    asked: Arc<Mutex<Asked>>,
}

impl Book {
    pub(crate) fn new(decider: Option<Decider>, time: Duration) -> Book {
        Book { decider, time, asked: Arc::default() }
    }

    /// Asks, or waits for the answer to the same question; no answer is no.
    pub(crate) async fn ask(&self, request: &Request, rule: &str) -> Result<(), (Reason, String)> {
        let Some(decider) = &self.decider else {
            return Err((
                Reason::AskDenied,
                "the rule says to ask, and nobody can be asked".into(),
            ));
        };
        let mut answers = self.question(decider, request, rule);
        let answered = answers.wait_for(Option::is_some);
        match tokio::time::timeout(self.time, answered).await {
            Ok(Ok(answer)) if answer.is_some_and(|answer| answer.allow) => Ok(()),
            Ok(Ok(_)) => Err((Reason::AskDenied, "whoever was asked said no".into())),
            Ok(Err(_)) => Err((Reason::AskDenied, "whoever was asked gave no answer".into())),
            Err(_) => {
                Err((Reason::AskTimeout, "no answer in time; try again once approved".into()))
            }
        }
    }

    /// Where the answer will appear. The question lives on when whoever asked
    /// first has gone.
    fn question(
        &self,
        decider: &Decider,
        request: &Request,
        rule: &str,
    ) -> watch::Receiver<Option<Answer>> {
        let key = (request.host.clone(), request.port);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answers) = asked.get(&key) {
            return answers.clone();
        }
        let (sender, answers) = watch::channel(None);
        asked.insert(key.clone(), answers.clone());
        let question = Question {
            host: request.host.clone(),
            port: request.port,
            protocol: request.protocol,
            rule: rule.into(),
        };
        let (decider, asked) = (decider.clone(), self.asked.clone());
        tokio::task::spawn_blocking(move || {
            let answer = decider(&question);
            if answer.remember == Remember::Once {
                asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            }
            // Nobody may be waiting any more.
            let _ = sender.send(Some(answer));
        });
        answers
    }
}

/// A program that decides: it reads one question per line and writes one answer
/// per line, both JSON.
///
/// ```text
/// {"v":1,"id":1,"host":"a.example","port":443,"protocol":"connect","rule":"*"}
/// {"id":1,"decision":"allow","remember":"run"}
/// ```
/// `remember` is `once` or `run` (the default). Anything that is not the answer
/// to the question, and the end of the program, is no.
pub struct Program<W, R> {
    pipes: Mutex<Pipes<W, R>>,
}

struct Pipes<W, R> {
    questions: W,
    answers: R,
    id: u64,
    broken: bool,
}

#[derive(Serialize)]
struct WireQuestion<'q> {
    v: u8,
    id: u64,
    host: String,
    port: u16,
    protocol: &'static str,
    rule: &'q str,
}

#[derive(Deserialize)]
struct WireAnswer {
    id: u64,
    decision: WireDecision,
    #[serde(default = "for_the_run")]
    remember: Remember,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum WireDecision {
    Allow,
    Deny,
}

fn for_the_run() -> Remember {
    Remember::Run
}

impl<W: Write + Send + 'static, R: BufRead + Send + 'static> Program<W, R> {
    /// A program by its standard input and output.
    pub fn new(questions: W, answers: R) -> Program<W, R> {
        Program { pipes: Mutex::new(Pipes { questions, answers, id: 0, broken: false }) }
    }

    /// The decider that asks this program, one question at a time.
    pub fn decider(self) -> Decider {
        Arc::new(move |question| {
            let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
            pipes.ask(question).unwrap_or(Answer { allow: false, remember: Remember::Run })
        })
    }
}

impl<W: Write, R: BufRead> Pipes<W, R> {
    fn ask(&mut self, question: &Question) -> Option<Answer> {
        if self.broken {
            return None;
        }
        self.id += 1;
        let answer = self.exchange(question);
        // After one bad line nothing tells which answer belongs to which question.
        self.broken = answer.is_none();
        answer
    }

    fn exchange(&mut self, question: &Question) -> Option<Answer> {
        let host = match &question.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        };
        let wire = WireQuestion {
            v: 1,
            id: self.id,
            host,
            port: question.port,
            protocol: question.protocol.word(),
            rule: &question.rule,
        };
        let mut line = serde_json::to_vec(&wire).ok()?;
        line.push(b'\n');
        self.questions.write_all(&line).ok()?;
        self.questions.flush().ok()?;
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(&mut self.answers, 64 * 1024);
        limited.read_until(b'\n', &mut line).ok()?;
        let answer: WireAnswer = serde_json::from_slice(&line).ok()?;
        let allow = answer.decision == WireDecision::Allow;
        (answer.id == self.id).then_some(Answer { allow, remember: answer.remember })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_answers_by_line_and_anything_else_is_no() {
        for (name, output, expected) in [
            ("yes", "{\"id\":1,\"decision\":\"allow\"}\n", (true, Remember::Run)),
            (
                "yes, once",
                "{\"id\":1,\"decision\":\"allow\",\"remember\":\"once\"}\n",
                (true, Remember::Once),
            ),
            ("no", "{\"id\":1,\"decision\":\"deny\"}\n", (false, Remember::Run)),
            ("garbage", "yes\n", (false, Remember::Run)),
            ("nothing", "", (false, Remember::Run)),
            ("another question's", "{\"id\":2,\"decision\":\"allow\"}\n", (false, Remember::Run)),
            ("an unknown decision", "{\"id\":1,\"decision\":\"maybe\"}\n", (false, Remember::Run)),
        ] {
            let decider = Program::new(Vec::new(), output.as_bytes()).decider();
            let question = Question {
                host: Host::Name("a.test".into()),
                port: 443,
                protocol: Protocol::Connect,
                rule: "*".into(),
            };
            let answer = decider(&question);
            assert_eq!((answer.allow, answer.remember), expected, "{name}");
        }
    }
}
