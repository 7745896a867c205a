//! Completions for shells, and the manual: both made of the command line itself.

use std::io::Write as _;

use anyhow::Context;

use crate::arguments::{self, CompletionsArguments, ManArguments};
use crate::failure::Failure;

/// Prints the completions of a shell.
pub(crate) fn completions(options: &CompletionsArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut arguments::command(), arguments::NAME, &mut script);
    print(&script)
}

/// Prints the manual page of the program, or writes those of all commands into a folder.
pub(crate) fn man(options: &ManArguments) -> Result<(), Failure> {
    let command = arguments::command();
    if let Some(folder) = &options.dir {
        let made = clap_mangen::generate_to(command, folder);
        return made.map_err(|error| Failure::Input(format!("--dir {}: {error}", folder.display())));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("the manual cannot be made")?;
    print(&page)
}

fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        // `… | head` is no fault.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Fault(anyhow::Error::new(error).context("standard output")))
        }
        _ => Ok(()),
    }
}
