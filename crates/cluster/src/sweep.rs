//! Tidying up, by one node at a time: what is expired, whose worker is gone, files that nobody names, nodes that are gone.

use std::sync::Arc;

use async_trait::async_trait;
use jobs::Result;
use uuid::Uuid;

use crate::{
    Limits, Shared,
    database::{Change, Fault, Session, parameters},
    endings::{self, Became},
    rows,
};

/// What a worker has, once its lease is seen to have lapsed, to show that it lives, ms.
const CHANCE: i64 = 1000;
/// How much is done in one transaction, so that none takes long.
const BATCH: i64 = 500;
/// How many objects are deleted in one go.
const DELETES_AT_ONCE: i64 = 1000;
/// After how long a silent node is forgotten, ms.
const FORGOTTEN: i64 = 120_000;

/// Tidies up until there is nothing to do, unless another node is at it. Returns how many jobs and files it touched, and
/// what became of jobs.
pub(crate) async fn sweep(shared: &Shared) -> Result<(usize, Vec<Became>)> {
    let (mut touched, mut became) = (0, Vec::new());
    loop {
        let schema = shared.database.schema().to_owned();
        let sweep = Sweep { limits: shared.limits.clone(), schema };
        let Some(round) = shared.database.change(sweep).await? else { break };
        touched += round.touched;
        became.extend(round.became);
        if !round.more {
            break;
        }
    }
    delete_files(shared).await?;
    Ok((touched, became))
}

/// Deletes the objects that were given up, then their names. Any node may, at any time.
pub(crate) async fn delete_files(shared: &Shared) -> Result<()> {
    loop {
        let rows = shared
            .database
            .rows("SELECT key FROM @files WHERE state = 'DOOMED' LIMIT $1", parameters![DELETES_AT_ONCE])
            .await?;
        let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        shared.objects.delete_all(&keys).await?;
        let gone = "DELETE FROM @files WHERE key = ANY($1) AND state = 'DOOMED'";
        shared.database.rows(gone, parameters![keys]).await?;
        if (keys.len() as i64) < DELETES_AT_ONCE {
            return Ok(());
        }
    }
}

struct Sweep {
    limits: Arc<Limits>,
    schema: String,
}

struct Round {
    touched: usize,
    became: Vec<Became>,
    more: bool,
}

#[async_trait]
impl Change for Sweep {
    type Output = Option<Round>;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Option<Round>, Fault> {
        let sql = "SELECT pg_try_advisory_xact_lock(hashtext('material-transfer sweep'), hashtext($1))::int::bigint";
        if on.number(sql, parameters![self.schema]).await? == 0 {
            return Ok(None);
        }
        let now = on.now().await?;
        let orphans = self.orphans(on, now).await?;
        let expired = self.expire(on, now).await?;
        let became = self.reclaim(on, now).await?;
        on.run("DELETE FROM @workers WHERE seen_at < $1", parameters![now - FORGOTTEN]).await?;
        let full = |count: usize| count as i64 >= BATCH;
        let more = full(orphans) || full(expired) || full(became.len());
        Ok(Some(Round { touched: orphans + expired + became.len(), became, more }))
    }
}

impl Sweep {
    /// Removes expired jobs, except for files that live longer.
    async fn expire(&self, on: &Session<'_>, now: i64) -> Result<usize, Fault> {
        let faded = on
            .run(
                "UPDATE @jobs SET faded = true, payload = 'null', result = NULL, document_bytes = 0 WHERE id IN (
                    SELECT id FROM @jobs WHERE expires_at <= $1 AND NOT faded AND files_expire_at > $1
                    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)",
                parameters![now, BATCH],
            )
            .await?;
        let rows = on
            .rows(
                "SELECT id FROM @jobs WHERE files_expire_at <= $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
                parameters![now, BATCH],
            )
            .await?;
        let ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
        rows::remove(on, &ids).await?;
        Ok(ids.len() + usize::try_from(faded).unwrap_or(0))
    }

    /// Interrupts the jobs whose worker has gone silent.
    async fn reclaim(&self, on: &Session<'_>, now: i64) -> Result<Vec<Became>, Fault> {
        on.run(
            "UPDATE @leases SET missed_at = $1 WHERE locked_until <= $1 AND missed_at IS NULL",
            parameters![now],
        )
        .await?;
        let sql = format!(
            "SELECT {} FROM @jobs j JOIN @leases l ON l.job = j.id
             WHERE j.state = 'PROCESSING' AND l.locked_until <= $1 AND l.missed_at <= $2
             ORDER BY j.id LIMIT $3 FOR UPDATE OF j, l SKIP LOCKED",
            rows::JOB
        );
        let lapsed = on.rows(&sql, parameters![now, now - CHANCE, BATCH]).await?;
        let mut became = Vec::new();
        for row in &lapsed {
            became.push(endings::interrupt(on, &self.limits, &self.schema, rows::job(row)?).await?);
        }
        // A lease that was lost with the database's last moments.
        let sql = format!(
            "SELECT {} FROM @jobs j WHERE j.state = 'PROCESSING' AND NOT EXISTS (SELECT FROM @leases l WHERE l.job = j.id)
             LIMIT $1 FOR UPDATE OF j SKIP LOCKED",
            rows::JOB
        );
        for row in &on.rows(&sql, parameters![BATCH]).await? {
            became.push(endings::interrupt(on, &self.limits, &self.schema, rows::job(row)?).await?);
        }
        Ok(became)
    }

    /// Gives up old files that no job names, and uploads that were never finished.
    async fn orphans(&self, on: &Session<'_>, now: i64) -> Result<usize, Fault> {
        let rows = on
            .rows(
                "SELECT key FROM @files f WHERE stored_at <= $1 AND state <> 'DOOMED'
                 AND NOT EXISTS (SELECT FROM @names n WHERE n.key = f.key)
                 ORDER BY key LIMIT $2 FOR UPDATE SKIP LOCKED",
                parameters![now.saturating_sub(self.limits.unclaimed_ttl), BATCH],
            )
            .await?;
        let keys = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        rows::doom(on, &keys).await?;
        Ok(keys.len())
    }
}
