//! Standard error: what is said beside the result. Nobody listening (a closed pipe, a full disk) is no reason to fail.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

/// How long the last words wait for a reader that has stalled.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Says one line, if anybody can hear it.
pub(crate) fn say(line: impl Display) {
    // One write, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says what the process ends with, and ends anyhow if nobody reads.
pub(crate) fn last_words(line: impl Display) {
    let line = line.to_string();
    let (done, wait) = std::sync::mpsc::sync_channel(1);
    let spoken = std::thread::Builder::new().spawn(move || {
        say(line);
        let _ = done.send(());
    });
    if spoken.is_ok() {
        let _ = wait.recv_timeout(LAST_WORDS);
    }
}
