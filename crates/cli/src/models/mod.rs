//! `material-transfer models`: which weights there are, fetching them, checking them, removing them.
//!
//! The work is the hub's ([`pipeline::hub`]); here names are read and results are told, as lines for people or as one JSON
//! object on standard output.

mod bars;
mod list;
mod names;
mod pull;
mod remove;
mod verify;

use pipeline::hub::Hub;

use crate::arguments::{ModelsArguments, ModelsCommand};
use crate::failure::Failure;

pub(crate) fn run(arguments: &ModelsArguments) -> Result<(), Failure> {
    let hub = Hub::from_env();
    match &arguments.command {
        ModelsCommand::List => list::run(&hub, arguments.json),
        ModelsCommand::Pull { names } => pull::run(&hub, names, arguments.json),
        ModelsCommand::Verify { names } => verify::run(&hub, names, arguments.json),
        ModelsCommand::Remove { names, all } => remove::run(&hub, names, *all, arguments.json),
    }
}
