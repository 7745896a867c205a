//! The binary `material-transfer`: a transfer from the command line, the server, the weights, and a look at
//! the machine.
//!
//! Thin: arguments are read here and handed on. Exit codes are 0 for done, 2 for something the person can put right (an
//! option, a picture, a profile), 1 for a fault of the machine or of ours, 130 after Ctrl-C.

mod about;
mod arguments;
#[cfg(feature = "cluster")]
mod cluster;
mod doctor;
mod failure;
mod help;
mod log;
mod models;
mod serve;
mod signal;
mod stderr;
mod stdout;
mod threads;
mod transfer;

use std::process::ExitCode;
use std::time::Duration;

use arguments::Command;

/// Keeps the networks' large buffers between their layers.
#[global_allocator]
static ARENA: pipeline::Arena = pipeline::Arena::new();

/// The part of the memory there is that may lie idle between two jobs.
const IDLE_SHARE: usize = 8;
/// What was not used for so long goes back to the system.
const UNUSED: Duration = Duration::from_secs(30);
/// How often that is looked after.
const ROUND: Duration = Duration::from_secs(5);

/// Bounds what lies idle and what is reserved, and gives back in time. Without the thread, which only a server needs, all is as before.
fn look_after_memory(serving: bool) {
    if let Some(limit) = pipeline::memory_limit() {
        ARENA.keep_at_most(limit / IDLE_SHARE);
    }
    if serving {
        pipeline::share_heaps(std::thread::available_parallelism().map_or(2, |count| count.get().max(2)));
        let _ = std::thread::Builder::new().name("memory".to_owned()).spawn(|| {
            loop {
                std::thread::sleep(ROUND);
                ARENA.trim(UNUSED);
            }
        });
    }
}

fn main() -> ExitCode {
    let command = arguments::read().command;
    look_after_memory(matches!(command, Command::Serve(_) | Command::Worker(_)));
    let done = match command {
        Command::Transfer(arguments) => transfer::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments, true),
        Command::Worker(arguments) => serve::run(&arguments, false),
        #[cfg(feature = "cluster")]
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Completions(arguments) => help::completions(&arguments),
        Command::Man(arguments) => help::man(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            stderr::last_words(&failure);
            failure.code()
        }
    }
}
