//! Runs the HTTP library's own tasks on the worker that serves the connection.

use std::future::Future;

use hyper::rt::Executor;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> Executor<F> for Local
where
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
