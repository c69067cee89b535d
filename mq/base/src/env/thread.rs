//! Named threads, for work that blocks all its life (the log writer). The simulator has none.

use super::task::PanicGuard;

/// Starts a thread; a panic in it ends the process.
///
/// # Panics
/// Inside the simulator, which is single-threaded, and when the system refuses a thread at start-up.
pub fn spawn<T, F>(name: &'static str, f: F) -> std::thread::JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    assert!(!super::is_simulated(), "thread `{name}` started inside the simulator");
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = PanicGuard(name);
            f()
        })
        .unwrap_or_else(|error| panic!("start thread `{name}`: {error}"))
}
