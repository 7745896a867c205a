//! `hostile SECONDS CORPORA [TARGET…]`: feeds mutations of the seeds in `CORPORA/TARGET/` to each target for so many seconds.
//!
//! Exit status 1 when an input was found that a target does not stand; it is written to the working folder and named, and
//! `hostile 0 FOLDER TARGET` with it as the only seed repeats it. An input that ends the process (a stack that overflows) is
//! left as `hostile-TARGET.last` in `/dev/shm`, or where temporary files are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use hostile::{TARGETS, Target};

/// Inputs grow no longer than this.
const LONGEST: usize = 64 << 10;

/// Mutations of one seed at most.
const MUTATIONS: u64 = 6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, corpora, wanted @ ..] = arguments.as_slice() else { return usage() };
    let Ok(seconds) = seconds.parse().map(Duration::from_secs) else { return usage() };
    // What a reader catches by itself is no news; what it does not is told below.
    std::panic::set_hook(Box::new(|_| {}));
    let chosen =
        TARGETS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|each| each == name));
    let mut failed = false;
    for target in chosen {
        match attack(target, seconds, &Path::new(corpora).join(target.0)) {
            Ok(count) => println!("{:14} {count:9} inputs", target.0),
            Err(complaint) => {
                failed = true;
                println!("{}: {complaint}", target.0);
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn usage() -> ExitCode {
    eprintln!("hostile SECONDS CORPORA [TARGET…]");
    ExitCode::from(2)
}

/// The number of inputs that a target stood.
fn attack((name, run): &Target, span: Duration, corpus: &Path) -> Result<u64, String> {
    let seeds = seeds(corpus)?;
    let begun = Instant::now();
    let mut random = Random(since_epoch());
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let last = folder.join(format!("hostile-{name}.last"));
    let stands = |input: &[u8]| {
        std::fs::write(&last, input).map_err(|error| error.to_string())?;
        catch_unwind(AssertUnwindSafe(|| run(input))).map_err(|panic| kept(name, input, &*panic))
    };
    let mut count = 0;
    for seed in &seeds {
        stands(seed)?;
        count += 1;
    }
    while begun.elapsed() < span {
        stands(&mutated(&seeds, &mut random))?;
        count += 1;
    }
    let _ = std::fs::remove_file(&last);
    Ok(count)
}

/// Every file of a folder, in the order of names.
fn seeds(corpus: &Path) -> Result<Vec<Vec<u8>>, String> {
    let listing = std::fs::read_dir(corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    if seeds.is_empty() { Err(format!("{}: no seeds", corpus.display())) } else { Ok(seeds) }
}

/// Keeps an input that a target does not stand, and says what it did.
fn kept(name: &str, input: &[u8], panic: &(dyn std::any::Any + Send)) -> String {
    let told =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let path = format!("hostile-{name}-{}.input", since_epoch());
    let written = std::fs::write(&path, input).map_or_else(|error| error.to_string(), |()| path);
    format!("{} (input of {} bytes: {written})", told.unwrap_or("a panic"), input.len())
}

fn since_epoch() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}

/// A seed with a few things changed.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.next() % MUTATIONS {
        mutate(&mut input, seeds, random);
    }
    input.truncate(LONGEST);
    input
}

/// Numbers that readers trip over.
const EDGES: [u64; 12] =
    [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, u64::MAX];

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let length = input.len();
    if length == 0 {
        return input.push(random.next() as u8);
    }
    let at = random.below(length);
    let end = (at + 1 + random.below(64)).min(length);
    match random.next() % 9 {
        0 => input[at] ^= 1 << (random.next() % 8),
        1 => input[at] = random.next() as u8,
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let again = input[at..end].to_vec();
            let most = if random.next().is_multiple_of(16) { 400 } else { 4 };
            let times = 1 + random.below(most);
            drop(input.splice(at..at, again.repeat(times)));
        }
        5 => {
            let edge = EDGES[random.below(EDGES.len())];
            let bytes = if random.next().is_multiple_of(2) { edge.to_le_bytes() } else { edge.to_be_bytes() };
            let width = (1usize << (random.next() % 4)).min(length - at);
            let part = if bytes[0] == 0 { &bytes[8 - width..] } else { &bytes[..width] };
            input[at..at + width].copy_from_slice(part);
        }
        6 => {
            // The end of another seed.
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len().max(1)).min(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => {
            // Figures in texts.
            let figure = (0..length).map(|step| (at + step) % length).find(|at| input[*at].is_ascii_digit());
            let Some(figure) = figure else { return };
            let text = EDGES[random.below(EDGES.len())].to_string();
            drop(input.splice(figure..=figure, text.bytes()));
        }
        _ => {
            let other = random.below(length);
            input.swap(at, other);
        }
    }
}

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
