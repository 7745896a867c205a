//! What the settings let a server take in memory: the sum of docs/configuration.md, and what of it is left for decoding where
//! `decode_memory` is not set.

use crate::config::Config;
use crate::decoding::SMALL_LANE;
use crate::state::LONG_PARSES;

const MIB: u64 = 1 << 20;
/// The program itself: code, networks, stacks, tables, and what allocators keep.
const ITSELF: u64 = 160 * MIB;
/// What the embedded engine takes for each pixel of the output.
const PIXEL: u64 = 190;
/// For each worker: the next job's pictures, the last one's, and their files.
const BESIDE: u64 = 64 * MIB;
/// Requests that are only tried and hold a picture.
pub(crate) const DRY_RUNS: usize = 2;
/// What is kept of a job, and the documents of all.
const JOB: u64 = 1536;
const DOCUMENTS: u64 = 64 * MIB;
/// A limit on addresses has to be larger than one on memory by so much.
const ADDRESSES: u64 = 400 * MIB;
/// What there is for decoding where it is not set: a photograph of 24 megapixels in any case, one of 100 where there is room.
const LEAST: u64 = 192 * MIB;
const MOST: u64 = 768 * MIB;

/// What all but decoding may take, in bytes.
fn beside_decoding(config: &Config) -> u64 {
    let bodies = config.body_memory.0 as u64;
    let parsing = LONG_PARSES as u64 * (config.max_body.0 as u64 / 4 * 7);
    let fetches = (config.fetch_at_once + DRY_RUNS) as u64 * config.fetch_max_bytes.0 as u64;
    let pixels = config.max_output_pixels.saturating_add(config.overtaking_pixels);
    let engines = config.workers as u64 * pixels.saturating_mul(PIXEL).saturating_add(BESIDE);
    let asked = config.check_url.is_some() || !config.check_command.is_empty();
    let largest = config.max_body.0.max(config.fetch_max_bytes.0) as u64;
    let checks = if asked { config.check_at_once as u64 * (largest / 5 * 12) } else { 0 };
    let kept = config.keep_jobs as u64 * JOB + DOCUMENTS;
    [ITSELF, bodies, parsing, SMALL_LANE, fetches, engines, checks, kept]
        .iter()
        .fold(0, |sum, each| sum.saturating_add(*each))
}

/// What decoding may take, in bytes, where the process may have `limit`.
fn left(config: &Config, limit: Option<u64>) -> u64 {
    let set = config.decode_memory.map(|size| size.0 as u64);
    set.unwrap_or_else(|| {
        limit.map_or(MOST, |limit| limit.saturating_sub(beside_decoding(config)).clamp(LEAST, MOST))
    })
}

/// What this process may take, in bytes, as far as the system tells.
fn limit() -> Option<u64> {
    let addresses = rlimit::Resource::AS.get_soft().ok().filter(|bytes| *bytes != rlimit::INFINITY);
    let limits = [
        pipeline::memory_limit().map(|bytes| bytes as u64),
        addresses.map(|bytes| bytes.saturating_sub(ADDRESSES)),
        installed(),
    ];
    limits.into_iter().flatten().min()
}

/// The machine's memory.
fn installed() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// What decoding may take in this process, in bytes.
pub(crate) fn for_decoding(config: &Config) -> u64 {
    left(config, limit())
}

/// Says what the settings add up to, loudly where that is more than there is.
pub(crate) fn tell(config: &Config) {
    let (decoding, limit) = (for_decoding(config), limit());
    let sum = (beside_decoding(config) + decoding) / MIB;
    let decoding = decoding / MIB;
    match limit.map(|limit| limit / MIB) {
        Some(limit) if limit < sum => tracing::warn!(
            "memory: all budgets together are {sum} MiB, {decoding} of them for decoding, and there are {limit}. It takes an attack \
             to use them up; lower max_output_pixels, fetch_max_bytes, max_body and body_memory, or give it more"
        ),
        _ => tracing::info!("memory: all budgets together are {sum} MiB, {decoding} of them for decoding"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    #[test]
    fn the_budgets_fit_into_what_there_is() {
        let config = Config::default();
        assert_eq!(left(&config, None), MOST);
        assert_eq!(left(&config, Some(16 << 30)), MOST);
        for limit in [2048 * MIB, 2200 * MIB, 2500 * MIB] {
            let decoding = left(&config, Some(limit));
            assert!((LEAST..=MOST).contains(&decoding));
            assert_eq!(beside_decoding(&config) + decoding, limit);
        }
        assert_eq!(left(&config, Some(1024 * MIB)), LEAST);
        let small = Config {
            max_output_pixels: 600_000,
            fetch_max_bytes: Size(12 << 20),
            max_body: Size(16 << 20),
            body_memory: Size(48 << 20),
            ..Config::default()
        };
        assert!(
            beside_decoding(&small) + LEAST <= 1024 * MIB,
            "docs/sizing.md: {}",
            beside_decoding(&small) / MIB
        );
        let set = Config { decode_memory: Some(Size(5)), ..Config::default() };
        assert_eq!(left(&set, Some(1)), 5, "whoever sets it gets it");
    }
}
