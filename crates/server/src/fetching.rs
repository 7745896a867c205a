//! Fetches the pictures of waiting jobs and has them checked, before a worker takes them: a host that does not answer costs
//! nobody but the job that named it. Many at once, few from one host, and the clients in turn.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::Parameters;
use jobs::{BlobKey, Failure, Job};
use tokio::task::JoinSet;
use url::Url;
use uuid::Uuid;

use crate::checker::{CheckStage, Checked};
use crate::effort::Seen;
use crate::lifecycle::Phase;
use crate::state::App;
use crate::task::{ImageRef, Task, TransferTask};
use crate::unclaimed::Unclaimed;

/// Of all fetches that are under way, how many may be from one host (a share of it).
const PER_HOST: usize = 4;
/// And how many for one client.
const PER_CLIENT: usize = 2;
/// How long to rest when the disk is at fault, or nothing wakes us.
const REST: Duration = Duration::from_secs(1);

/// A job whose pictures are being fetched.
struct UnderWay {
    client: String,
    hosts: HashSet<String>,
}

/// Fetches until the server takes no more work.
pub(crate) async fn run(app: Arc<App>) {
    let mut arrivals = app.jobs.arrivals();
    let mut under_way: HashMap<Uuid, UnderWay> = HashMap::new();
    let mut fetches = JoinSet::new();
    while app.lifecycle.phase() == Phase::Running {
        arrivals.mark_unchanged();
        if app.jobs.unwell().is_none() {
            start(&app, &mut under_way, &mut fetches).await;
        }
        tokio::select! {
            _ = arrivals.changed() => {}
            Some(done) = fetches.join_next() => {
                // A fetch that panicked keeps its place until the next start; so does its job.
                if let Ok(id) = done {
                    under_way.remove(&id);
                }
            }
            () = tokio::time::sleep(REST) => {}
            () = app.lifecycle.reached(Phase::Draining) => {}
        }
    }
    // What is not fetched yet waits for the next start.
}

async fn start(app: &Arc<App>, under_way: &mut HashMap<Uuid, UnderWay>, fetches: &mut JoinSet<Uuid>) {
    let most = app.config.fetch_at_once;
    let Ok(wanting) = app.jobs.wanting().await else { return };
    for job in wanting {
        if under_way.len() >= most {
            return;
        }
        if under_way.contains_key(&job.id) {
            continue;
        }
        let hosts = hosts(&job);
        let of_client = under_way.values().filter(|each| each.client == job.client).count();
        let of_host = |host: &String| under_way.values().filter(|each| each.hosts.contains(host)).count();
        if of_client >= most.div_ceil(PER_CLIENT)
            || hosts.iter().any(|host| of_host(host) >= most.div_ceil(PER_HOST))
        {
            continue;
        }
        under_way.insert(job.id, UnderWay { client: job.client.clone(), hosts });
        let app = app.clone();
        fetches.spawn(async move {
            let id = job.id;
            // A job that is cancelled meanwhile needs nothing any more.
            let began = Instant::now();
            let refused = tokio::select! {
                fetched = fetch(&app, &job) => fetched.err(),
                _ = app.jobs.wait_terminal(id) => None,
            };
            if let Some(failure) = refused {
                refuse(&app, &job, failure, began.elapsed()).await;
            }
            id
        });
    }
}

fn task(job: &Job) -> Option<Task> {
    serde_json::from_value(job.payload.clone()).ok()
}

fn urls(task: &Task) -> Vec<&Url> {
    let Task::Transfer(transfer) = task else { return Vec::new() };
    let images = transfer.pictures.iter();
    images.filter_map(|(_, image)| if let ImageRef::Url(url) = image { Some(url) } else { None }).collect()
}

fn hosts(job: &Job) -> HashSet<String> {
    let task = task(job);
    let urls = task.iter().flat_map(urls);
    urls.filter_map(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))).collect()
}

/// Fetches what the job wants, and hands it in. `Err` is why that can never be.
async fn fetch(app: &Arc<App>, job: &Job) -> Result<(), Failure> {
    let Some(Task::Transfer(mut transfer)) = task(job) else { return Ok(()) };
    let (mut fetched, mut seen) = (Unclaimed::new(&app.blobs), Seen::default());
    for (field, image) in transfer.pictures.iter_mut() {
        let ImageRef::Url(url) = &*image else { continue };
        let file = app.fetcher.fetch(url).await;
        let file = file.map_err(|error| Failure::client(format!("{field}: {error}")))?;
        let key = BlobKey::random(api::extension_of(&file));
        fetched.keys.push(key.clone());
        // What is wrong with it is told when its turn has come.
        if let Ok(cost) = app.decoding.cost(&file) {
            seen.note(field, (cost.width, cost.height));
        }
        if let Err(error) = app.blobs.put(&key, file).await {
            tracing::error!(id = %job.id, %error, "a fetched picture could not be stored; it will be fetched again");
            tokio::time::sleep(REST).await;
            return Ok(());
        }
        *image = ImageRef::Blob(key);
    }
    check(app, job, &transfer).await?;
    let most = app.config.max_output_pixels;
    // A subject that came with the request is counted already.
    let cost = if seen.subject() { seen.effort(&transfer.parameters, most) } else { job.cost };
    let Ok(payload) = serde_json::to_value(Task::Transfer(transfer)) else { return Ok(()) };
    let inputs = job.inputs.iter().chain(&fetched.keys).cloned().collect();
    match app.jobs.supply(job.id, payload, inputs, cost).await {
        Ok(true) => fetched.claimed(),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(id = %job.id, %error, "fetched pictures could not be noted; they will be fetched again");
            tokio::time::sleep(REST).await;
        }
    }
    Ok(())
}

/// Asks whether these pictures may be used, where somebody is to be asked.
async fn check(app: &App, job: &Job, transfer: &TransferTask) -> Result<(), Failure> {
    let stage = CheckStage::Input;
    let Some(checker) = app.checker_of(stage) else { return Ok(()) };
    let stored = transfer.pictures.iter().filter_map(|(name, image)| match image {
        ImageRef::Blob(key) => Some((name, key)),
        ImageRef::Url(_) => None,
    });
    let pictures = stored.collect();
    let Parameters { prompt, negative_prompt, .. } = &transfer.parameters;
    checker.check(app, &Checked { job, prompt, negative_prompt, stage, pictures }).await
}

/// Ends a job that never came to a worker; the log says so as it does of one that did.
async fn refuse(app: &App, job: &Job, failure: Failure, took: Duration) {
    let Job { id, owner, .. } = job;
    let reason = failure.reason.clone();
    match app.jobs.refuse(*id, failure).await {
        Ok(true) => {
            tracing::warn!(%id, key = owner, seconds = took.as_secs_f64(), reason, "job failed");
        }
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%id, %error, "the end of a job could not be stored; it will be tried again");
            tokio::time::sleep(REST).await;
        }
    }
}
