//! Connections to PostgreSQL: a pool, TLS, statements, and transactions that either happened or did not.
//!
//! All statements are sent unnamed, with the types of their parameters, in one round trip, so that a pooler in
//! transaction mode (PgBouncer) may stand in between. In their text `@` stands for the schema: `@jobs`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use jobs::{Error, Result};
use tokio_postgres::{Config, Row, Transaction, error::SqlState, types::ToSql, types::Type};

use crate::tls;

/// How long one change or question may take before its connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a change is tried that the database undid because of another one.
const TRIES: usize = 5;
/// What holds for every transaction: one whose client is gone must not keep its locks.
const BOUNDS: &str = "SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '5s'; \
                      SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// A parameter with its type.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Rust types that have one PostgreSQL type here.
pub(crate) trait Typed: ToSql + Sync {
    /// That type.
    const TYPE: Type;
}

macro_rules! typed {
    ($($rust:ty => $type:ident),* $(,)?) => { $(impl Typed for $rust { const TYPE: Type = Type::$type; })* };
}
typed!(
    i64 => INT8, i32 => INT4, i16 => INT2, f32 => FLOAT4, bool => BOOL, uuid::Uuid => UUID, String => TEXT, &str => TEXT,
    Vec<String> => TEXT_ARRAY, Vec<i64> => INT8_ARRAY, Vec<uuid::Uuid> => UUID_ARRAY,
);

impl<T: Typed> Typed for Option<T> {
    const TYPE: Type = T::TYPE;
}

/// A value as a parameter.
pub(crate) fn parameter<T: Typed>(value: &T) -> Parameter<'_> {
    (value, T::TYPE)
}

/// The parameters of a statement, in the order of `$1`, `$2` …
macro_rules! parameters {
    ($($value:expr),* $(,)?) => { &[$($crate::database::parameter(&$value)),*] };
}
pub(crate) use parameters;

/// Why a statement did not do its work.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A rule of the queue's.
    Refused(Error),
    /// The database, or the way to it.
    Database(tokio_postgres::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Fault {
    /// Whether another change came in between, and the same may succeed at once.
    fn is_conflict(&self) -> bool {
        let Self::Database(error) = self else { return false };
        matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Database(error) => unavailable(&error),
        }
    }
}

/// The database's error with all that is behind it.
fn unavailable(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut reason = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        reason = format!("{reason}: {error}");
        behind = error.source();
    }
    Error::Unavailable { service: "the database", reason }
}

/// What happens in one transaction. It may be tried several times.
#[async_trait]
pub(crate) trait Change: Send + 'static {
    /// What it is answered.
    type Output: Send + 'static;
    /// Does it. An `Err` undoes all of it.
    async fn apply(&mut self, on: &Session<'_>) -> Result<Self::Output, Fault>;
}

/// An open transaction.
pub(crate) struct Session<'a> {
    transaction: Transaction<'a>,
    prefix: &'a str,
}

