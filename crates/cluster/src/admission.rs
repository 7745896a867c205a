//! How jobs come in: what has to be true for one to be accepted, and what goes to make room for it. Submissions happen one
//! after the other, under an advisory lock, so that every limit is exact.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jobs::{BlobKey, Caps, Error, Job, NewJob};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Limits,
    database::{Change, Fault, Parameter, Session, parameters},
    endings::{End, finish},
    notices, rows,
    wake::{Call, notify},
};

/// Where a job comes in.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) limits: Arc<Limits>,
    pub(crate) schema: String,
    pub(crate) profile: String,
}

impl Entrance {
    async fn lock(&self, on: &Session<'_>) -> Result<(), Fault> {
        let sql = "SELECT pg_advisory_xact_lock(hashtext('material-transfer admission'), hashtext($1))";
        on.rows(sql, parameters![self.schema]).await?;
        Ok(())
    }

    /// Puts a waiting job at the end of the queue.
    async fn insert(&self, on: &Session<'_>, new: &NewJob) -> Result<Job, Fault> {
        let mut job = Job::queued(new.clone(), on.now().await?.cast_unsigned());
        (job.owner, job.client) = (rows::clean(&job.owner), rows::clean(&job.client));
        let inserted = on
            .run(
                "INSERT INTO @jobs (id, owner, client, profile, state, payload, wanting, charged, inputs, submitted_at,
                    idempotency_key, idempotency_digest, webhook, priority, cost)
                 VALUES ($1, $2, $3, $4, 'QUEUED', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (id) DO NOTHING",
                parameters![
                    job.id,
                    job.owner,
                    job.client,
                    self.profile,
                    rows::text(&job.payload)?,
                    job.wanting,
                    job.charged,
                    rows::texts(&job.inputs),
                    job.submitted_at.cast_signed(),
                    job.idempotency.as_ref().map(|given| rows::clean(&given.key)),
                    job.idempotency.as_ref().map(|given| rows::clean(&given.digest)),
                    job.webhook.as_ref().map(rows::text).transpose()?,
                    job.priority,
                    rows::amount(job.cost)
                ],
            )
            .await?;
        if inserted == 0 { Err(Error::Duplicate { id: job.id }.into()) } else { Ok(job) }
    }

    /// Lets the oldest failed jobs go where as much is kept as may be: the client's own for its own limit, those of the
    /// client that has the most for everybody's. Results are never driven out; if there is nothing else, it is an error.
    async fn make_room(&self, on: &Session<'_>, client: &str) -> Result<(), Fault> {
        let own = "WHERE client = $1 AND state IN ('COMPLETED', 'FAILED')";
        let all = "WHERE state IN ('COMPLETED', 'FAILED')";
        let oldest = "ORDER BY finished_at, id LIMIT 1 FOR UPDATE SKIP LOCKED";
        let client = client.to_owned();
        while let Some(what) =
            reached(on, &format!("{own} AND NOT deposit"), parameters![client], &self.limits.caps_each)
                .await?
        {
            let sql = format!("SELECT id FROM @jobs WHERE client = $1 AND state = 'FAILED' {oldest}");
            match on.row(&sql, parameters![client]).await? {
                Some(row) => rows::remove(on, &[row.try_get(0)?]).await?,
                None => return Err(too_much(on, what, own, parameters![client]).await?.into()),
            }
        }
        while let Some(what) = reached(on, all, &[], &self.limits.caps).await? {
            let most = "SELECT client FROM @jobs WHERE state = 'FAILED' GROUP BY client ORDER BY count(*) DESC, client LIMIT 1";
            let sql = format!("SELECT id FROM @jobs WHERE client = ({most}) AND state = 'FAILED' {oldest}");
            match on.row(&sql, &[]).await? {
                Some(row) => rows::remove(on, &[row.try_get(0)?]).await?,
                None => return Err(too_much(on, what, all, &[]).await?.into()),
            }
        }
        Ok(())
    }

