//! The signals that ask a command to stop, and what listens for them while the command works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use pipeline::Cancel;
use tokio::runtime::Runtime;

use crate::failure::Failure;
use crate::stderr;

/// How long the work may take to hear that it was cancelled; then the process ends without it. Nothing is lost: results are
/// written at the very end, whole.
const LONGEST_STOP: Duration = Duration::from_millis(800);

/// Whether results are being written.
static COMMITTED: AtomicBool = AtomicBool::new(false);

/// Says that results are being written, which a signal no longer stops. A second one does.
pub(crate) fn commit() {
    COMMITTED.store(true, Ordering::SeqCst);
}

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
            stderr::say("stopping … (once more to stop at once)");
            tokio::spawn(async {
                tokio::time::sleep(LONGEST_STOP).await;
                if !COMMITTED.load(Ordering::SeqCst) {
                    stderr::say(Failure::Cancelled);
                    std::process::exit(130);
                }
            });
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
