//! Allocators beside each other on the layers that fault in the most memory, those of SDXL's autoencoder: the system's,
//! `kernels::Arena`, mimalloc with several delays before it gives pages back.
//!
//! `cargo bench -p kernels --bench allocators [-- ROUNDS [SIDE]]`: the decoder's residual blocks and upsamplings from a latent of
//! SIDE (default 48, a picture of 384²). Every allocator has a process of its own; they take turns, and what counts is the median
//! over the rounds of the ratio to the Arena's time in the same round: processor time of all threads, for a machine that others
//! use too. Memory is the most that was resident, and what is still resident a second after the last pass.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a bench fails by panicking

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use candle_core::{Device, Result, Tensor};
use kernels::{Activation, Conv2d, GroupNorm, Input};

/// Name, allocator, `MIMALLOC_PURGE_DELAY` in milliseconds.
const ALLOCATORS: [(&str, &str, &str); 5] = [
    ("Arena", "arena", ""),
    ("system (glibc)", "system", ""),
    ("mimalloc, its default delay", "mimalloc", ""),
    ("mimalloc, 1 s", "mimalloc", "1000"),
    ("mimalloc, 30 s", "mimalloc", "30000"),
];

/// The allocator that the environment variable `ALLOCATOR` names.
struct Named;

static ARENA: kernels::Arena = kernels::Arena::new();
static CHOICE: AtomicU8 = AtomicU8::new(b'?');

#[global_allocator]
static NAMED: Named = Named;

#[allow(unsafe_code)]
fn choice() -> u8 {
    match CHOICE.load(Ordering::Relaxed) {
        b'?' => {
            // SAFETY: a name that ends in zero; the first allocation happens before there is a second thread.
            let value = unsafe { libc::getenv(c"ALLOCATOR".as_ptr()) };
            // SAFETY: a string of the environment has at least its final zero.
            let first = if value.is_null() { 0 } else { unsafe { value.cast::<u8>().read() } };
            CHOICE.store(first, Ordering::Relaxed);
            first
        }
        known => known,
    }
}

/// Hands a call to the chosen allocator.
macro_rules! by_choice {
    ($method:ident($($argument:expr),*)) => {
        // SAFETY: the caller's promise; the choice never changes, so a block goes back where it came from.
        unsafe {
            match choice() {
                b'a' => ARENA.$method($($argument),*),
                b'm' => mimalloc::MiMalloc.$method($($argument),*),
                _ => System.$method($($argument),*),
            }
        }
    };
}

// SAFETY: every method is that of one allocator, always the same.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Named {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        by_choice!(alloc(layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        by_choice!(alloc_zeroed(layout))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        by_choice!(dealloc(block, layout));
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        by_choice!(realloc(block, layout, size))
    }
}

/// Bytes in a line of `/proc/self/status`.
fn memory(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|each| each.starts_with(line)).unwrap();
    1024.0 * line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
}

/// Seconds of processor time, and page faults, of this process.
fn used() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // Of `man proc`: 10 minflt, 14 utime, 15 stime in hundredths of a second; the first two fields are cut off.
    [(fields[11] + fields[12]) / 100.0, fields[7]]
}

/// Two normalised convolutions around a skip, as in the autoencoder.
struct ResBlock {
    norms: [GroupNorm; 2],
    convs: [Conv2d; 2],
    shortcut: Option<Conv2d>,
}

fn conv(input: usize, output: usize, size: usize) -> Result<Conv2d> {
    let weight = Tensor::full(1e-3f32, (output, input, size, size), &Device::Cpu)?;
    Ok(Conv2d::new(weight, Some(Tensor::full(1e-3f32, output, &Device::Cpu)?)).padding(size / 2))
}

impl ResBlock {
    fn new(input: usize, output: usize) -> Result<Self> {
        let norm = |channels: usize| -> Result<GroupNorm> {
            let ones = Tensor::full(1f32, channels, &Device::Cpu)?;
            Ok(GroupNorm::new(ones.clone(), ones, 32, 1e-6)?.activation(Activation::Silu))
        };
        let shortcut = if input == output { None } else { Some(conv(input, output, 1)?) };
        Ok(Self {
            norms: [norm(input)?, norm(output)?],
            convs: [conv(input, output, 3)?, conv(output, output, 3)?],
            shortcut,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.convs[0].forward(&self.norms[0].forward(x)?)?;
        let skip = match &self.shortcut {
            Some(shortcut) => &shortcut.forward(x)?,
            None => x,
        };
        self.convs[1].forward_with_residual(&self.norms[1].forward(&y)?, skip)
    }
}

/// One process: prints processor seconds, faults, peak and idle memory.
fn passes(side: usize) -> Result<()> {
    let mut levels = Vec::new();
    let mut input = 512;
    for (level, width) in [512, 512, 256, 128].into_iter().enumerate() {
        let blocks = (0..3).map(|i| ResBlock::new(if i == 0 { input } else { width }, width));
        let up = if level < 3 { Some(conv(width, width, 3)?) } else { None };
        levels.push((blocks.collect::<Result<Vec<_>>>()?, up));
        input = width;
    }
    let pass = || -> Result<()> {
        let mut x = Tensor::randn(0f32, 1.0, (1, 512, side, side), &Device::Cpu)?;
        for (blocks, up) in &levels {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(up) = up {
                let (_, _, h, w) = x.dims4()?;
                x = up.forward(Input::Upsampled { picture: &x, height: 2 * h, width: 2 * w })?;
            }
        }
        Ok(())
    };
    pass()?; // packs the weights
    let before = used();
    pass()?;
    let after = used();
    std::thread::sleep(std::time::Duration::from_secs(1));
    println!("{} {} {} {}", after[0] - before[0], after[1] - before[1], memory("VmHWM"), memory("VmRSS"));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (rounds, side) = (*arguments.first().unwrap_or(&5), *arguments.get(1).unwrap_or(&48));
    if std::env::var_os("ALLOCATOR").is_some() {
        return passes(side);
    }
    let mut measured = vec![Vec::new(); ALLOCATORS.len()];
    for round in 0..rounds {
        // Forwards and backwards in turns, so that no allocator always comes after the same one.
        let order: Vec<usize> = (0..ALLOCATORS.len()).collect();
        for i in if round % 2 == 0 { order } else { order.into_iter().rev().collect() } {
            let (_, allocator, delay) = ALLOCATORS[i];
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.arg(rounds.to_string()).arg(side.to_string()).env("ALLOCATOR", allocator);
            if !delay.is_empty() {
                child.env("MIMALLOC_PURGE_DELAY", delay);
            }
            let output = child.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
            measured[i].push(numbers);
        }
    }
    println!(
        "| allocator | processor time / Arena's | seconds | page faults | peak, MB | resident a second later, MB |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for ((name, ..), numbers) in ALLOCATORS.iter().zip(&measured) {
        let column = |i: usize| median(numbers.iter().map(|n| n[i]).collect());
        let ratio = median(numbers.iter().zip(&measured[0]).map(|(n, arena)| n[0] / arena[0]).collect());
        println!(
            "| {name} | {ratio:.3} | {:.2} | {:.0} | {:.0} | {:.0} |",
            column(0),
            column(1),
            column(2) / 1e6,
            column(3) / 1e6
        );
    }
    Ok(())
}
