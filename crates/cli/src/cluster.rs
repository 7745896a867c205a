//! `material-transfer cluster`: looking after servers and workers that share a database.

use anyhow::Context as _;

use crate::arguments::{ClusterArguments, ClusterCommand};
use crate::failure::Failure;
use crate::{serve, stdout};

pub(crate) fn run(options: &ClusterArguments) -> Result<(), Failure> {
    let config = serve::load(options.config.as_deref(), toml::Table::new())?;
    if config.database.is_none() {
        return Err(Failure::Input(
            "there is no `database` in the settings; set MATERIAL_TRANSFER_DATABASE or name the servers' file with --config"
                .to_owned(),
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the program does not start")?;
    let lines: Vec<serde_json::Value> = match options.command {
        ClusterCommand::Workers => {
            let workers = runtime.block_on(server::list_workers(&config))?;
            workers
                .iter()
                .map(serde_json::to_value)
                .collect::<Result<_, _>>()
                .context("a worker cannot be shown")?
        }
        ClusterCommand::MoveCredits => {
            let moved = runtime.block_on(server::move_credits(&config))?;
            moved.iter().map(|(owner, used)| serde_json::json!({ "key": owner, "used": used })).collect()
        }
    };
    for line in lines {
        stdout::line(&line.to_string())?;
    }
    Ok(())
}
