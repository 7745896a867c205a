//! The trait [`WorkerRegistry`]: what workers there are, on whichever host.

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

use crate::Result;

/// A worker as it reports itself. Moments are unix milliseconds of the home's time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerReport {
    /// The host's name, or whatever the operator calls the node.
    pub host: String,
    /// Its number on that node, from 0.
    pub number: usize,
    /// What it computes on.
    pub device: String,
    /// The profile whose jobs it runs.
    pub profile: String,
    /// The program's version.
    pub version: String,
    /// `loading`, `ready` or `down`.
    pub state: String,
    /// What it runs just now.
    pub job: Option<Uuid>,
    /// When it reported itself first; the home sets it.
    pub since: u64,
    /// When it reported itself last; the home sets it.
    pub seen_at: u64,
}

/// Where workers of many nodes report themselves.
#[async_trait]
pub trait WorkerRegistry: Send + Sync {
    /// Reports this node's workers, to be called every few seconds.
    async fn report(&self, workers: &[WorkerReport]) -> Result<()>;

    /// Takes this node's workers away: they are going down.
    async fn retire(&self) -> Result<()>;

    /// All workers that reported themselves lately.
    async fn workers(&self) -> Result<Vec<WorkerReport>>;
}
