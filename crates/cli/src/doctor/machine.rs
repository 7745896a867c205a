//! The machine: processors, memory, clock, device and port.

use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipeline::Opened;
use server::Config;

use super::Verdict;
use crate::about;

/// Enough for the embedded engine with pictures of the default size, with some left.
const ENOUGH: u64 = 1 << 30;
/// The beginning of 2026, in seconds since 1970: this program is not older.
const BORN: u64 = 1_767_225_600;

pub(super) fn processors(threads: usize) -> Verdict {
    let there = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    match threads {
        0 => Verdict::Good(format!("{there}; one thread computes on each")),
        more if more > there => {
            Verdict::Remark(format!("{there}; {more} threads are more than that, which makes nothing faster"))
        }
        threads => Verdict::Good(format!("{there}; {threads} threads compute")),
    }
}

/// The memory that this process may take: the machine's, or less by its group or limits.
pub(super) fn memory() -> Verdict {
    let limit = pipeline::memory_limit().map(|bytes| bytes as u64);
    let Some(bytes) = [available(), limit].into_iter().flatten().min() else {
        return Verdict::Remark("how much there is cannot be seen on this system".to_owned());
    };
    let gib = bytes as f64 / f64::from(1 << 30);
    if bytes < ENOUGH {
        return Verdict::Remark(format!(
            "{gib:.2} GiB free; large pictures need 1 GiB: lower max_pixels and decode_memory"
        ));
    }
    Verdict::Good(format!("{gib:.1} GiB free"))
}

/// What Linux calls available.
fn available() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Results expire by the clock, and rates are counted by it.
pub(super) fn clock() -> Verdict {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs());
    let days = Duration::from_secs(now).as_secs() / 86_400;
    if now < BORN {
        return Verdict::Bad(format!(
            "it is {days} days after 1970, says the clock; set it (timedatectl set-ntp true)"
        ));
    }
    Verdict::Good("set".to_owned())
}

/// The devices of all workers; the first one for the trial.
pub(super) fn device(config: &Config) -> (Option<Opened>, Verdict) {
    let mut first = None;
    let (mut names, mut warnings) = (Vec::new(), Vec::new());
    for worker in 0..config.workers {
        match pipeline::open(config.device_of(worker)) {
            Ok(opened) => {
                if !names.contains(&opened.description) {
                    names.push(opened.description.clone());
                }
                warnings.extend(
                    opened
                        .warnings
                        .iter()
                        .filter(|each| !warnings.contains(*each))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                first.get_or_insert(opened);
            }
            Err(error) => return (first, Verdict::Bad(error.to_string())),
        }
    }
    let names = names.join(", ");
    let reason = about::reason(config.device_of(0), first.as_ref());
    let verdict = match warnings.as_slice() {
        [] => Verdict::Good(format!("{names} ({reason})")),
        warnings => Verdict::Remark(format!("{names}; {}", warnings.join("; "))),
    };
    (first, verdict)
}

/// Takes the address for a moment.
pub(super) fn port(config: &Config) -> Verdict {
    let address = config.listen.as_str().to_owned();
    match TcpListener::bind(&address) {
        Ok(_) => Verdict::Good(format!("{address} is free")),
        Err(error) => Verdict::Bad(format!(
            "{address}: {error}; stop what listens there (is the server running already?), or choose another with --listen"
        )),
    }
}

#[cfg(test)]
mod tests {
    use pipeline::DeviceChoice;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_bad_and_the_remedy_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let listen = taken.local_addr().expect("an address").to_string();
        let config = Config { listen: listen.try_into().expect("an address"), ..Config::default() };
        let verdict = port(&config);
        assert!(matches!(verdict, Verdict::Bad(_)) && verdict.to_string().contains("--listen"), "{verdict}");
    }

    #[test]
    fn this_machine_has_a_device_a_clock_and_memory() {
        assert!(matches!(clock(), Verdict::Good(_)));
        assert!(!matches!(memory(), Verdict::Bad(_)));
        let config = Config { device: DeviceChoice::Cpu, ..Config::default() };
        let (opened, verdict) = device(&config);
        assert!(opened.is_some() && verdict.to_string().starts_with("CPU"), "{verdict}");
    }

    #[test]
    fn too_many_threads_are_remarked() {
        assert!(matches!(processors(0), Verdict::Good(_)));
        assert!(matches!(processors(100_000), Verdict::Remark(_)));
    }
}
