//! `pinfold mcp`: one session for a model, over the Model Context Protocol.
//! `docs/mcp.md` is what it promises.
//!
//! The protocol itself is that of `rmcp`; commands, their output and their end are
//! those of `serve`.

mod arguments;
mod explain;
mod home;
mod output;
mod tools;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio::io::{AsyncRead, ReadBuf, Stdin};

use pinfold::Level;

use crate::arguments::Parsed;
use crate::run::{caller, options};
use crate::serve::message::Fault;
use crate::terminal::{Failure, failed};
use home::{Current, Home};

/// What a model reads before it sees the tools.
const INSTRUCTIONS: &str = "Runs commands in one sandbox, enforced by the operating system. Files, \
    background processes and /tmp stay between calls. When something fails with \"Permission \
    denied\", \"Read-only file system\", a missing file that should exist, or no network, ask \
    \"explain\" about that path or host: it says which rule decides and what would allow it. \
    No tool can widen the sandbox; tell the user the option that \"explain\" names.";

/// What a tool answers.
struct Reply {
    text: String,
    structured: Value,
}

/// `pinfold mcp`.
pub(crate) fn mcp(parsed: &Parsed) -> Result<i32, Failure> {
    let mut options = options(parsed)?;
    if !parsed.has("log-denials") {
        // What failed and why is what a model asks next.
        options.denials.level = Some(Level::Writes);
    }
    pinfold_sys::open_as_many_as_allowed();
    let home = Arc::new(Home::new(caller(parsed)?, options));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| failed(&format!("cannot start: {error}"), "run \"pinfold doctor\""))?;
    let served = runtime.block_on(serve(&home));
    home.end();
    // A thread may still wait for input that never comes.
    runtime.shutdown_background();
    served
}

/// Speaks with the client until its end.
async fn serve(home: &Arc<Home>) -> Result<i32, Failure> {
    let input = Input { inner: tokio::io::stdin(), home: home.clone() };
    let tools = Tools { home: home.clone() };
    match tools.serve((input, tokio::io::stdout())).await {
        Ok(running) => {
            // That it ended is all there is to know: nobody hears more.
            let _ = running.waiting().await;
            Ok(0)
        }
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(0),
        Err(error) => Err(failed(
            &format!("cannot speak with the client: {error}"),
            "start \"pinfold mcp\" from a client of the Model Context Protocol",
        )),
    }
}

/// Standard input. At its end, everything in the session ends as well, so that no
/// call is left that could be waited for.
struct Input {
    inner: Stdin,
    home: Arc<Home>,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(task, buffer);
        if matches!(&polled, Poll::Ready(read) if read.is_err() || buffer.filled().len() == before)
        {
            self.home.close();
        }
        polled
    }
}

/// The tools, as `rmcp` asks for them.
struct Tools {
    home: Arc<Home>,
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("pinfold", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        asked: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let current = Arc::new(Current::default());
        let (home, noted) = (self.home.clone(), current.clone());
        // Commands are waited for on a thread of their own.
        let mut call = tokio::task::spawn_blocking(move || {
            let arguments = Value::Object(request.arguments.unwrap_or_default());
            tools::call(&home, &noted, &request.name, arguments)
        });
        let done = tokio::select! {
            done = &mut call => done,
            () = asked.ct.cancelled() => {
                current.cancel();
                call.await
            }
        };
        let done = done.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(match done {
            Ok(Reply { text, structured }) => {
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(structured);
                result
            }
            Err(fault) => CallToolResult::error(vec![ContentBlock::text(complaint(&fault))]),
        }
        .into())
    }
}

/// What went wrong and what to do, for a model to read.
fn complaint(fault: &Fault) -> String {
    match &fault.hint {
        Some(hint) => format!("error: {}\nhint: {hint}", fault.message),
        None => format!("error: {}", fault.message),
    }
}
