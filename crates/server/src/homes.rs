//! Where jobs and files live: in one folder on this machine, or in a database and an object store that many nodes share.

use std::sync::Arc;

use jobs::{BlobStore, Caps, Embedded, JobStore, Options, WorkerRegistry};

use crate::config::Config;
use crate::credits;
use crate::error::Error;

/// Bytes of the documents of jobs that are over; on one machine they are in memory too. One of a long prompt in four-byte
/// characters takes 40 kB, a usual one 1.5.
const DOCUMENTS: u64 = 64 << 20;

/// Jobs, files, and who works on them.
pub(crate) struct Homes {
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    /// Where there may be workers of other nodes.
    pub(crate) registry: Option<Arc<dyn WorkerRegistry>>,
}

/// What may be kept in all, by each client, and of each client's uploads.
fn caps(config: &Config) -> [Caps; 3] {
    let all = Caps { jobs: config.keep_jobs, documents: DOCUMENTS, files: config.keep_files.0 as u64 };
    // So that nobody takes all of it.
    let each = Caps { jobs: all.jobs.div_ceil(2), documents: all.documents / 2, files: all.files / 2 };
    let deposits =
        Caps { jobs: config.upload_files, documents: u64::MAX, files: config.upload_bytes.0 as u64 };
    [all, each, deposits]
}

impl Homes {
    /// Opens what the settings name. Blocks, so call it at the start, and within a runtime if there is a database.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        if config.database.is_some() { shared(config) } else { embedded(config) }
    }
}

fn embedded(config: &Config) -> Result<Homes, Error> {
    let path = config.data_dir.join(credits::FILE);
    let used =
        credits::counted_before(&path).map_err(|source| Error::Ledger { path: path.clone(), source })?;
    let [caps, caps_each, caps_deposits] = caps(config);
    let options = Options {
        queue_limit: config.queue_limit,
        queue_limit_each: config.queue_limit_per_key,
        caps,
        caps_each,
        caps_deposits,
        reserve: config.disk_reserve.0 as u64,
        result_ttl: config.result_ttl.0,
        file_ttl: Some(config.file_ttl.0),
        used,
        ..Options::default()
    };
    let home = Embedded::open(&config.data_dir, options)?;
    credits::forget(&path);
    Ok(Homes { jobs: home.clone(), blobs: home, registry: None })
}

#[cfg(not(feature = "cluster"))]
fn shared(_config: &Config) -> Result<Homes, Error> {
    Err(Error::NoCluster)
}

#[cfg(feature = "cluster")]
fn shared(config: &Config) -> Result<Homes, Error> {
    let opening = cluster::open(cluster_options(config));
    let (jobs, files) = tokio::runtime::Handle::current().block_on(opening)?;
    Ok(Homes { jobs: jobs.clone(), blobs: files, registry: Some(jobs) })
}

#[cfg(feature = "cluster")]
fn cluster_options(config: &Config) -> cluster::Options {
    let [caps, caps_each, caps_deposits] = caps(config);
    cluster::Options {
        database: config.database.as_ref().map(|secret| secret.0.clone()).unwrap_or_default(),
        schema: config.database_schema.clone(),
        connections: config.database_connections,
        files: config.files.clone(),
        profile: config.profile.clone(),
        queue_limit: config.queue_limit,
        queue_limit_each: config.queue_limit_per_key,
        caps,
        caps_each,
        caps_deposits,
        result_ttl: config.result_ttl.0,
        file_ttl: Some(config.file_ttl.0),
        ..cluster::Options::default()
    }
}

/// The workers that have reported themselves to the configured database lately.
///
/// # Errors
/// [`Error`]: the database cannot be used.
#[cfg(feature = "cluster")]
pub async fn list_workers(config: &Config) -> Result<Vec<jobs::WorkerReport>, Error> {
    let (database, _) = cluster::open(cluster_options(config)).await?;
    Ok(database.workers().await?)
}

/// Takes over what the keys with credits have used by the folder's count into the database's, for those that have used
/// nothing there yet. The server of the folder must not run. Returns what was taken over, by key.
///
/// # Errors
/// [`Error`]: the folder, the database, or no database configured.
#[cfg(feature = "cluster")]
pub async fn move_credits(config: &Config) -> Result<Vec<(String, u64)>, Error> {
    let (from, quotas) = (config.clone(), crate::keys::quotas(config));
    let folder = tokio::task::spawn_blocking(move || embedded(&from));
    let folder = folder.await.map_err(|error| Error::Worker(error.to_string()))??;
    let (database, _) = cluster::open(cluster_options(config)).await?;
    let mut moved = Vec::new();
    for owner in quotas.keys() {
        let used = folder.jobs.used(owner).await?;
        if used > 0 && database.adopt_credits(owner, used).await? {
            moved.push((owner.clone(), used));
        }
    }
    Ok(moved)
}
