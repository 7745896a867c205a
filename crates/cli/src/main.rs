//! The binary `material-transfer`: a transfer from the command line, the server, the weights.
//!
//! Thin: arguments are read here and handed on. Exit codes are 0 for done, 2 for something the person can put right (an
//! option, a picture, a profile), 1 for a fault of the machine or of ours, 130 after Ctrl-C.

mod arguments;
mod failure;
mod models;
mod serve;
mod signal;
mod stdout;
mod threads;
mod transfer;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Keeps the networks' large buffers between their layers.
#[global_allocator]
static ARENA: pipeline::Arena = pipeline::Arena::new();

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Transfer(arguments) => transfer::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code()
        }
    }
}
