//! The signals that ask a command to stop.

/// Resolves when Ctrl-C (or SIGTERM) is sent next.
#[cfg(unix)]
pub(crate) async fn stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Resolves when Ctrl-C is sent next.
#[cfg(not(unix))]
pub(crate) async fn stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