    async fn charge(&self, on: &Session<'_>, owner: &str, credits: u64) -> Result<(), Fault> {
        let credits = i64::try_from(credits).unwrap_or(i64::MAX);
        let taken = on
            .run(
                "INSERT INTO @credits AS c (owner, used) SELECT $1, 1 WHERE $2 > 0
                 ON CONFLICT (owner) DO UPDATE SET used = c.used + 1 WHERE c.used < $2",
                parameters![rows::clean(owner), credits],
            )
            .await?;
        if taken == 0 { Err(Error::Exhausted { owner: owner.to_owned() }.into()) } else { Ok(()) }
    }
}

/// The job that its client has submitted under the same idempotency key.
async fn submitted_before(on: &Session<'_>, new: &NewJob) -> Result<Option<Job>, Fault> {
    let Some(given) = &new.idempotency else { return Ok(None) };
    let sql = rows::by_idempotency_key();
    let row = on.row(&sql, parameters![rows::clean(client_of(new)), rows::clean(&given.key)]).await?;
    match row.as_ref().map(rows::job).transpose()? {
        Some(job) if job.idempotency.as_ref() == Some(given) => Ok(Some(job)),
        Some(job) => Err(Error::KeyReused { id: job.id }.into()),
        None => Ok(None),
    }
}

/// Whose turn a new job takes.
fn client_of(new: &NewJob) -> &str {
    if new.client.is_empty() { &new.owner } else { &new.client }
}

/// What there is too much of, if there is as much as may be.
async fn reached(
    on: &Session<'_>,
    which: &str,
    parameters: &[Parameter<'_>],
    caps: &Caps,
) -> Result<Option<&'static str>, Fault> {
    if caps.jobs == usize::MAX && caps.documents == u64::MAX && caps.files == u64::MAX {
        return Ok(None);
    }
    let sql = format!(
        "SELECT count(*), coalesce(sum(document_bytes), 0)::bigint, coalesce(sum(output_bytes), 0)::bigint FROM @jobs {which}"
    );
    let Some(row) = on.row(&sql, parameters).await? else { return Ok(None) };
    let sum = |column: usize| -> Result<u64, Fault> { Ok(row.try_get::<_, i64>(column)?.cast_unsigned()) };
    Ok(if sum(0)? >= caps.jobs as u64 {
        Some("as many results are kept as may be")
    } else if sum(1)? >= caps.documents {
        Some("results as long as may be kept are kept")
    } else if sum(2)? >= caps.files {
        Some("as many bytes of pictures are kept as may be")
    } else {
        None
    })
}

/// The error that says when there will be room.
async fn too_much(
    on: &Session<'_>,
    what: &'static str,
    which: &str,
    parameters: &[Parameter<'_>],
) -> Result<Error, Fault> {
    let sql = format!("SELECT coalesce(min(files_expire_at) - @now_ms(), 0) FROM @jobs {which}");
    let wait = on.number(&sql, parameters).await?.max(1000);
    Ok(Error::Kept { what, wait: Duration::from_millis(wait.cast_unsigned()) })
}

/// A job is handed in.
pub(crate) struct Submit {
    pub(crate) entrance: Entrance,
    pub(crate) new: NewJob,
}

#[async_trait]
impl Change for Submit {
    type Output = Arc<Job>;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Arc<Job>, Fault> {
        let (new, limits) = (&self.new, &self.entrance.limits);
        self.entrance.lock(on).await?;
        if let Some(job) = submitted_before(on, new).await? {
            return Ok(Arc::new(job));
        }
        let client = rows::clean(client_of(new));
        let waiting = on
            .row(
                "SELECT count(*), count(*) FILTER (WHERE client = $1) FROM @jobs WHERE state = 'QUEUED'",
                parameters![client],
            )
            .await?;
        if let Some(row) = waiting {
            let count = |column: usize| -> Result<usize, Fault> {
                Ok(usize::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0))
            };
            if count(0)? >= limits.queue {
                return Err(Error::QueueFull { limit: limits.queue }.into());
            }
            if count(1)? >= limits.queue_each {
                return Err(Error::ClientFull { limit: limits.queue_each }.into());
            }
        }
        if new.webhook.is_some() {
            notices::require_room(on, &client).await?;
        }
        self.entrance.make_room(on, &client).await?;
        rows::hold(on, &new.inputs).await?;
        let job = self.entrance.insert(on, new).await?;
        rows::name(on, job.id, &job.inputs, false).await?;
        if let Some(credits) = new.credits {
            self.entrance.charge(on, &new.owner, credits).await?;
        }
        let call = if new.wanting { Call::Arrival } else { Call::Work };
        notify(on, &self.entrance.schema, call).await?;
        Ok(Arc::new(job))
    }
}

