//! How jobs end, or go back to the queue. Each in one transaction, with credits, files and wake-ups.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use jobs::{Blame, BlobKey, CancelOutcome, Endings, Error, Failure, Job, LeaseToken, State};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Limits,
    database::{Change, Fault, Session, parameters},
    notices, rows,
    wake::{Call, notify},
};

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Became {
    Completed,
    Failed,
    Cancelled,
    Interrupted,
    Retried,
    Released,
}

/// What this process did.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; 6]);

impl Tally {
    pub(crate) fn count(&self, became: Became) {
        self.0[became as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn endings(&self) -> Endings {
        let of = |became: Became| self.0[became as usize].load(Ordering::Relaxed);
        Endings {
            completed: of(Became::Completed),
            failed: of(Became::Failed),
            cancelled: of(Became::Cancelled),
            interrupted: of(Became::Interrupted),
            retried: of(Became::Retried),
            released: of(Became::Released),
        }
    }
}

/// How a job ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Completed { result: Value, outputs: Vec<BlobKey> },
    Failed(Failure),
}

/// Ends a job: its row is locked.
pub(crate) async fn finish(
    on: &Session<'_>,
    limits: &Limits,
    schema: &str,
    mut job: Job,
    end: End,
) -> Result<(), Fault> {
    let now = on.now().await?;
    let gives_back = matches!(end, End::Failed(_)) && job.charged;
    let inputs = std::mem::take(&mut job.inputs);
    let mut output_bytes = 0;
    match end {
        End::Completed { result, outputs } => {
            output_bytes = rows::hold(on, &outputs).await?;
            rows::name(on, job.id, &outputs, true).await?;
            (job.state, job.result, job.outputs) = (State::Completed, Some(result), outputs);
        }
        End::Failed(failure) => {
            (job.state, job.failure, job.charged) = (State::Failed, Some(failure), false);
        }
    }
    on.run("DELETE FROM @names WHERE job = $1 AND NOT is_output", parameters![job.id]).await?;
    rows::doom(on, &rows::texts(&inputs)).await?;
    if gives_back {
        let back = "UPDATE @credits SET used = greatest(used - 1, 0) WHERE owner = $1";
        on.run(back, parameters![job.owner]).await?;
    }
    let files = if job.outputs.is_empty() { limits.result_ttl } else { limits.file_ttl };
    let moment = |at: i64| Some(at.cast_unsigned());
    (job.payload, job.wanting, job.finished_at) = (Value::Null, false, moment(now));
    (job.expires_at, job.files_expire_at) = (moment(now + limits.result_ttl), moment(now + files));
    save_end(on, &job, output_bytes, now, files.max(limits.result_ttl) + now).await?;
    on.run("DELETE FROM @leases WHERE job = $1", parameters![job.id]).await?;
    notices::announce(on, &job, now).await?;
    if job.discarded {
        rows::remove(on, &[job.id]).await?;
    }
    notify(on, schema, Call::End(job.id)).await?;
    // An interrupted job may have kept others waiting.
    notify(on, schema, Call::Work).await
}

async fn save_end(
    on: &Session<'_>,
    job: &Job,
    output_bytes: i64,
    now: i64,
    files_expire_at: i64,
) -> Result<(), Fault> {
    let result = job.result.as_ref().map(rows::text).transpose()?;
    let error = job.failure.as_ref().map(rows::text).transpose()?;
    let expires_at = job.expires_at.map(u64::cast_signed);
    on.run(
        "UPDATE @jobs SET state = $2, payload = 'null', wanting = false, charged = $3, inputs = '{}', outputs = $4,
            finished_at = $5, expires_at = $6, files_expire_at = $7, result = $8, error = $9, cancel_requested = $10,
            document_bytes = $11, output_bytes = $12, started_at = $13
         WHERE id = $1",
        parameters![
            job.id,
            job.state.as_str(),
            job.charged,
            rows::texts(&job.outputs),
            now,
            expires_at,
            files_expire_at,
            result,
            error,
            job.cancel_requested,
            rows::text(job)?.len() as i64,
            output_bytes,
            job.started_at.map(u64::cast_signed)
        ],
    )
    .await?;
    Ok(())
}

/// Back to the old place in the queue: its row is locked.
async fn requeue(on: &Session<'_>, schema: &str, id: Uuid, retries: i32) -> Result<(), Fault> {
    on.run(
        "UPDATE @jobs SET state = 'QUEUED', started_at = NULL, claim = NULL, node = NULL, worker = NULL,
            retry_count = retry_count + $2 WHERE id = $1",
        parameters![id, retries],
    )
    .await?;
    on.run("DELETE FROM @leases WHERE job = $1", parameters![id]).await?;
    notify(on, schema, Call::Move(id)).await?;
    notify(on, schema, Call::Work).await
}

/// What a worker does with the job that it holds.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    End(End),
    Release,
}

/// A worker's last word on its job.
pub(crate) struct Conclude {
    pub(crate) limits: Arc<Limits>,
    pub(crate) schema: String,
    pub(crate) token: LeaseToken,
    pub(crate) deed: Deed,
    /// Whether the same was tried before and nobody knows what became of that.
    pub(crate) again: bool,
}

