//! Named tasks. A task that panics takes the process with it: half a broker is worse than none.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// A running task. Dropping the handle detaches it.
#[derive(Debug)]
pub struct TaskHandle<T = ()> {
    task: tokio::task::JoinHandle<T>,
}

/// The task was aborted, or it panicked inside the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task was aborted")]
pub struct Aborted;

impl<T> TaskHandle<T> {
    /// Stops the task at its next await.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end of the task.
    pub async fn join(self) -> Result<T, Aborted> {
        self.await
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, Aborted>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx).map(|end| end.map_err(|_| Aborted))
    }
}

/// Starts a task on the current runtime.
///
/// # Panics
/// Outside of a runtime.
pub fn spawn<F>(name: &'static str, future: F) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Spawner::current().spawn(name, future)
}

/// Runs `f` where it may block: on a bounded pool of threads. In the simulator it runs as a task, at once and alone.
pub fn spawn_blocking<T, F>(name: &'static str, f: F) -> TaskHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if super::is_simulated() {
        return spawn(name, async move { f() });
    }
    let task = tokio::task::spawn_blocking(move || {
        let _guard = PanicGuard(name);
        f()
    });
    TaskHandle { task }
}

/// Starts tasks from threads that are not the runtime's own.
#[derive(Debug, Clone)]
pub struct Spawner(tokio::runtime::Handle);

impl Spawner {
    /// The runtime this code runs on.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn current() -> Spawner {
        Spawner(tokio::runtime::Handle::current())
    }

    /// Starts a task on this runtime.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guarded = async move {
            let mut future = pin!(future);
            // Around each poll, not around the task's life: a task may be dropped by a runtime that someone else's
            // panic unwinds.
            poll_fn(|cx| {
                let _guard = PanicGuard(name);
                future.as_mut().poll(cx)
            })
            .await
        };
        #[cfg(feature = "sim")]
        if let Some(world) = super::sim::current() {
            return TaskHandle {
                task: self.0.spawn(super::sim::within(world, guarded)),
            };
        }
        TaskHandle {
            task: self.0.spawn(guarded),
        }
    }
}

/// Builds the runtime of a program. `workers` 0 means one per processor.
pub fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder
        .thread_name("mq-worker")
        .max_blocking_threads(64)
        .enable_all()
        .build()
}

/// Dropped while a panic unwinds: says which task it was, then ends the process.
pub(super) struct PanicGuard(pub(super) &'static str);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        tracing::error!(task = self.0, "task panicked");
        #[cfg(feature = "sim")]
        if let Some(world) = super::sim::current() {
            world.note_panic(self.0);
            return;
        }
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_dropped_by_a_foreign_panic_is_not_a_panic_of_its_own() {
        let outcome = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                spawn("bystander", std::future::pending::<()>());
                tokio::task::yield_now().await;
                panic!("a failing test");
            });
        });
        assert!(outcome.is_err(), "and this process lives");
    }

    #[tokio::test]
    async fn an_aborted_task_says_so() {
        let task = spawn("endless", std::future::pending::<()>());
        task.abort();
        assert_eq!(task.join().await, Err(Aborted));
        assert_eq!(spawn_blocking("sum", || 1 + 1).join().await, Ok(2));
    }
}
