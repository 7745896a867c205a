//! What is said at the end: a few lines for people, or one JSON object for programs.

use std::path::Path;
use std::time::Duration;

use pipeline::Outcome;
use serde_json::{Map, Value, json};

use super::option;
use super::output::Written;
use crate::failure::Failure;
use crate::{stderr, stdout};

pub(crate) struct Report<'a> {
    pub(crate) engine: &'static str,
    pub(crate) seed: u64,
    pub(crate) outcome: &'a Outcome,
    pub(crate) written: &'a Written,
}

impl Report<'_> {
    /// Prints to standard output, or to standard error if the picture has gone to the former (`aside`).
    pub(crate) fn print(&self, as_json: bool, trace: Option<&Path>, aside: bool) -> Result<(), Failure> {
        let text = if as_json { format!("{:#}", self.json(trace)) } else { self.text(trace) };
        if aside {
            stderr::say(text);
            return Ok(());
        }
        stdout::line(&text)
    }

    fn json(&self, trace: Option<&Path>) -> Value {
        let (width, height) = self.outcome.picture.rgb.dimensions();
        let timings: Map<String, Value> = self
            .outcome
            .timings
            .iter()
            .map(|(stage, time)| ((*stage).to_owned(), json!(seconds(*time))))
            .collect();
        let intermediates: Vec<Value> = self
            .written
            .intermediates
            .iter()
            .map(|(name, path)| json!({ "name": name, "path": path }))
            .collect();
        json!({
            "output": self.written.output,
            "width": width,
            "height": height,
            "format": self.written.format,
            "engine": self.engine,
            "seed": self.seed,
            "timings": timings,
            "ignored": self.outcome.ignored,
            "notes": self.outcome.notes,
            "intermediates": intermediates,
            "trace": trace,
        })
    }

    fn text(&self, trace: Option<&Path>) -> String {
        let (width, height) = self.outcome.picture.rgb.dimensions();
        let total = self.outcome.timings.last().map_or(0.0, |(_, time)| seconds(*time));
        let mut lines = vec![format!(
            "{}: {width}×{height}, seed {}, {total:.1} s",
            self.written.output.display(),
            self.seed
        )];
        lines.extend(
            self.written.intermediates.iter().map(|(name, path)| format!("{}: {name}", path.display())),
        );
        lines.extend(trace.map(|folder| format!("{}: trace of the stages", folder.display())));
        lines.extend(self.outcome.notes.iter().map(|note| format!("note: {note}")));
        let ignored = self.outcome.ignored.iter();
        lines.extend(
            ignored.map(|name| format!("note: {} has no effect on the engine {}", option(name), self.engine)),
        );
        lines.join("\n")
    }
}

/// Seconds, to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
