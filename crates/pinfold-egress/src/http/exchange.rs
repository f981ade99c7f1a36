//! One request and its answer between a client and an origin.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::WriteHalf;

use super::body::{Writing, copy_body};
use super::head::{Framing, RequestHead, ResponseHead, head_end, parse_response};
use crate::link::{Link, Source};

/// Time for the answer of an origin that does not want to read on.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// How an exchange ended.
pub(super) enum Ending {
    /// Both connections can be used again, each if it says so.
    Done(Reuse),
    /// Both sides speak another protocol from now on.
    Switched,
    /// The origin closed before it answered anything.
    Unanswered,
    /// The origin's answer makes no sense; nothing of it was passed on.
    BadAnswer(&'static str),
    /// Neither connection can be used any more.
    Broken,
}

/// Which connections outlive an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reuse {
    pub(super) client: bool,
    pub(super) origin: bool,
}

/// The end of the answer's direction.
enum Answer {
    Whole(Reuse),
    Switched,
    Unanswered,
    Bad(&'static str),
}

/// Bytes that went each way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Sends the head and both bodies. Request and answer flow at the same time, so
/// that an origin may answer early, and interim answers reach the client.
pub(super) async fn exchange(
    client: &mut Link,
    origin: &mut Link,
    request: &RequestHead,
    head: &[u8],
    most_head: usize,
    traffic: &mut Traffic,
) -> Ending {
    let (mut client_source, mut client_sink) = client.split();
    let (mut origin_source, mut origin_sink) = origin.split();
    let Traffic { sent, received } = traffic;
    *sent += head.len() as u64;
    let upload = async {
        origin_sink.write_all(head).await?;
        *sent +=
            copy_body(&mut client_source, &mut origin_sink, request.body, Writing::Chunked).await?;
        io::Result::Ok(())
    };
    let download = answer(&mut origin_source, &mut client_sink, request, most_head, received);
    tokio::pin!(upload, download);
    let mut uploaded = false;
    loop {
        tokio::select! {
            result = &mut upload, if !uploaded => match result {
                Ok(()) => uploaded = true,
                // The origin may have answered before it closed.
                Err(error) if is_closed(&error) => {
                    let last = tokio::time::timeout(LAST_ANSWER, download).await;
                    return last.map_or(Ending::Broken, |result| finish(result, false));
                }
                Err(_) => return Ending::Broken,
            },
            result = &mut download => return finish(result, uploaded),
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn finish(answer: io::Result<Answer>, uploaded: bool) -> Ending {
    match answer {
        Ok(Answer::Whole(reuse)) => Ending::Done(Reuse {
            client: reuse.client && uploaded,
            origin: reuse.origin && uploaded,
        }),
        Ok(Answer::Switched) => Ending::Switched,
        Ok(Answer::Unanswered) => Ending::Unanswered,
        Ok(Answer::Bad(why)) => Ending::BadAnswer(why),
        Err(_) => Ending::Broken,
    }
}

/// Passes on interim answers and the final one.
async fn answer(
    origin: &mut Source<'_>,
    client: &mut WriteHalf<'_>,
    request: &RequestHead,
    most_head: usize,
    received: &mut u64,
) -> io::Result<Answer> {
    loop {
        let head = match answer_head(origin, &request.method, most_head).await? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(Answer::Unanswered),
            Err(why) => return Ok(Answer::Bad(why)),
        };
        if head.status == 101 {
            if request.upgrade.is_none() {
                return Ok(Answer::Bad("it switches to a protocol that nobody asked for"));
            }
            client.write_all(&head.for_client(true, false)).await?;
            return Ok(Answer::Switched);
        }
        if head.status < 200 {
            if !request.version_1_0 {
                client.write_all(&head.for_client(true, false)).await?;
            }
            continue;
        }
        let chunked = head.body == Framing::Chunked && !request.version_1_0;
        let ends_by_closing = head.body == Framing::UntilClose
            || head.body == Framing::Chunked && request.version_1_0;
        let keep = request.keep_alive && !ends_by_closing;
        client.write_all(&head.for_client(keep, chunked)).await?;
        let writing = if chunked { Writing::Chunked } else { Writing::Plain };
        *received += copy_body(origin, client, head.body, writing).await?;
        return Ok(Answer::Whole(Reuse { client: keep, origin: head.keep_alive }));
    }
}

/// Reads one head; nothing when the origin closed instead.
async fn answer_head(
    origin: &mut Source<'_>,
    method: &str,
    most_head: usize,
) -> io::Result<Result<Option<ResponseHead>, &'static str>> {
    let mut seen = 0;
    loop {
        let bytes = origin.ahead().bytes();
        match head_end(bytes, seen) {
            Err(why) => return Ok(Err(why)),
            Ok(Some(end)) => {
                let head = origin.ahead().take(end);
                return Ok(parse_response(&head, method).map(Some));
            }
            Ok(None) if bytes.len() >= most_head => return Ok(Err("its head is too long")),
            Ok(None) => seen = bytes.len(),
        }
        match origin.fill().await {
            Ok(true) => {}
            Ok(false) if seen == 0 => return Ok(Ok(None)),
            Ok(false) => return Ok(Err("its head is not whole")),
            Err(_) if seen == 0 => return Ok(Ok(None)),
            Err(error) => return Err(error),
        }
    }
}
