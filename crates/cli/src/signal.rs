//! The signals that ask a command to stop, and what listens for them while the command works.

use std::time::Duration;

use anyhow::Context;
use pipeline::Cancel;
use tokio::runtime::Runtime;

use crate::failure::Failure;

/// How often waiting code looks whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

/// Where a command at the terminal listens: one thread, beside those that work.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    Ok(runtime.context("the signal handler does not start")?)
}

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

/// A flag that Ctrl-C (or SIGTERM) raises. The second signal ends the process on the spot.
pub(crate) fn cancel_on_stop(runtime: &Runtime) -> Cancel {
    let cancel = Cancel::default();
    let flag = cancel.clone();
    runtime.spawn(async move {
        while stop().await.is_ok() {
            if flag.is_raised() {
                std::process::exit(130);
            }
            flag.raise();
            eprintln!("stopping … (once more to stop at once)");
        }
    });
    cancel
}

/// Resolves soon after `cancel` was raised.
pub(crate) async fn raised(cancel: &Cancel) {
    while !cancel.is_raised() {
        tokio::time::sleep(GLANCE).await;
    }
}
