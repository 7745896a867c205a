//! The log of a server on standard error, which costs lines where it cannot be written and never an answer.
//!
//! Whoever logs puts the line into a bounded queue and goes on; one thread writes. A reader that stalls, a closed pipe or a
//! full disk therefore stops that thread only. Lines that found the queue full, or could not be written, are counted, and
//! the count is told once lines arrive again.

use std::fs::File;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::failure::Failure;

/// Lines that may wait: with [`LONGEST`] at most 16 MiB, and a second or more of the busiest log.
const QUEUE: usize = 4096;
/// A line is cut off here, in bytes.
const LONGEST: usize = 4096;
/// How often [`Lines::flush`] looks whether there is room in the queue.
const GLANCE: Duration = Duration::from_millis(5);

/// What is logged. A lone word is taken for a level and nothing else: the library takes a misspelt one for a module's name,
/// and the log would be empty.
///
/// # Errors
/// [`Failure::Input`] for what is no filter.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, Failure> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let refused = |reason: String| Failure::Input(format!("--log {text:?}: {reason}"));
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    if let Some(word) = words.into_iter().find(|word| {
        !word.contains(['=', '[']) && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
    }) {
        return Err(refused(format!(
            "{word:?} is no level; choose one of {}, or module=level",
            LEVELS.join(", ")
        )));
    }
    EnvFilter::try_new(text).map_err(|error| refused(error.to_string()))
}

/// A writer for `tracing_subscriber` that never blocks and never fails.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered when all before it has been written or lost.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `target`.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub(crate) fn to(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Self { queue, lost: lost.clone() };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write(target, &waiting, &lost))?;
        Ok(lines)
    }

    /// Waits until what was logged so far is written, but no longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= end {
                return;
            }
            std::thread::sleep(GLANCE);
            message = back;
        }
        let _ = wait.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// One call is one line: `tracing_subscriber` writes each event whole.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = line[..line.len().min(LONGEST)].to_vec();
        if kept.len() < line.len() {
            kept.extend("…\n".as_bytes());
        }
        if self.queue.try_send(Message::Line(kept)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes until nobody can log any more.
fn write(mut target: impl Write, waiting: &Receiver<Message>, lost: &AtomicU64) {
    for message in waiting {
        match message {
            Message::Line(line) if target.write_all(&line).is_err() => {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            Message::Line(_) => {
                let lines = lost.swap(0, Ordering::Relaxed);
                if lines > 0 {
                    tracing::warn!(
                        lines,
                        "lines of the log were lost: it could not be written, or not as fast"
                    );
                }
            }
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Standard error, apart from the lock that all others who write to it share: a write that hangs holds up nobody.
pub(crate) fn standard_error() -> io::Result<impl Write + Send + 'static> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }
    #[cfg(windows)]
    {
        use std::os::windows::io::AsHandle;
        Ok(File::from(io::stderr().as_handle().try_clone_to_owned()?))
    }
}

/// Lets panics be told in the log, as the standard hook writes to standard error itself and waits for it.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let reason = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Empty unless RUST_BACKTRACE asks for it.
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), place, reason, "panic\n{trace}");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A target that fails, hangs or takes lines as it is told.
    #[derive(Clone, Default)]
    struct Target {
        taken: Arc<Mutex<Vec<u8>>>,
        broken: Arc<AtomicU64>,
    }

    impl Write for Target {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.broken.load(Ordering::Relaxed) > 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.lock().expect("no panic").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for good in ["info", "WARN", "server=debug,info", "off", "warn,hyper=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["debgu", "info,server", "server=loud"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }

    fn patience() -> Duration {
        Duration::from_secs(20)
    }

    #[test]
    fn lines_arrive_in_order_and_long_ones_are_cut() {
        let target = Target::default();
        let lines = Lines::to(target.clone()).expect("a thread");
        (&lines).write_all(b"one\n").expect("never fails");
        (&lines).write_all(&[b'x'; 3 * LONGEST]).expect("never fails");
        lines.flush(patience());
        let taken = target.taken.lock().expect("no panic").clone();
        assert!(taken.starts_with(b"one\nxxx") && taken.ends_with("x…\n".as_bytes()));
        assert_eq!(taken.len(), 4 + LONGEST + "…\n".len());
    }

    #[test]
    fn what_a_broken_target_cost_is_counted() {
        let target = Target::default();
        target.broken.store(1, Ordering::Relaxed);
        let lines = Lines::to(target.clone()).expect("a thread");
        for _ in 0..10 {
            (&lines).write_all(b"lost\n").expect("never fails");
        }
        lines.flush(patience());
        assert_eq!(lines.lost.load(Ordering::Relaxed), 10);
        target.broken.store(0, Ordering::Relaxed);
        (&lines).write_all(b"back\n").expect("never fails");
        lines.flush(patience());
        assert_eq!(lines.lost.load(Ordering::Relaxed), 0, "told");
        assert_eq!(*target.taken.lock().expect("no panic"), b"back\n");
    }

    #[test]
    fn a_target_that_hangs_holds_nobody_up() {
        // A pipe that nobody reads takes 64 KiB and then hangs.
        let (reader, writer) = io::pipe().expect("a pipe");
        let lines = Lines::to(writer).expect("a thread");
        let many = 3 * QUEUE;
        for _ in 0..many {
            (&lines).write_all(&[b'x'; 100]).expect("never fails");
        }
        assert!(lines.lost.load(Ordering::Relaxed) > 0, "more than pipe and queue hold");
        let began = Instant::now();
        lines.flush(Duration::from_millis(50));
        assert!(began.elapsed() < patience());
        drop(reader);
    }
}
