//! How a worker takes a job and keeps it.

use std::{sync::Arc, time::Duration};

use jobs::{Beat, Claim, Error, Job, LeaseToken, Result};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinHandle,
    time::sleep,
};
use uuid::Uuid;

use crate::{
    Shared,
    database::parameters,
    endings::{Conclude, Deed},
    rows,
    store::POLL,
    turns, wake,
};

/// The least time between two looks for work that find some: it may be another worker's already.
const PAUSE: Duration = Duration::from_millis(5);

/// What is ready for a node. Parameter: profile.
const READY: &str = "state = 'QUEUED' AND NOT wanting AND profile = $1";

/// What a node may take. Parameters: profile, the most that it may cost.
const TAKEABLE: &str = "state = 'QUEUED' AND NOT wanting AND profile = $1 AND cost <= $2";

/// The waiting job whose turn it is, for a node: of the highest priority, the oldest one of the client that had least of the work.
/// Where it may cost `most` alone, it is the first one of its client: nobody's jobs overtake each other. Parameters: those of
/// [`TAKEABLE`].
fn pick(most: u64) -> String {
    let clients = turns::clients(TAKEABLE);
    let first = match most {
        u64::MAX => String::new(),
        _ => format!(
            "AND j.id IN (SELECT DISTINCT ON (client) id FROM @jobs WHERE {READY} ORDER BY client, priority DESC, seq)"
        ),
    };
    format!(
        "{clients}, pick AS MATERIALIZED (
            SELECT j.id, j.retry_count, clients.start, greatest(j.cost, 1) AS cost
            FROM @jobs j JOIN clients ON clients.client = j.client
            WHERE {TAKEABLE} {first} ORDER BY j.priority DESC, clients.start, j.seq LIMIT 1"
    )
}

/// What runs on a node. Parameter `$3`: the node.
const BUSY: &str = "
    busy AS MATERIALIZED (
        SELECT count(*) AS running, count(*) FILTER (WHERE retry_count > 0) AS suspects
        FROM @jobs WHERE state = 'PROCESSING' AND node = $3)";

/// Whether the node may take it: a job that was interrupted runs alone on its node.
const FIT: &str = "busy.suspects = 0 AND (pick.retry_count = 0 OR busy.running = 0)";

/// Whether there is something that the node may take.
async fn claimable(shared: &Shared, most: u64) -> Result<bool> {
    let sql = format!("WITH {BUSY}, {}) SELECT FROM pick, busy WHERE {FIT}", pick(most));
    let row = shared.database.row(&sql, parameters![shared.profile, rows::amount(most), shared.node]).await?;
    Ok(row.is_some())
}

/// Waits until there may be something that the node may take.
pub(crate) async fn ready(shared: &Shared, most: u64) {
    let mut calls = shared.wake.work();
    // Who asks without having been called may have lost the job to another worker just now.
    let mut pause = PAUSE;
    loop {
        calls.mark_unchanged();
        if claimable(shared, most).await.unwrap_or(false) {
            return sleep(pause).await;
        }
        pause = Duration::ZERO;
        tokio::select! {
            _ = calls.changed() => {}
            () = sleep(POLL) => {}
        }
    }
}

/// The job that the node would take now.
pub(crate) async fn next_up(shared: &Shared) -> Result<Option<Arc<Job>>> {
    let sql = format!(
        "WITH {BUSY}, {}) SELECT {} FROM @jobs j JOIN pick ON pick.id = j.id, busy WHERE {FIT}",
        pick(u64::MAX),
        rows::JOB
    );
    let any = rows::amount(u64::MAX);
    let row = shared.database.row(&sql, parameters![shared.profile, any, shared.node]).await?;
    row.as_ref().map(rows::shared).transpose()
}

/// Virtual time goes on by this share of what a claimed job costs: so that a client with a large job behind it is not kept
/// waiting for ever by others that are new, one after the other.
const AGEING: u64 = 64;

/// The claims of this process: one after the other, so that an interrupted job runs alone on its node.
#[derive(Debug, Default)]
pub(crate) struct Claims(Arc<Mutex<()>>);

