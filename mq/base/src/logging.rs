//! Log lines of a program: to stderr, filtered by `RUST_LOG` (default `info`, of openraft only errors), coloured only on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. A second call in one process does nothing.
pub fn init(program: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    if started.is_ok() {
        tracing::debug!(program, "logging started");
    }
}
