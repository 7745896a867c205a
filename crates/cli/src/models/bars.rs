//! Downloads as they are seen at the terminal: one bar a file, or one line a file where there is no terminal.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::hub::{Manifest, PullProgress, Size};

/// Tells on standard error how downloads go.
pub(super) struct Bars {
    all: MultiProgress,
    /// Whether bars are drawn at all.
    drawn: bool,
    by_name: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    /// Bars are drawn at a terminal, unless `plain` lines are wanted.
    pub(super) fn new(plain: bool) -> Self {
        let drawn = !plain && std::io::stderr().is_terminal();
        let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { all: MultiProgress::with_draw_target(target), drawn, by_name: Mutex::default() }
    }

    /// Takes what is drawn off the screen.
    pub(super) fn clear(&self) {
        // A terminal that takes no more is none of the download's business.
        let _ = self.all.clear();
    }

    /// A line above the bars.
    fn say(&self, line: &str) {
        if self.drawn {
            let _ = self.all.println(line);
        } else {
            crate::stderr::say(line);
        }
    }

    fn bars(&self) -> MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's bar, drawn from now on.
    fn bar(&self, manifest: &Manifest) -> ProgressBar {
        let mut bars = self.bars();
        let bar = bars.entry(manifest.name.clone()).or_insert_with(|| self.all.add(new_bar(&manifest.name)));
        bar.clone()
    }
}

impl PullProgress for Bars {
    fn plan(&self, absent: &[(&Manifest, u64)], needed: u64) {
        for (manifest, size) in absent {
            let Manifest { name, licence, licence_url, .. } = manifest;
            self.say(&format!("{name}: {}, licence: {licence} ({licence_url})", Size::exact(*size)));
        }
        let (count, all) = (absent.len(), absent.iter().map(|(_, size)| size).sum::<u64>());
        let begun =
            if needed < all { format!(" (of {}, begun before)", Size::exact(all)) } else { String::new() };
        let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        self.say(&format!("{files}, {} to download{begun}", Size::exact(needed)));
    }

    fn begin(&self, manifest: &Manifest, size: u64) {
        let bar = self.bar(manifest);
        bar.set_length(size);
        bar.set_position(0);
        bar.set_message("");
    }

    fn advance(&self, manifest: &Manifest, bytes: u64) {
        let bar = self.bar(manifest);
        bar.inc(bytes);
        if bar.length().is_some_and(|length| bar.position() >= length) {
            bar.set_message("checking");
        }
    }

    fn again(&self, manifest: &Manifest, reason: &str, pause: Duration) {
        self.say(&format!("{}: {reason}; next attempt in {} s", manifest.name, pause.as_secs()));
    }

    fn finish(&self, manifest: &Manifest, _path: &Path) {
        let bar = self.bars().remove(&manifest.name);
        let size = bar.as_ref().and_then(ProgressBar::length).unwrap_or_default();
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.say(&format!("{}: complete, {}", manifest.name, Size::exact(size)));
    }
}

fn new_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(name.to_owned());
    // The template is a constant; should it ever be bad, the default one serves.
    let template = "{prefix:28} {wide_bar} {decimal_bytes:>9} / {decimal_total_bytes:<9} {decimal_bytes_per_sec:>11} {eta:>4} {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