#[async_trait]
impl Change for Conclude {
    type Output = Option<Became>;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Self::Output, Fault> {
        let lost = || Error::LeaseLost { id: self.token.id };
        let sql = format!("SELECT {}, j.claim FROM @jobs j WHERE j.id = $1 FOR UPDATE", rows::JOB);
        let row = on.row(&sql, parameters![self.token.id]).await?.ok_or_else(lost)?;
        let job = rows::job(&row)?;
        let same = row.try_get::<_, Option<Uuid>>("claim")? == Some(self.token.claim);
        if !same || job.state != State::Processing {
            // What was tried before has happened.
            return if same && self.again { Ok(None) } else { Err(lost().into()) };
        }
        let (became, end) = match self.deed.clone() {
            Deed::End(end @ End::Completed { .. }) => (Became::Completed, end),
            Deed::End(end) => {
                let cancelled = matches!(&end, End::Failed(failure) if failure.blame == Blame::Cancelled);
                (if cancelled { Became::Cancelled } else { Became::Failed }, end)
            }
            Deed::Release if job.cancel_requested => (Became::Cancelled, End::Failed(Failure::cancelled())),
            Deed::Release => {
                requeue(on, &self.schema, job.id, 0).await?;
                return Ok(Some(Became::Released));
            }
        };
        finish(on, &self.limits, &self.schema, job, end).await?;
        Ok(Some(became))
    }
}

/// A job that may be seen, its row locked.
async fn locked(on: &Session<'_>, id: Uuid) -> Result<Option<Job>, Fault> {
    let sql = format!("SELECT {} FROM @jobs j WHERE j.id = $1 AND {} FOR UPDATE", rows::JOB, rows::VISIBLE);
    on.row(&sql, parameters![id]).await?.as_ref().map(rows::job).transpose()
}

/// Somebody wants a job to be gone.
pub(crate) struct Delete {
    pub(crate) limits: Arc<Limits>,
    pub(crate) schema: String,
    pub(crate) id: Uuid,
}

#[async_trait]
impl Change for Delete {
    /// The state it was in.
    type Output = Option<State>;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Option<State>, Fault> {
        let Some(mut job) = locked(on, self.id).await? else { return Ok(None) };
        let state = job.state;
        (job.cancel_requested, job.discarded) = (true, true);
        match state {
            State::Completed | State::Failed => {
                rows::remove(on, &[self.id]).await?;
                on.run("DELETE FROM @notices WHERE job = $1", parameters![self.id]).await?;
            }
            State::Queued => {
                finish(on, &self.limits, &self.schema, job, End::Failed(Failure::cancelled())).await?;
            }
            State::Processing => {
                on.run(
                    "UPDATE @jobs SET cancel_requested = true, discarded = true WHERE id = $1",
                    parameters![self.id],
                )
                .await?;
                notify(on, &self.schema, Call::Move(self.id)).await?;
            }
        }
        Ok(Some(state))
    }
}

/// Somebody wants a job to be stopped.
pub(crate) struct Cancel {
    pub(crate) limits: Arc<Limits>,
    pub(crate) schema: String,
    pub(crate) id: Uuid,
}

#[async_trait]
impl Change for Cancel {
    type Output = CancelOutcome;

    async fn apply(&mut self, on: &Session<'_>) -> Result<CancelOutcome, Fault> {
        let Some(mut job) = locked(on, self.id).await? else { return Ok(CancelOutcome::Unknown) };
        Ok(match job.state {
            State::Completed | State::Failed => CancelOutcome::AlreadyOver,
            State::Queued => {
                job.cancel_requested = true;
                finish(on, &self.limits, &self.schema, job, End::Failed(Failure::cancelled())).await?;
                CancelOutcome::Cancelled
            }
            State::Processing => {
                on.run("UPDATE @jobs SET cancel_requested = true WHERE id = $1", parameters![self.id])
                    .await?;
                CancelOutcome::Requested
            }
        })
    }
}

/// A waiting job cannot be done.
pub(crate) struct Refuse {
    pub(crate) limits: Arc<Limits>,
    pub(crate) schema: String,
    pub(crate) id: Uuid,
    pub(crate) failure: Failure,
}

#[async_trait]
impl Change for Refuse {
    type Output = bool;

    async fn apply(&mut self, on: &Session<'_>) -> Result<bool, Fault> {
        let sql =
            format!("SELECT {} FROM @jobs j WHERE j.id = $1 AND j.state = 'QUEUED' FOR UPDATE", rows::JOB);
        let Some(row) = on.row(&sql, parameters![self.id]).await? else { return Ok(false) };
        let end = End::Failed(self.failure.clone());
        finish(on, &self.limits, &self.schema, rows::job(&row)?, end).await?;
        Ok(true)
    }
}

/// A running job's worker is gone: its row is locked.
pub(crate) async fn interrupt(
    on: &Session<'_>,
    limits: &Limits,
    schema: &str,
    job: Job,
) -> Result<Became, Fault> {
    let id = job.id;
    let (became, failure) = if job.cancel_requested {
        (Became::Cancelled, Failure::cancelled())
    } else if job.retry_count > 0 {
        tracing::warn!(job = %id, "interrupted for the second time; it fails");
        (Became::Interrupted, Failure::interrupted())
    } else {
        tracing::warn!(job = %id, "interrupted; it goes back to the queue");
        requeue(on, schema, id, 1).await?;
        return Ok(Became::Retried);
    };
    finish(on, limits, schema, job, End::Failed(failure)).await?;
    Ok(became)
}