/// Files are to be kept without any work.
pub(crate) struct Deposit {
    pub(crate) entrance: Entrance,
    pub(crate) new: NewJob,
    pub(crate) result: Value,
    pub(crate) outputs: Vec<BlobKey>,
}

#[async_trait]
impl Change for Deposit {
    type Output = Uuid;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Uuid, Fault> {
        let caps = &self.entrance.limits.caps_deposits;
        self.entrance.lock(on).await?;
        let client = rows::clean(client_of(&self.new));
        self.entrance.make_room(on, &client).await?;
        let bytes = rows::hold(on, &self.outputs).await?.cast_unsigned();
        let own = "WHERE client = $1 AND deposit";
        let sql = format!(
            "SELECT coalesce(sum(cardinality(outputs)), 0)::bigint, coalesce(sum(output_bytes), 0)::bigint FROM @jobs {own}"
        );
        if let Some(row) = on.row(&sql, parameters![client]).await? {
            let files = row.try_get::<_, i64>(0)?.cast_unsigned() + self.outputs.len() as u64;
            if files > caps.jobs as u64 || row.try_get::<_, i64>(1)?.cast_unsigned() + bytes > caps.files {
                let what = "as many uploads of this client are kept as may be";
                return Err(too_much(on, what, own, parameters![client]).await?.into());
            }
        }
        self.new.credits = None;
        self.new.inputs.clear();
        let mut job = self.entrance.insert(on, &self.new).await?;
        let id = job.id;
        job.started_at = Some(job.submitted_at);
        let end = End::Completed { result: self.result.clone(), outputs: self.outputs.clone() };
        finish(on, &self.entrance.limits, &self.entrance.schema, job, end).await?;
        // It began and ended when it came.
        on.run("UPDATE @jobs SET deposit = true, submitted_at = finished_at, started_at = finished_at WHERE id = $1", parameters![id])
            .await?;
        Ok(id)
    }
}

/// The inputs of a waiting job are there.
pub(crate) struct Supply {
    pub(crate) schema: String,
    pub(crate) id: Uuid,
    pub(crate) payload: Value,
    pub(crate) inputs: Vec<BlobKey>,
    pub(crate) cost: u64,
}

#[async_trait]
impl Change for Supply {
    type Output = bool;

    async fn apply(&mut self, on: &Session<'_>) -> Result<bool, Fault> {
        let waits = "SELECT inputs FROM @jobs WHERE id = $1 AND state = 'QUEUED' AND wanting FOR UPDATE";
        let Some(row) = on.row(waits, parameters![self.id]).await? else { return Ok(false) };
        let before: Vec<String> = row.try_get(0)?;
        rows::hold(on, &self.inputs).await?;
        rows::name(on, self.id, &self.inputs, false).await?;
        let now = rows::texts(&self.inputs);
        let dropped: Vec<String> = before.into_iter().filter(|key| !now.contains(key)).collect();
        on.run("DELETE FROM @names WHERE job = $1 AND key = ANY($2)", parameters![self.id, dropped]).await?;
        rows::doom(on, &dropped).await?;
        on.run(
            "UPDATE @jobs SET payload = $2, inputs = $3, cost = $4, wanting = false, fetch_node = NULL WHERE id = $1",
            parameters![self.id, rows::text(&self.payload)?, now, rows::amount(self.cost)],
        )
        .await?;
        notify(on, &self.schema, Call::Work).await?;
        Ok(true)
    }
}
