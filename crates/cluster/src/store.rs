//! The trait [`JobStore`] on PostgreSQL.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jobs::{
    Beat, BlobKey, CancelOutcome, Claim, Counts, Endings, Error, Failure, Job, JobStore, LeaseToken, Listing,
    NewJob, Notice, Result, State, Try,
};
use serde_json::Value;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::sleep,
};
use uuid::Uuid;

use crate::{
    Shared,
    admission::{Deposit, Entrance, Submit, Supply},
    claims::{self, Claims},
    database::parameters,
    endings::{Became, Cancel, Conclude, Deed, Delete, End, Refuse, Tally},
    lists,
    notices::{self, NoteTry},
    rows, sweep, turns,
    wake::Call,
};

/// How soon a waiter that was not woken looks again.
pub(crate) const POLL: Duration = Duration::from_secs(2);

/// Jobs in PostgreSQL.
#[derive(Debug)]
pub struct PostgresJobs {
    shared: Arc<Shared>,
    tally: Tally,
    claims: Claims,
    /// Claims whose end was tried, and nobody knows what became of that.
    unsure: Mutex<HashSet<Uuid>>,
    /// The database's time less the time since `began`, unix ms.
    base: AtomicI64,
    began: Instant,
}

impl PostgresJobs {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tally: Tally::default(),
            claims: Claims::default(),
            unsure: Mutex::default(),
            base: AtomicI64::default(),
            began: Instant::now(),
        }
    }

    /// What this process calls itself in the database.
    pub fn node(&self) -> Uuid {
        self.shared.node
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sets this process's idea of the database's time.
    pub(crate) async fn learn_the_time(&self) -> Result<()> {
        if let Some(row) = self.shared.database.row("SELECT @now_ms()", &[]).await? {
            let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(0);
            self.base.store(row.get::<_, i64>(0) - passed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Notes what an owner has used elsewhere; `false` if it has used some here already.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn adopt_credits(&self, owner: &str, used: u64) -> Result<bool> {
        let sql = "INSERT INTO @credits (owner, used) VALUES ($1, $2) ON CONFLICT (owner) DO NOTHING RETURNING owner";
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        Ok(self.shared.database.row(sql, parameters![rows::clean(owner), used]).await?.is_some())
    }

    fn unsure(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn schema(&self) -> String {
        self.shared.database.schema().to_owned()
    }

    fn entrance(&self) -> Entrance {
        Entrance {
            limits: self.shared.limits.clone(),
            schema: self.schema(),
            profile: self.shared.profile.clone(),
        }
    }

    /// Nothing new is taken while something is wrong.
    fn require_health(&self) -> Result<()> {
        match self.shared.health.trouble() {
            Some(reason) => Err(Error::Unwell { reason }),
            None => Ok(()),
        }
    }

    /// Notes what a call says of the services.
    async fn noted<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.shared.health.note(call.await)
    }

    async fn conclude(&self, token: &LeaseToken, deed: Deed) -> Result<()> {
        let again = self.unsure().contains(&token.claim);
        let change = Conclude {
            limits: self.shared.limits.clone(),
            schema: self.schema(),
            token: token.clone(),
            deed,
            again,
        };
        let outcome = self.noted(self.shared.database.change(change)).await;
        match &outcome {
            Err(error) if error.is_disk() => _ = self.unsure().insert(token.claim),
            _ => _ = self.unsure().remove(&token.claim),
        }
        if let Some(became) = outcome? {
            self.tally.count(became);
        }
        self.ended(token.id);
        Ok(())
    }

    /// Tells this process's waiters, and lets files go that the end left behind.
    fn ended(&self, id: Uuid) {
        self.shared.wake.tell(Call::End(id));
        let shared = self.shared.clone();
        tokio::spawn(async move {
            // What is not deleted now, the next sweep deletes.
            if let Err(error) = sweep::delete_files(&shared).await {
                tracing::debug!(%error, "files of a job could not be deleted yet");
            }
        });
    }

    async fn number(&self, sql: &str, text: &str) -> Result<u64> {
        let row = self.shared.database.row(sql, parameters![rows::clean(text)]).await?;
        Ok(row.map_or(0, |row| row.get::<_, i64>(0).cast_unsigned()))
    }
}

#[async_trait]
impl JobStore for PostgresJobs {
    async fn submit(&self, job: NewJob) -> Result<Arc<Job>> {
        self.require_health()?;
        let call = if job.wanting { Call::Arrival } else { Call::Work };
        let submit = Submit { entrance: self.entrance(), new: job };
        let accepted = self.noted(self.shared.database.change(submit)).await?;
        self.shared.wake.tell(call);
        Ok(accepted)
    }

    async fn deposit(&self, job: NewJob, result: Value, outputs: Vec<BlobKey>) -> Result<Arc<Job>> {
        self.require_health()?;
        let deposit = Deposit { entrance: self.entrance(), new: job, result, outputs };
        let id = self.noted(self.shared.database.change(deposit)).await?;
        JobStore::get(self, id).await?.ok_or(Error::Closed)
    }

    async fn wanting(&self) -> Result<Vec<Arc<Job>>> {
        let any = "SELECT FROM @jobs WHERE state = 'QUEUED' AND wanting LIMIT 1";
        if self.shared.database.row(any, &[]).await?.is_none() {
            return Ok(Vec::new());
        }
        self.shared.database.change(turns::Want { node: self.shared.node }).await
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.wake.arrivals()
    }

    async fn supply(&self, id: Uuid, payload: Value, inputs: Vec<BlobKey>, cost: u64) -> Result<bool> {
        let supply = Supply { schema: self.schema(), id, payload, inputs, cost };
        self.noted(self.shared.database.change(supply)).await
    }

    async fn refuse(&self, id: Uuid, failure: Failure) -> Result<bool> {
        let (limits, schema) = (self.shared.limits.clone(), self.schema());
        let refused = self.noted(self.shared.database.change(Refuse { limits, schema, id, failure })).await?;
        if refused {
            self.tally.count(Became::Failed);
            self.ended(id);
        }
        Ok(refused)
    }

    async fn claim_up_to(&self, most: u64, worker: &str, lease: Duration) -> Result<Option<Claim>> {
        // What could not be ended is better not begun.
        if self.shared.health.trouble().is_some() {
            return Ok(None);
        }
        let taken = self.claims.take(&self.shared, most, worker, lease).await;
        if let Ok(Some(claim)) = &taken {
            tracing::debug!(job = %claim.job.id, retry = claim.job.retry_count, "claimed");
        }
        self.shared.health.note(taken)
    }

    async fn next_up(&self) -> Result<Option<Arc<Job>>> {
        claims::next_up(&self.shared).await
    }

    async fn heartbeat(&self, token: &LeaseToken, lease: Duration, progress: f32) -> Result<Beat> {
        claims::beat(&self.shared, token, lease, progress).await
    }

    async fn complete(&self, token: &LeaseToken, result: Value, outputs: Vec<BlobKey>) -> Result<()> {
        self.conclude(token, Deed::End(End::Completed { result, outputs })).await
    }

    async fn fail(&self, token: &LeaseToken, failure: Failure) -> Result<()> {
        self.conclude(token, Deed::End(End::Failed(failure))).await
    }

    async fn release(&self, token: &LeaseToken) -> Result<()> {
        self.conclude(token, Deed::Release).await?;
        self.shared.wake.tell(Call::Work);
        Ok(())
    }

    async fn get(&self, id: Uuid) -> Result<Option<Arc<Job>>> {
        let sql = format!("SELECT {} FROM @jobs j WHERE j.id = $1 AND {}", rows::JOB, rows::VISIBLE);
        self.shared.database.row(&sql, parameters![id]).await?.as_ref().map(rows::shared).transpose()
    }

    async fn by_idempotency_key(&self, client: &str, key: &str) -> Result<Option<Arc<Job>>> {
        lists::by_idempotency_key(&self.shared, client, key).await
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Arc<Job>>> {
        lists::page(&self.shared, listing).await
    }

    async fn recent_runs(&self, limit: usize) -> Result<Vec<Duration>> {
        lists::recent_runs(&self.shared, limit).await
    }

    async fn cancel(&self, id: Uuid) -> Result<CancelOutcome> {
        let (limits, schema) = (self.shared.limits.clone(), self.schema());
        let outcome = self.noted(self.shared.database.change(Cancel { limits, schema, id })).await?;
        if outcome == CancelOutcome::Cancelled {
            self.tally.count(Became::Cancelled);
            self.ended(id);
        }
        Ok(outcome)
    }

    async fn delete(&self, id: Uuid) -> Result<bool> {
        let (limits, schema) = (self.shared.limits.clone(), self.schema());
        let deleted = self.noted(self.shared.database.change(Delete { limits, schema, id })).await?;
        if deleted == Some(State::Queued) {
            self.tally.count(Became::Cancelled);
        }
        if deleted.is_some() {
            self.shared.wake.tell(Call::Move(id));
            sweep::delete_files(&self.shared).await?;
        }
        Ok(deleted.is_some())
    }

    async fn position(&self, id: Uuid) -> Result<Option<usize>> {
        turns::position(&self.shared, id).await
    }

    async fn progress(&self, id: Uuid) -> Result<Option<f32>> {
        let sql = "SELECT progress FROM @leases WHERE job = $1";
        Ok(self.shared.database.row(sql, parameters![id]).await?.map(|row| row.get(0)))
    }

    async fn oldest_waiting(&self) -> Result<Option<u64>> {
        let sql = "SELECT min(submitted_at) FROM @jobs WHERE state = 'QUEUED'";
        let row = self.shared.database.row(sql, &[]).await?;
        Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).map(i64::cast_unsigned))
    }

    async fn counts(&self) -> Result<Counts> {
        lists::counts(&self.shared).await
    }

    async fn waiting_of(&self, client: &str) -> Result<usize> {
        let sql = "SELECT count(*) FROM @jobs WHERE state = 'QUEUED' AND client = $1";
        Ok(usize::try_from(self.number(sql, client).await?).unwrap_or(usize::MAX))
    }

    async fn endings(&self) -> Result<Endings> {
        Ok(self.tally.endings())
    }

    async fn used(&self, owner: &str) -> Result<u64> {
        self.number("SELECT used FROM @credits WHERE owner = $1", owner).await
    }

    fn now(&self) -> u64 {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(0);
        (self.base.load(Ordering::Relaxed) + passed).cast_unsigned()
    }

    fn unwell(&self) -> Option<String> {
        self.shared.health.trouble()
    }

    async fn check(&self) {
        let outcome = match self.learn_the_time().await {
            Ok(()) => self.shared.objects.probe(self.shared.health.uploads_failed()).await,
            Err(error) => Err(error),
        };
        self.shared.health.looked(&outcome);
    }

    async fn by_output(&self, key: &BlobKey) -> Result<Option<Arc<Job>>> {
        lists::by_output(&self.shared, key).await
    }

    async fn work_ready_up_to(&self, most: u64) {
        claims::ready(&self.shared, most).await;
    }

    async fn wait_change(&self, id: Uuid, seen: State) -> Result<Option<Arc<Job>>> {
        let mut moves = self.shared.wake.moves();
        loop {
            match JobStore::get(self, id).await {
                Ok(Some(job)) if job.state == seen => {}
                Ok(other) => return Ok(other),
                // The job goes on whether or not the database can be asked just now.
                Err(error) if error.is_disk() => {}
                Err(error) => return Err(error),
            }
            let said = async {
                loop {
                    match moves.recv().await {
                        Ok(moved) if moved != id => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = said => {}
                () = sleep(POLL) => {}
            }
        }
    }

    async fn take_notices(
        &self,
        busy: &[String],
        each: usize,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Arc<Notice>>> {
        notices::take(&self.shared, busy, each, limit, lease).await
    }

    async fn note_try(&self, id: Uuid, attempt: Try, again: Option<Duration>) -> Result<()> {
        self.shared.database.change(NoteTry { id, attempt, again }).await
    }

    async fn notice(&self, id: Uuid) -> Result<Option<Arc<Notice>>> {
        notices::get(&self.shared, id).await
    }

    async fn sweep(&self) -> Result<usize> {
        let (touched, became) = self.noted(sweep::sweep(&self.shared)).await?;
        for each in became {
            self.tally.count(each);
        }
        Ok(touched)
    }
}
