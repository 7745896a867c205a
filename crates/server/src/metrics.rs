//! Counters and histograms in Prometheus' text form (exposition format 0.0.4). No label holds a request id or a key.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobs::{Counts, Endings};

use crate::about::About;
use crate::process;

/// Upper ends of the buckets, in seconds: from a cached answer to the longest job anybody waits for.
const BOUNDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];

/// A histogram of seconds.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One a bound, not cumulative; what is over the last bound is only in `count`.
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, span: Duration) {
        if let Some(at) = BOUNDS.iter().position(|bound| span.as_secs_f64() <= *bound) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The mean, once there is one.
    pub(crate) fn mean(&self) -> Option<Duration> {
        let count = self.count.load(Ordering::Relaxed);
        (count > 0).then(|| Duration::from_micros(self.micros.load(Ordering::Relaxed) / count))
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        header(text, name, help, "histogram");
        self.lines(text, name, "");
    }

    /// The lines of one series; `labels` is empty, or ends with a comma.
    fn lines(&self, text: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{labels}le=\"{bound}\"}} {below}");
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let own = labels.trim_end_matches(',');
        let own = if own.is_empty() { String::new() } else { format!("{{{own}}}") };
        let _ = writeln!(
            text,
            "{name}_bucket{{{labels}le=\"+Inf\"}} {count}\n{name}_sum{own} {sum}\n{name}_count{own} {count}"
        );
    }
}

/// Everything that is counted here; the numbers of jobs by state come from the store.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By route, method and status.
    requests: Mutex<BTreeMap<(String, String, u16), u64>>,
    /// How long answers took, by route.
    latency: Mutex<BTreeMap<String, Histogram>>,
    pub(crate) run: Histogram,
    pub(crate) wait: Histogram,
    pub(crate) result_bytes: AtomicU64,
    pub(crate) checks: Checks,
}

/// How many pictures the checker allowed and refused, and how many could not be checked.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) allowed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Metrics {
    pub(crate) fn answered(&self, route: &str, method: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), method.to_owned(), status)).or_default() += 1;
    }

    /// An answer of this route was ready after `span`.
    pub(crate) fn took(&self, route: &str, span: Duration) {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        if !latency.contains_key(route) {
            latency.insert(route.to_owned(), Histogram::default());
        }
        if let Some(histogram) = latency.get(route) {
            histogram.record(span);
        }
    }

    /// The whole page. `oldest` is for how long the oldest waiting job has waited, ms.
    pub(crate) fn text(
        &self,
        counts: &Counts,
        endings: &Endings,
        oldest: u64,
        ready: bool,
        about: &About,
    ) -> String {
        let mut text = String::new();
        header(&mut text, "material_transfer_build_info", "The program; always 1.", "gauge");
        let _ = writeln!(
            text,
            "material_transfer_build_info{{version=\"{}\",commit=\"{}\",features=\"{}\"}} 1",
            about.version, about.commit, about.features
        );
        header(&mut text, "material_transfer_http_requests_total", "Answered requests.", "counter");
        for ((route, method, status), count) in
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let _ = writeln!(text, "material_transfer_http_requests_total{{{labels}}} {count}");
        }
        let name = "material_transfer_http_request_seconds";
        header(&mut text, name, "From a request's head to its answer's.", "histogram");
        for (route, histogram) in self.latency.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            histogram.lines(&mut text, name, &format!("route=\"{route}\","));
        }
        header(&mut text, "material_transfer_jobs", "Jobs in the store by state.", "gauge");
        let states = [
            ("queued", counts.queued),
            ("processing", counts.processing),
            ("completed", counts.completed),
            ("failed", counts.failed),
        ];
        for (state, count) in states {
            let _ = writeln!(text, "material_transfer_jobs{{state=\"{state}\"}} {count}");
        }
        header(
            &mut text,
            "material_transfer_queue_oldest_seconds",
            "For how long the oldest waiting job has waited; 0 if none waits.",
            "gauge",
        );
        let _ = writeln!(text, "material_transfer_queue_oldest_seconds {}", oldest as f64 / 1000.0);
        header(&mut text, "material_transfer_jobs_ended_total", "Jobs ended by this process.", "counter");
        let endings = [
            ("completed", endings.completed),
            ("failed", endings.failed),
            ("cancelled", endings.cancelled),
            ("interrupted", endings.interrupted),
            ("retried", endings.retried),
            ("released", endings.released),
        ];
        for (ending, count) in endings {
            let _ = writeln!(text, "material_transfer_jobs_ended_total{{ending=\"{ending}\"}} {count}");
        }
        self.run.write(&mut text, "material_transfer_job_seconds", "From the start to the end of a job.");
        self.wait.write(
            &mut text,
            "material_transfer_queue_seconds",
            "From the submission to the start of a job.",
        );
        let name = "material_transfer_checks_total";
        header(&mut text, name, "Pictures that the checker was asked about.", "counter");
        let Checks { allowed, refused, failed } = &self.checks;
        for (verdict, count) in [("allowed", allowed), ("refused", refused), ("failed", failed)] {
            let _ = writeln!(text, "{name}{{verdict=\"{verdict}\"}} {}", count.load(Ordering::Relaxed));
        }
        header(
            &mut text,
            "material_transfer_result_bytes_total",
            "Bytes of pictures stored as results.",
            "counter",
        );
        let _ = writeln!(
            text,
            "material_transfer_result_bytes_total {}",
            self.result_bytes.load(Ordering::Relaxed)
        );
        header(&mut text, "material_transfer_ready", "Whether a model is loaded and work is taken.", "gauge");
        let _ = writeln!(text, "material_transfer_ready {}", u8::from(ready));
        text.push_str(&process::metrics());
        text
    }
}

