//! HTTP/1: heads, bodies, and one decision per request.

mod body;
mod exchange;
mod head;
mod headers;
mod serve;

pub(crate) use head::first_line_is_request;
pub(crate) use serve::{Route, Scope, is_web, serve};
