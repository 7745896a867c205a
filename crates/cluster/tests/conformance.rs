//! The home on PostgreSQL and an S3 server: the same conformance suite as the embedded home's, against real servers.

#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test they are assertions.

#[path = "../../jobs/tests/conformance/mod.rs"]
mod conformance;
mod servers;

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cluster::{ObjectFiles, Options, PostgresJobs};
use conformance::{DEPOSITS, Home, KEPT, KEPT_EACH, LIMIT, TTL};
use jobs::{BlobStore, JobStore};
use servers::s3;
use tempfile::TempDir;

/// A schema and a bucket of its own, with a clock moved by hand.
struct Fixture {
    jobs: Arc<PostgresJobs>,
    files: Arc<ObjectFiles>,
    admin: tokio_postgres::Client,
    schema: String,
    now: Mutex<u64>,
    _folder: TempDir,
}

impl Fixture {
    /// The database's clock stands still, and is moved by [`Home::pass`].
    async fn set_clock(&self, now: u64) {
        let schema = &self.schema;
        let sql = format!(
            "CREATE OR REPLACE FUNCTION {schema}.now_ms() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT {now}::bigint'"
        );
        self.admin.batch_execute(&sql).await.unwrap();
    }
}

#[async_trait]
impl Home for Fixture {
    fn jobs(&self) -> Arc<dyn JobStore> {
        self.jobs.clone()
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.files.clone()
    }

    async fn pass(&self, span: Duration) {
        let now = {
            let mut now = self.now.lock().unwrap();
            *now += span.as_millis() as u64;
            *now
        };
        self.set_clock(now).await;
    }
}

/// `None` where there is no PostgreSQL.
async fn fixture() -> Option<Fixture> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = tokio::task::spawn_blocking(servers::shared).await.unwrap()?;
    let schema = format!("case_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, _) = s3::serve(folder.path(), listener);
    let options = Options {
        database: server.address(),
        schema: schema.clone(),
        connections: 4,
        files: format!("s3://{}/some/where", s3::BUCKET),
        object_store: vec![
            ("aws_endpoint".into(), format!("http://{address}")),
            ("aws_allow_http".into(), "true".into()),
            ("aws_access_key_id".into(), s3::CREDENTIALS[0].into()),
            ("aws_secret_access_key".into(), s3::CREDENTIALS[1].into()),
            ("aws_region".into(), "us-east-1".into()),
        ],
        queue_limit: LIMIT,
        queue_limit_each: LIMIT,
        caps: KEPT,
        caps_each: KEPT_EACH,
        caps_deposits: DEPOSITS,
        result_ttl: TTL,
        unclaimed_ttl: Some(TTL),
        ..Options::default()
    };
    let (jobs, files) = cluster::open(options).await.unwrap();
    let (admin, connection) =
        tokio_postgres::connect(&server.address(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let now = Mutex::new(1_800_000_000_000);
    let fixture = Fixture { jobs, files, admin, schema, now, _folder: folder };
    fixture.pass(Duration::ZERO).await;
    Some(fixture)
}

conformance!(fixture);
