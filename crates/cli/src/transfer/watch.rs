//! Watching a transfer: the progress bar and the trace folder.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::{OutputFormat, Picture, Progress, View};

use crate::failure::Failure;

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
        if let Ok(style) =
            ProgressStyle::with_template("{msg:10} {wide_bar} {percent:>3} %  {elapsed}, {eta} left")
        {
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
