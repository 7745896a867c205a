//! The ends of jobs that are to be told.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jobs::{Error, Job, Notice, PENDING_NOTICES, Result, Try};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    Shared,
    database::{Change, Fault, Session, parameters},
    rows,
};

/// Refuses a job that wants its end told if too many of its client's are still to be.
pub(crate) async fn require_room(on: &Session<'_>, client: &str) -> Result<(), Fault> {
    let sql = "SELECT count(*) FROM @notices WHERE client = $1 AND next_at IS NOT NULL";
    if on.number(sql, parameters![client]).await? < PENDING_NOTICES as i64 {
        return Ok(());
    }
    let what = "as many webhooks of this client as may be are still to be delivered";
    Err(Error::Kept { what, wait: Duration::from_secs(60) }.into())
}

/// Leaves a notice of a job that has just ended, if it wants one.
pub(crate) async fn announce(on: &Session<'_>, job: &Job, now: i64) -> Result<(), Fault> {
    let Some(webhook) = job.webhook.as_ref().filter(|_| !job.discarded) else { return Ok(()) };
    on.run(
        "INSERT INTO @notices (job, client, lane, document, next_at) VALUES ($1, $2, $3, $4, $5)",
        parameters![job.id, job.client, rows::clean(&webhook.lane), rows::text(job)?, now],
    )
    .await?;
    Ok(())
}

fn notice(row: &Row) -> Result<Notice, Fault> {
    let id: Uuid = row.try_get("job")?;
    Ok(Notice {
        job: Arc::new(rows::document(id, row.try_get("document")?)?),
        tries: rows::document(id, row.try_get("tries")?)?,
        next_at: row.try_get::<_, Option<i64>>("next_at")?.map(i64::cast_unsigned),
    })
}

/// The notice of a job.
pub(crate) async fn get(shared: &Shared, id: Uuid) -> Result<Option<Arc<Notice>>> {
    let sql = "SELECT * FROM @notices WHERE job = $1";
    let row = shared.database.row(sql, parameters![id]).await?;
    Ok(row.as_ref().map(notice).transpose()?.map(Arc::new))
}

/// Takes notices whose time has come, in one statement.
pub(crate) async fn take(
    shared: &Shared,
    busy: &[String],
    each: usize,
    limit: usize,
    lease: Duration,
) -> Result<Vec<Arc<Notice>>> {
    let sql = "
        WITH clock AS MATERIALIZED (SELECT @now_ms() AS now),
        line AS MATERIALIZED (
            SELECT n.job, n.next_at, row_number() OVER (PARTITION BY n.lane ORDER BY n.next_at, n.job) AS place
            FROM @notices n, clock WHERE n.next_at <= clock.now AND n.lane <> ALL($1)),
        pick AS MATERIALIZED (
            SELECT n.job FROM @notices n JOIN line ON line.job = n.job, clock
            WHERE line.place <= $2 AND n.next_at <= clock.now
            ORDER BY line.next_at, n.job LIMIT $3 FOR UPDATE OF n SKIP LOCKED)
        UPDATE @notices n SET next_at = clock.now + $4 FROM pick, clock WHERE n.job = pick.job RETURNING n.*";
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 4);
    let rows =
        shared.database.rows(sql, parameters![busy.to_vec(), number(each), number(limit), lease]).await?;
    rows.iter().map(|row| Ok(Arc::new(notice(row)?))).collect()
}

/// A try to deliver a notice.
pub(crate) struct NoteTry {
    pub(crate) id: Uuid,
    pub(crate) attempt: Try,
    pub(crate) again: Option<Duration>,
}

#[async_trait]
impl Change for NoteTry {
    type Output = ();

    async fn apply(&mut self, on: &Session<'_>) -> Result<(), Fault> {
        let sql = "SELECT * FROM @notices WHERE job = $1 FOR UPDATE";
        let Some(row) = on.row(sql, parameters![self.id]).await? else { return Ok(()) };
        let mut tries = notice(&row)?.tries;
        tries.push(self.attempt.clone());
        let again = self.again.map(|again| i64::try_from(again.as_millis()).unwrap_or(i64::MAX / 4));
        on.run(
            "UPDATE @notices SET tries = $2, next_at = @now_ms() + $3 WHERE job = $1",
            parameters![self.id, rows::text(&tries)?, again],
        )
        .await?;
        on.run(
            "DELETE FROM @notices n WHERE job = $1 AND next_at IS NULL AND NOT EXISTS (SELECT FROM @jobs j WHERE j.id = n.job)",
            parameters![self.id],
        )
        .await?;
        Ok(())
    }
}