impl Session<'_> {
    pub(crate) async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        Ok(self.transaction.query_typed(&sql.replace('@', self.prefix), parameters).await?)
    }

    pub(crate) async fn row(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Option<Row>, Fault> {
        Ok(self.transaction.query_typed_opt(&sql.replace('@', self.prefix), parameters).await?)
    }

    /// The first column of the only row.
    pub(crate) async fn number(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<i64, Fault> {
        Ok(self.transaction.query_typed_one(&sql.replace('@', self.prefix), parameters).await?.try_get(0)?)
    }

    /// How many rows were changed.
    pub(crate) async fn run(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Fault> {
        Ok(self.transaction.execute_typed(&sql.replace('@', self.prefix), parameters).await?)
    }

    /// Runs several statements without parameters.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.transaction.batch_execute(sql).await?)
    }

    /// The database's time, unix ms.
    pub(crate) async fn now(&self) -> Result<i64, Fault> {
        self.number("SELECT @now_ms()", &[]).await
    }
}

/// A database with our tables in one of its schemas.
#[derive(Clone)]
pub(crate) struct Database {
    pool: Pool,
    config: Config,
    tls: tls::Connector,
    schema: Arc<str>,
    prefix: Arc<str>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Database {
    /// Prepares connections; none is opened yet.
    pub(crate) fn new(address: &str, schema: &str, connections: usize) -> Result<Self> {
        let wrong = |reason: String| Error::Unavailable { service: "the database", reason };
        let (config, tls) = tls::understand(address).map_err(wrong)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if schema.is_empty() || schema.len() > 40 || !schema.chars().all(plain) {
            return Err(wrong(format!("{schema:?} is no name of a schema: 1 to 40 of a-z, 0-9 and _")));
        }
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let timeouts = Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: Some(PATIENCE) };
        let pool = Pool::builder(manager)
            .max_size(connections)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { pool, config, tls, schema: schema.into(), prefix: format!("\"{schema}\".").into() })
    }

    /// The schema's name.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// For the one connection that listens.
    pub(crate) fn listening(&self) -> (Config, tls::Connector) {
        (self.config.clone(), self.tls.clone())
    }

    async fn connection(&self) -> Result<Object> {
        self.pool.get().await.map_err(|error| unavailable(&error))
    }

    /// One statement by itself, which is a transaction.
    pub(crate) async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        let sql = sql.replace('@', &self.prefix);
        let mut stale = false;
        loop {
            let connection = self.connection().await?;
            match tokio::time::timeout(PATIENCE, connection.query_typed(&sql, parameters)).await {
                Ok(Ok(rows)) => return Ok(rows),
                // A connection from the pool may have died while it lay there: once more, on a new one.
                Ok(Err(error)) if error.is_closed() && !stale => {
                    stale = true;
                    drop(Object::take(connection));
                }
                Ok(Err(error)) => return Err(unavailable(&error)),
                Err(_) => {
                    drop(Object::take(connection));
                    return Err(silent());
                }
            }
        }
    }

    /// The only row of a statement, if there is one.
    pub(crate) async fn row(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, parameters).await?.into_iter().next())
    }

    /// Makes a change, whether or not the caller stays to hear of it. Durable when it returns `Ok`; after
    /// [`Error::Unavailable`] it may have happened all the same, if the connection broke while it was committed.
    pub(crate) async fn change<C: Change>(&self, change: C) -> Result<C::Output> {
        let database = self.clone();
        let changing = tokio::spawn(async move { database.change_here(change).await });
        changing.await.map_err(|_| Error::Closed)?
    }

    async fn change_here<C: Change>(&self, mut change: C) -> Result<C::Output> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut connection = self.connection().await?;
            let fault = match tokio::time::timeout(PATIENCE, self.attempt(&mut connection, &mut change)).await
            {
                Ok(Ok(output)) => return Ok(output),
                Ok(Err((fault, begun))) => {
                    let broken = matches!(&fault, Fault::Database(error) if error.is_closed());
                    if broken && !begun && tries < TRIES {
                        drop(Object::take(connection));
                        continue;
                    }
                    fault
                }
                Err(_) => {
                    drop(Object::take(connection));
                    return Err(silent());
                }
            };
            if !fault.is_conflict() || tries >= TRIES {
                return Err(fault.into());
            }
        }
    }

    /// With whether the change was begun when it failed.
    async fn attempt<C: Change>(
        &self,
        connection: &mut Object,
        change: &mut C,
    ) -> Result<C::Output, (Fault, bool)> {
        let early = |error: tokio_postgres::Error| (Fault::from(error), false);
        let late = |error: tokio_postgres::Error| (Fault::from(error), true);
        let client: &mut tokio_postgres::Client = connection;
        let transaction = client.transaction().await.map_err(early)?;
        transaction.batch_execute(BOUNDS).await.map_err(early)?;
        let session = Session { transaction, prefix: &self.prefix };
        match change.apply(&session).await {
            Ok(output) => {
                session.transaction.commit().await.map_err(late)?;
                Ok(output)
            }
            Err(fault) => {
                // A broken connection has undone it already.
                let _ = session.transaction.rollback().await;
                Err((fault, true))
            }
        }
    }
}

fn silent() -> Error {
    let reason = format!("it has not answered for {} s", PATIENCE.as_secs());
    Error::Unavailable { service: "the database", reason }
}
