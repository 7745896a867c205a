//! What is asked of jobs without changing any: a client's own, how many there are, how long the latest ones took.

use std::{sync::Arc, time::Duration};

use jobs::{BlobKey, Counts, Job, Listing, Result};

use serde_json::Value;

use crate::{Shared, database::parameters, rows};

/// A page of a client's jobs, newest first.
pub(crate) async fn page(shared: &Shared, listing: &Listing) -> Result<Vec<Arc<Job>>> {
    let sql = format!(
        "SELECT {} FROM @jobs j WHERE j.client = $1 AND j.owner = $2 AND ($3::text IS NULL OR j.state = $3)
            AND ($4::bigint IS NULL OR (j.submitted_at, j.id) < ($4, $5)) AND NOT j.deposit AND {}
         ORDER BY j.submitted_at DESC, j.id DESC LIMIT $6",
        rows::JOB,
        rows::VISIBLE
    );
    let rows = shared
        .database
        .rows(
            &sql,
            parameters![
                rows::clean(&listing.client),
                rows::clean(&listing.owner),
                listing.state.map(jobs::State::as_str),
                listing.after.map(|place| place.submitted_at.cast_signed()),
                listing.after.map(|place| place.id),
                i64::try_from(listing.limit).unwrap_or(i64::MAX)
            ],
        )
        .await?;
    rows.iter().map(rows::shared).collect()
}

/// How long the jobs took that were completed last, the latest first.
pub(crate) async fn recent_runs(shared: &Shared, limit: usize) -> Result<Vec<Duration>> {
    let sql = "SELECT finished_at - started_at FROM @jobs
        WHERE state = 'COMPLETED' AND NOT deposit AND NOT faded AND started_at IS NOT NULL
        ORDER BY finished_at DESC LIMIT $1";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = shared.database.rows(sql, parameters![limit]).await?;
    Ok(rows.iter().map(|row| Duration::from_millis(row.get::<_, i64>(0).max(0).cast_unsigned())).collect())
}

/// The job that a client submitted under an idempotency key.
pub(crate) async fn by_idempotency_key(shared: &Shared, client: &str, key: &str) -> Result<Option<Arc<Job>>> {
    let sql = rows::by_idempotency_key();
    let row = shared.database.row(&sql, parameters![rows::clean(client), rows::clean(key)]).await?;
    row.as_ref().map(rows::shared).transpose()
}

/// How many jobs are in which state.
pub(crate) async fn counts(shared: &Shared) -> Result<Counts> {
    let sql = "SELECT state, count(*) FROM @jobs WHERE NOT faded AND NOT discarded GROUP BY state";
    let mut counts = Counts::default();
    for row in shared.database.rows(sql, &[]).await? {
        let count = usize::try_from(row.get::<_, i64>(1)).unwrap_or(0);
        match row.get::<_, &str>(0) {
            "QUEUED" => counts.queued = count,
            "PROCESSING" => counts.processing = count,
            "COMPLETED" => counts.completed = count,
            _ => counts.failed = count,
        }
    }
    Ok(counts)
}

/// The completed job that a file belongs to, for as long as the file lives.
pub(crate) async fn by_output(shared: &Shared, key: &BlobKey) -> Result<Option<Arc<Job>>> {
    let sql = format!(
        "SELECT {}, j.faded OR j.expires_at <= @now_ms() AS over FROM @names n JOIN @jobs j ON j.id = n.job
         WHERE n.key = $1 AND n.is_output AND j.state = 'COMPLETED' AND j.files_expire_at > @now_ms()",
        rows::JOB
    );
    let Some(row) = shared.database.row(&sql, parameters![key.as_str()]).await? else {
        return Ok(None);
    };
    let mut job = rows::job(&row)?;
    if row.get("over") {
        (job.payload, job.result) = (Value::Null, None);
    }
    Ok(Some(Arc::new(job)))
}