fn header(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page() {
        let metrics = Metrics::default();
        metrics.answered("/v1/{slug}", "POST", 200);
        metrics.answered("/v1/{slug}", "POST", 200);
        metrics.took("/v1/{slug}", Duration::from_millis(70));
        for seconds in [0.04, 0.3, 700.0] {
            metrics.run.record(Duration::from_secs_f64(seconds));
        }
        let page = metrics.text(
            &Counts { queued: 3, ..Counts::default() },
            &Endings { completed: 1, ..Endings::default() },
            2500,
            true,
            &About::new("1.2.3", "abc", "cpu"),
        );
        for line in [
            "material_transfer_http_requests_total{route=\"/v1/{slug}\",method=\"POST\",status=\"200\"} 2",
            "material_transfer_jobs{state=\"queued\"} 3",
            "material_transfer_queue_oldest_seconds 2.5",
            "material_transfer_jobs_ended_total{ending=\"completed\"} 1",
            "material_transfer_job_seconds_bucket{le=\"0.05\"} 1",
            "material_transfer_job_seconds_bucket{le=\"0.5\"} 2",
            "material_transfer_job_seconds_bucket{le=\"600\"} 2",
            "material_transfer_job_seconds_bucket{le=\"+Inf\"} 3",
            "material_transfer_job_seconds_sum 700.34",
            "material_transfer_ready 1",
            "material_transfer_build_info{version=\"1.2.3\",commit=\"abc\",features=\"cpu\"} 1",
            "material_transfer_http_request_seconds_bucket{route=\"/v1/{slug}\",le=\"0.05\"} 0",
            "material_transfer_http_request_seconds_bucket{route=\"/v1/{slug}\",le=\"0.1\"} 1",
            "material_transfer_http_request_seconds_count{route=\"/v1/{slug}\"} 1",
        ] {
            assert!(page.lines().any(|each| each == line), "{line}\n{page}");
        }
        assert_eq!(metrics.run.mean(), Some(Duration::from_micros(233_446_666)));
    }
}
