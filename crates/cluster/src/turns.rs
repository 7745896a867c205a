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

/// The virtual time, and where the clients of the jobs that are `which` stand in it: the tables `present` (`now`) and `clients`
/// (`client`, `start`). See the embedded home's queue for what they are.
pub(crate) fn clients(which: &str) -> String {
    format!(
        "present AS MATERIALIZED (
            SELECT coalesce(max(virtual_time), 0) AS now FROM @jobs WHERE virtual_time IS NOT NULL),
        clients AS MATERIALIZED (
            SELECT c.client, greatest(present.now,
                (SELECT max(k.finish) FROM @jobs k WHERE k.client = c.client AND k.finish IS NOT NULL)) AS start
            FROM (SELECT DISTINCT client FROM @jobs WHERE {which}) c, present)"
    )
}

/// The jobs that are `which`, each with the virtual time at which its claim begins if nothing else is submitted: the table
/// `line` (`id`, `seq`, `priority`, `start`), with those of [`clients`].
fn line(which: &str) -> String {
    format!(
        "{}, line AS MATERIALIZED (
            SELECT j.id, j.seq, j.priority, (clients.start - greatest(j.cost, 1)
                + sum(greatest(j.cost, 1)) OVER (PARTITION BY j.client ORDER BY j.priority DESC, j.seq))::bigint AS start
            FROM @jobs j JOIN clients ON clients.client = j.client WHERE {which})",
        clients(which)
    )
}

/// How many waiting jobs come before this one if nothing else is submitted.
pub(crate) async fn position(shared: &Shared, id: Uuid) -> Result<Option<usize>> {
    let which = "state = 'QUEUED' AND profile = (SELECT profile FROM @jobs WHERE id = $1)";
    let sql = format!(
        "WITH {} SELECT (SELECT count(*) FROM line o WHERE (-o.priority, o.start, o.seq) < (-own.priority, own.start, own.seq)) FROM line own WHERE own.id = $1",
        line(which)
    );
    let row = shared.database.row(&sql, parameters![id]).await?;
    Ok(row.and_then(|row| usize::try_from(row.get::<_, i64>(0)).ok()))
}

/// Takes it upon a node to fetch inputs, in the order of the jobs' turns.
pub(crate) struct Want {
    pub(crate) node: Uuid,
}

#[async_trait]
impl Change for Want {
    type Output = Vec<Arc<Job>>;

    async fn apply(&mut self, on: &Session<'_>) -> Result<Self::Output, Fault> {
        let sql = format!(
            "WITH {} SELECT {} FROM @jobs j JOIN line ON line.id = j.id
             WHERE j.state = 'QUEUED' AND j.wanting AND (j.fetch_node = $1 OR j.fetch_until <= @now_ms())
             ORDER BY line.priority DESC, line.start, line.seq LIMIT $2 FOR UPDATE OF j SKIP LOCKED",
            line("state = 'QUEUED'"),
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
