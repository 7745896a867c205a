//! Workers as they report themselves, so that any node can say what there is.

use async_trait::async_trait;
use jobs::{Result, WorkerRegistry, WorkerReport};

use crate::{PostgresJobs, database::parameters};

/// After how long a silent worker does not count any more, ms.
const SILENT: i64 = 15_000;

#[async_trait]
impl WorkerRegistry for PostgresJobs {
    async fn report(&self, workers: &[WorkerReport]) -> Result<()> {
        let node = self.node();
        for each in workers {
            let number = i32::try_from(each.number).unwrap_or(i32::MAX);
            self.shared()
                .database
                .rows(
                    "WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
                     INSERT INTO @workers AS w (node, number, host, device, profile, version, state, job, since, seen_at)
                     SELECT $1, $2, $3, $4, $5, $6, $7, $8, @now_ms(), @now_ms() FROM quick
                     ON CONFLICT (node, number) DO UPDATE SET device = excluded.device, state = excluded.state,
                        job = excluded.job, seen_at = excluded.seen_at",
                    parameters![
                        node,
                        number,
                        each.host,
                        each.device,
                        each.profile,
                        each.version,
                        each.state,
                        each.job
                    ],
                )
                .await?;
        }
        Ok(())
    }

    async fn retire(&self) -> Result<()> {
        self.shared().database.rows("DELETE FROM @workers WHERE node = $1", parameters![self.node()]).await?;
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<WorkerReport>> {
        let rows = self
            .shared()
            .database
            .rows(
                "SELECT host, number, device, profile, version, state, job, since, seen_at FROM @workers
                 WHERE seen_at > @now_ms() - $1 ORDER BY host, node, number",
                parameters![SILENT],
            )
            .await?;
        let report = |row: &tokio_postgres::Row| WorkerReport {
            host: row.get(0),
            number: usize::try_from(row.get::<_, i32>(1)).unwrap_or(0),
            device: row.get(2),
            profile: row.get(3),
            version: row.get(4),
            state: row.get(5),
            job: row.get(6),
            since: row.get::<_, i64>(7).cast_unsigned(),
            seen_at: row.get::<_, i64>(8).cast_unsigned(),
        };
        Ok(rows.iter().map(report).collect())
    }
}
