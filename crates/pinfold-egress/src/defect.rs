//! A defect of the proxy ends one connection, not the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The name of the proxy's thread, by which a panic hook knows that a panic on it is
/// caught.
pub const THREAD: &str = "egress";

/// A panic where work was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Defect;

/// Does work that cannot be waited for. What it shares is behind locks that outlive a panic.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, Defect> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| Defect)
}

/// The same for work that waits.
pub(crate) struct Guarded<'w, F>(pub(crate) Pin<&'w mut F>);

impl<F: Future> Future for Guarded<'_, F> {
    type Output = Result<F::Output, Defect>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match guarded(|| self.0.as_mut().poll(context)) {
            Ok(polled) => polled.map(Ok),
            Err(defect) => Poll::Ready(Err(defect)),
        }
    }
}
