//! Whose turn it is: the place of a waiting job, and the order in which inputs are fetched.

use std::sync::Arc;

use async_trait::async_trait;
use jobs::{Job, Result};
use uuid::Uuid;

use crate::{
    Shared,
    database::{Change, Fault, Session, parameters},
    rows,
};

/// How many jobs one node fetches inputs for at most.
const AT_ONCE: i64 = 32;
/// How long others leave a job to the node that fetches for it, ms; it says so again every second.
const FETCH_LEASE: i64 = 15_000;

/// How many waiting jobs come before this one if nothing else is submitted: those of a higher priority, and within its own, of
/// its client's those before it, and of each other client as many, and one more where the other one's turn comes first.
pub(crate) async fn position(shared: &Shared, id: Uuid) -> Result<Option<usize>> {
    let sql = "
        WITH me AS MATERIALIZED (
            SELECT j.client, j.profile, j.priority, (SELECT count(*) FROM @jobs b WHERE b.state = 'QUEUED' AND b.client = j.client
                AND b.profile = j.profile AND b.priority = j.priority AND b.seq < j.seq) AS before,
                (SELECT count(*) FROM @jobs a WHERE a.state = 'QUEUED' AND a.profile = j.profile
                AND a.priority > j.priority) AS above
            FROM @jobs j WHERE j.id = $1 AND j.state = 'QUEUED'),
        lines AS MATERIALIZED (
            SELECT l.client, l.length, l.first,
                coalesce((SELECT max(k.turn) FROM @jobs k WHERE k.client = l.client AND k.turn IS NOT NULL), -1) AS turn
            FROM (SELECT j.client, count(*) AS length, min(j.seq) AS first FROM @jobs j, me
                WHERE j.state = 'QUEUED' AND j.profile = me.profile AND j.priority = me.priority GROUP BY j.client) l)
        SELECT (me.above + me.before + coalesce((
            SELECT sum(least(o.length, me.before + CASE WHEN (o.turn, o.first) < (own.turn, own.first) THEN 1 ELSE 0 END))
            FROM lines o WHERE o.client <> me.client), 0))::bigint
        FROM me JOIN lines own ON own.client = me.client";
    let row = shared.database.row(sql, parameters![id]).await?;
    Ok(row.and_then(|row| usize::try_from(row.get::<_, i64>(0)).ok()))
}

/// Takes it upon a node to fetch inputs: the first of each client, then the second, and so on.
pub(crate) struct Want {
    pub(crate) node: Uuid,
}

#[async_trait]
impl Change for Want {
    type Output = Vec<Arc<Job>>;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Self::Output, Fault> {
        let sql = format!(
            "WITH line AS MATERIALIZED (
                SELECT id, seq, priority, row_number() OVER (PARTITION BY client, priority ORDER BY seq) AS place,
                    coalesce((SELECT max(k.turn) FROM @jobs k WHERE k.client = q.client AND k.turn IS NOT NULL), -1) AS turn
                FROM @jobs q WHERE state = 'QUEUED')
             SELECT {} FROM @jobs j JOIN line ON line.id = j.id
             WHERE j.state = 'QUEUED' AND j.wanting AND (j.fetch_node = $1 OR j.fetch_until <= @now_ms())
             ORDER BY line.priority DESC, line.place, line.turn, line.seq LIMIT $2 FOR UPDATE OF j SKIP LOCKED",
            rows::JOB
        );
        let rows = on.rows(&sql, parameters![self.node, AT_ONCE]).await?;
        let jobs = rows.iter().map(|row| Ok(Arc::new(rows::job(row)?))).collect::<Result<Vec<_>, Fault>>()?;
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
        on.run(
            "UPDATE @jobs SET fetch_node = $1, fetch_until = @now_ms() + $3 WHERE id = ANY($2)
             AND (fetch_node IS DISTINCT FROM $1 OR fetch_until < @now_ms() + $3 / 2)",
            parameters![self.node, ids, FETCH_LEASE],
        )
        .await?;
        Ok(jobs)
    }
}
