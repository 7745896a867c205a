//! Watching a transfer: the progress bar, the trace folder, and Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::{Cancel, OutputFormat, Picture, Progress, View};
use tokio::runtime::Runtime;

use crate::failure::Failure;
use crate::signal;

/// How often waiting code looks whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

/// Shows progress on standard error and, if asked, keeps what the stages make.
pub(crate) struct Watch {
    /// Draws nothing where standard error is no terminal.
    bar: ProgressBar,
    trace: Option<Trace>,
}

/// A folder of numbered files, and what went wrong with one of them first.
struct Trace {
    folder: PathBuf,
    next: AtomicUsize,
    trouble: Mutex<Option<anyhow::Error>>,
}

impl Watch {
    pub(crate) fn new(trace: Option<&Path>, quiet: bool) -> Result<Self, Failure> {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant; should it ever be bad, the default one serves.
        if let Ok(style) = ProgressStyle::with_template("{msg:10} {wide_bar} {percent:>3} %  {elapsed}") {
            bar.set_style(style);
        }
        let trace = trace.map(Trace::new).transpose()?;
        Ok(Self { bar, trace })
    }

    /// Puts a picture into the trace.
    pub(crate) fn keep(&self, what: &str, picture: &Picture) {
        self.observe(what, &|| View::Picture(picture.clone()));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The first file of the trace that could not be written.
    pub(crate) fn trouble(&self) -> Result<(), Failure> {
        let first = self.trace.as_ref().and_then(|trace| trace.trouble.lock().ok()?.take());
        first.map_or(Ok(()), |error| Err(Failure::Fault(error)))
    }
}

impl Progress for Watch {
    fn advance(&self, stage: &'static str, done: usize, total: usize) {
        self.bar.set_message(stage);
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    fn observe(&self, what: &str, look: &dyn Fn() -> View) {
        if let Some(trace) = &self.trace
            && let Err(error) = trace.write(what, look())
            && let Ok(mut trouble) = trace.trouble.lock()
        {
            trouble.get_or_insert(error);
        }
    }
}

impl Trace {
    fn new(folder: &Path) -> Result<Self, Failure> {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|error| Failure::Input(format!("--trace {}: {error}", folder.display())))?;
        Ok(Self { folder: folder.to_owned(), next: AtomicUsize::new(0), trouble: Mutex::new(None) })
    }

    fn write(&self, what: &str, view: View) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = |extension: &str| self.folder.join(format!("{number:02}-{what}.{extension}"));
        match view {
            View::Picture(picture) => {
                let path = name("png");
                let file = picture.encode(OutputFormat::Png, 0)?;
                std::fs::write(&path, file).with_context(|| format!("--trace {}", path.display()))
            }
            View::Tensor(tensor) => {
                let path = name("safetensors");
                tensor.save_safetensors(what, &path).with_context(|| format!("--trace {}", path.display()))
            }
        }
    }
}

/// A flag that Ctrl-C (or SIGTERM) raises. The second signal ends the process on the spot.
pub(crate) fn cancel_on_signal(runtime: &Runtime) -> Cancel {
    let cancel = Cancel::default();
    let flag = cancel.clone();
    runtime.spawn(async move {
        while signal::stop().await.is_ok() {
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
