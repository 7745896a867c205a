//! The workers of all nodes that share a home: each node reports its own, and any node can say what there is.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jobs::{WorkerRegistry, WorkerReport};

use crate::lifecycle::Phase;
use crate::state::App;

/// How often workers report themselves.
const REPORT: Duration = Duration::from_secs(5);

/// Reports this node's workers until the server stops.
pub(crate) async fn report(app: Arc<App>) {
    let Some(registry) = app.registry.clone() else { return };
    let host = host(&app);
    while app.lifecycle.phase() < Phase::Stopping {
        if let Err(error) = registry.report(&reports(&app, &host)).await {
            tracing::debug!(%error, "the workers could not be reported");
        }
        tokio::select! {
            () = tokio::time::sleep(REPORT) => {}
            () = app.lifecycle.reached(Phase::Stopping) => {}
        }
    }
    let _ = registry.retire().await;
}

fn reports(app: &App, host: &str) -> Vec<WorkerReport> {
    let own = app.lifecycle.own_workers().into_iter().enumerate();
    own.map(|(number, worker)| WorkerReport {
        host: host.to_owned(),
        number,
        device: app.config.device_of(number).to_string(),
        profile: app.config.profile.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: worker.state.name().to_owned(),
        job: worker.job,
        ..WorkerReport::default()
    })
    .collect()
}

/// What the node is called: as configured, or as the system says.
fn host(app: &App) -> String {
    if !app.config.node_name.is_empty() {
        return app.config.node_name.clone();
    }
    let system = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = system.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if named.trim().is_empty() { "node".to_owned() } else { named.trim().to_owned() }
}

/// How many workers there are, for the page of metrics.
pub(crate) async fn metrics(registry: &dyn WorkerRegistry) -> jobs::Result<String> {
    let mut groups = std::collections::BTreeMap::<(String, String), usize>::new();
    for worker in registry.workers().await? {
        let state = if worker.job.is_some() { "busy".to_owned() } else { worker.state };
        *groups.entry((worker.profile, state)).or_default() += 1;
    }
    let mut text = String::from(
        "# HELP material_transfer_workers Workers of all nodes by profile and state.\n\
         # TYPE material_transfer_workers gauge\n",
    );
    for ((profile, state), count) in groups {
        let profile = profile.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ =
            writeln!(text, "material_transfer_workers{{profile=\"{profile}\",state=\"{state}\"}} {count}");
    }
    Ok(text)
}
