//! The tables: made and brought up to date at the start, forward only, one transaction a step.
//!
//! Two versions of the program may work on one database while they are exchanged: a step only adds what the version before
//! it can leave alone. Where one cannot, [`Migration::oldest`] says from which step on a program may still take part, and
//! older programs refuse to start.

use async_trait::async_trait;
use jobs::{Error, Result};

use crate::database::{Change, Database, Fault, Session, parameters};

/// One step.
struct Migration {
    /// The oldest step whose program can work on the tables after this one.
    oldest: i32,
    sql: &'static str,
}

/// All steps, the first one being number 1.
const MIGRATIONS: &[Migration] = &[
    Migration { oldest: 1, sql: include_str!("../migrations/0001_jobs.sql") },
    Migration { oldest: 1, sql: include_str!("../migrations/0002_steering.sql") },
    Migration { oldest: 1, sql: include_str!("../migrations/0003_priority.sql") },
    Migration { oldest: 1, sql: include_str!("../migrations/0004_shares.sql") },
];

/// Brings the tables up to date; several programs may start at once.
pub(crate) async fn migrate(database: &Database) -> Result<()> {
    database.change(Prepare { schema: database.schema().to_owned() }).await?;
    while database.change(Step { schema: database.schema().to_owned() }).await? {}
    Ok(())
}

/// The lock under which the tables are changed.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('material-transfer migrations'), hashtext($1))";

struct Prepare {
    schema: String,
}

#[async_trait]
impl Change for Prepare {
    type Output = ();

    async fn apply(&mut self, on: &Session<'_>) -> Result<(), Fault> {
        on.rows(LOCK, parameters![self.schema]).await?;
        // That the table is there already is no news.
        on.batch("SET LOCAL client_min_messages = warning").await?;
        let there =
            on.row("SELECT FROM pg_namespace WHERE nspname = $1", parameters![self.schema]).await?.is_some();
        if !there {
            on.batch(&format!("CREATE SCHEMA \"{}\"", self.schema)).await?;
        }
        on.run(
            "CREATE TABLE IF NOT EXISTS @migrations (version integer PRIMARY KEY, oldest integer NOT NULL, \
             program text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            &[],
        )
        .await?;
        Ok(())
    }
}

/// Takes the next step; `false` if there is none.
struct Step {
    schema: String,
}

#[async_trait]
impl Change for Step {
    type Output = bool;

    async fn apply(&mut self, on: &Session<'_>) -> Result<bool, Fault> {
        on.rows(LOCK, parameters![self.schema]).await?;
        let newest =
            on.row("SELECT version, oldest FROM @migrations ORDER BY version DESC LIMIT 1", &[]).await?;
        let (version, oldest) = match &newest {
            Some(row) => (row.try_get::<_, i32>(0)?, row.try_get::<_, i32>(1)?),
            None => (0, 0),
        };
        let ours = MIGRATIONS.len() as i32;
        if oldest > ours {
            let reason = format!(
                "its tables are of version {version}, for programs from table version {oldest} on, and this program \
                 knows {ours}; use a newer program"
            );
            return Err(Error::Unavailable { service: "the database", reason }.into());
        }
        let Some(step) = usize::try_from(version).ok().and_then(|done| MIGRATIONS.get(done)) else {
            return Ok(false);
        };
        on.batch(&format!("SET LOCAL search_path TO \"{}\"; {}", self.schema, step.sql)).await?;
        on.run(
            "INSERT INTO @migrations (version, oldest, program) VALUES ($1, $2, $3)",
            parameters![version + 1, step.oldest, env!("CARGO_PKG_VERSION")],
        )
        .await?;
        tracing::info!(
            version = version + 1,
            schema = self.schema,
            "the tables are made or brought up to date"
        );
        Ok(true)
    }
}
