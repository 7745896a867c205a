//! What the system knows of this process, for the metrics. Linux tells it in `/proc`; elsewhere only the start is known.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Linux counts processor time in hundredths of a second, whatever the kernel's own tick is.
const TICKS: f64 = 100.0;

/// When this process began, near enough: the first time anybody asks is at the start.
pub(crate) static STARTED: LazyLock<f64> =
    LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |span| span.as_secs_f64()));

/// The standard metrics of a process, in Prometheus' text form and under their usual names.
pub(crate) fn metrics() -> String {
    let mut text = String::new();
    let mut write = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    write("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.", *STARTED);
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if let Some(kilobytes) = field("VmRSS:") {
        write("process_resident_memory_bytes", "gauge", "Memory in use.", kilobytes * 1024.0);
    }
    if let Some(threads) = field("Threads:") {
        write("process_threads", "gauge", "Threads.", threads);
    }
    if let Some(ticks) = processor_ticks(&read("stat")) {
        write("process_cpu_seconds_total", "counter", "Processor time taken.", ticks / TICKS);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        write("process_open_fds", "gauge", "Open files and connections.", files.count() as f64);
    }
    text
}

/// User and system time of `/proc/self/stat`. The name before them may hold blanks, and ends with the last parenthesis.
fn processor_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_process_with_an_odd_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 10 0 0 0 250 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(processor_ticks(stat), Some(300.0));
        assert_eq!(processor_ticks(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        let text = metrics();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            assert!(line.parse::<f64>().unwrap() >= 0.0, "{name}");
        }
    }
}