impl Claims {
    /// Takes a job, if there is one; whoever goes away before it is in hand leaves it to others.
    pub(crate) async fn take(
        &self,
        shared: &Arc<Shared>,
        most: u64,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<Claim>> {
        let (home, worker, turn) = (shared.clone(), worker.to_owned(), self.0.clone());
        let claiming = tokio::spawn(async move {
            let turn = turn.lock_owned().await;
            (turn, claim(&home, most, Uuid::new_v4(), &worker, lease).await)
        });
        let mut abandoned = Abandoned { shared, claiming: Some(claiming) };
        let taken = match &mut abandoned.claiming {
            Some(claiming) => claiming.await.map_err(|_| Error::Closed)?.1,
            None => return Ok(None),
        };
        abandoned.claiming = None;
        taken
    }
}

/// What a claim took, and the turn of this process's claims, which ends when that is in somebody's hands.
type Claimed = (OwnedMutexGuard<()>, Result<Option<Claim>>);

/// Gives back what a claim took whose caller went away before it got it. The next claim of this process waits until that
/// is done, so that it finds the job.
struct Abandoned<'a> {
    shared: &'a Shared,
    claiming: Option<JoinHandle<Claimed>>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(claiming) = self.claiming.take() else { return };
        let (limits, schema) = (self.shared.limits.clone(), self.shared.database.schema().to_owned());
        let database = self.shared.database.clone();
        tokio::spawn(async move {
            if let Ok((_turn, Ok(Some(claim)))) = claiming.await {
                let (token, deed) = (claim.token, Deed::Release);
                // If it cannot be given back, its lease lapses.
                let _ = database.change(Conclude { limits, schema, token, deed, again: false }).await;
            }
        });
    }
}

/// Takes a job in one statement.
async fn claim(
    shared: &Shared,
    most: u64,
    claim: Uuid,
    worker: &str,
    lease: Duration,
) -> Result<Option<Claim>> {
    let sql = format!(
        "WITH clock AS MATERIALIZED (SELECT @now_ms() AS now), {BUSY}, {} FOR UPDATE OF j SKIP LOCKED),
         j AS (
            UPDATE @jobs t SET state = 'PROCESSING', started_at = clock.now, claim = $4, node = $3, worker = $5,
                finish = pick.start + pick.cost, virtual_time = pick.start + pick.cost / {AGEING}
            FROM pick, busy, clock WHERE t.id = pick.id AND {FIT} RETURNING t.*),
         lease AS (
            INSERT INTO @leases (job, claim, locked_until) SELECT j.id, $4, clock.now + $6 FROM j, clock
            ON CONFLICT (job) DO UPDATE SET claim = excluded.claim, locked_until = excluded.locked_until,
                missed_at = NULL, progress = 0)
         SELECT {}, pg_notify($7, 'move ' || j.id)::text FROM j",
        pick(most),
        rows::JOB
    );
    let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 4);
    let channel = wake::channel(shared.database.schema());
    let row = shared
        .database
        .row(
            &sql,
            parameters![
                shared.profile,
                rows::amount(most),
                shared.node,
                claim,
                rows::clean(worker),
                lease,
                channel
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let job = Arc::new(rows::job(&row)?);
    Ok(Some(Claim { token: LeaseToken { id: job.id, claim }, job }))
}

/// Renews a lease, without waiting for the disk: what is lost of it costs a retry at most.
pub(crate) async fn beat(
    shared: &Shared,
    token: &LeaseToken,
    lease: Duration,
    progress: f32,
) -> Result<Beat> {
    let progress = if progress.is_nan() { 0.0 } else { progress.clamp(0.0, 1.0) };
    let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 4);
    let row = shared
        .database
        .row(
            "WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
             UPDATE @leases l SET locked_until = @now_ms() + $3, missed_at = NULL, progress = $4
             FROM @jobs j, quick WHERE l.job = $1 AND l.claim = $2 AND j.id = l.job RETURNING j.cancel_requested",
            parameters![token.id, token.claim, lease, progress],
        )
        .await?;
    Ok(match row.map(|row| row.get(0)) {
        None => Beat::Lost,
        Some(true) => Beat::Cancel,
        Some(false) => Beat::Continue,
    })
}
