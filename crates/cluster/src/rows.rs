//! Jobs as rows, and the files they name.

use std::sync::Arc;

use jobs::{BlobKey, Error, Idempotency, Job, Result, State};
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::database::{Fault, Session, parameters};

/// The columns of [`job`], of a table called `j`.
pub(crate) const JOB: &str = "j.id, j.owner, j.client, j.state, j.payload, j.wanting, j.charged, j.inputs, j.outputs, \
    j.submitted_at, j.started_at, j.finished_at, j.expires_at, j.files_expire_at, j.retry_count, j.result, j.error, \
    j.cancel_requested, j.idempotency_key, j.idempotency_digest, j.webhook, j.discarded, j.priority, j.cost";

/// Whether a job `j` may be seen.
pub(crate) const VISIBLE: &str =
    "NOT j.faded AND NOT j.discarded AND (j.expires_at IS NULL OR j.expires_at > @now_ms())";

/// The newest job of a client (`$1`) under an idempotency key (`$2`).
pub(crate) fn by_idempotency_key() -> String {
    format!(
        "SELECT {JOB} FROM @jobs j WHERE j.client = $1 AND j.idempotency_key = $2 AND {VISIBLE}
         ORDER BY j.submitted_at DESC, j.id DESC LIMIT 1"
    )
}

/// A row as a job.
pub(crate) fn job(row: &Row) -> Result<Job, Fault> {
    let moment = |name: &str| -> Result<Option<u64>, Fault> {
        Ok(row.try_get::<_, Option<i64>>(name)?.map(i64::cast_unsigned))
    };
    let id: Uuid = row.try_get("id")?;
    Ok(Job {
        id,
        owner: row.try_get("owner")?,
        client: row.try_get("client")?,
        priority: row.try_get("priority")?,
        state: state(row.try_get("state")?),
        payload: document(id, row.try_get("payload")?)?,
        wanting: row.try_get("wanting")?,
        cost: row.try_get::<_, i64>("cost")?.cast_unsigned(),
        charged: row.try_get("charged")?,
        inputs: keys(row.try_get("inputs")?)?,
        submitted_at: moment("submitted_at")?.unwrap_or(0),
        started_at: moment("started_at")?,
        finished_at: moment("finished_at")?,
        expires_at: moment("expires_at")?,
        files_expire_at: moment("files_expire_at")?,
        retry_count: row.try_get::<_, i32>("retry_count")?.cast_unsigned(),
        result: optional(id, row.try_get("result")?)?,
        outputs: keys(row.try_get("outputs")?)?,
        failure: optional(id, row.try_get("error")?)?,
        cancel_requested: row.try_get("cancel_requested")?,
        idempotency: idempotency(row)?,
        webhook: optional(id, row.try_get("webhook")?)?,
        discarded: row.try_get("discarded")?,
    })
}

fn idempotency(row: &Row) -> Result<Option<Idempotency>, Fault> {
    let key: Option<String> = row.try_get("idempotency_key")?;
    let digest: Option<String> = row.try_get("idempotency_digest")?;
    Ok(key.zip(digest).map(|(key, digest)| Idempotency { key, digest }))
}

/// The same, for those who only read.
pub(crate) fn shared(row: &Row) -> Result<Arc<Job>> {
    Ok(Arc::new(job(row)?))
}

/// The text of a document.
pub(crate) fn text(document: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(document).map_err(|error| damaged(format!("it cannot be written: {error}")))
}

/// A document from its text.
pub(crate) fn document<T: DeserializeOwned>(id: Uuid, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text)
        .map_err(|error| damaged(format!("the document of job {id} is unreadable ({error})")))
}

fn optional<T: DeserializeOwned>(id: Uuid, text: Option<&str>) -> Result<Option<T>, Fault> {
    text.map(|text| document(id, text)).transpose()
}

fn damaged(reason: String) -> Fault {
    Error::Unavailable { service: "the database", reason }.into()
}

fn state(word: &str) -> State {
    match word {
        "QUEUED" => State::Queued,
        "PROCESSING" => State::Processing,
        "COMPLETED" => State::Completed,
        // The table takes no other word.
        _ => State::Failed,
    }
}

fn keys(texts: Vec<String>) -> Result<Vec<BlobKey>, Fault> {
    Ok(texts.iter().map(|text| BlobKey::parse(text)).collect::<Result<_>>()?)
}

/// An amount as the database counts; more than it can add up is a large one.
pub(crate) fn amount(amount: u64) -> i64 {
    amount.min(1 << 52).cast_signed()
}

/// Keys as texts.
pub(crate) fn texts(keys: &[BlobKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// A text that the database can hold.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Makes sure that the files are stored and stay so until the end of the transaction. The bytes of them together.
pub(crate) async fn hold(on: &Session<'_>, keys: &[BlobKey]) -> Result<i64, Fault> {
    if keys.is_empty() {
        return Ok(0);
    }
    let rows = on
        .rows(
            "SELECT key, length FROM @files WHERE key = ANY($1) AND state = 'STORED' ORDER BY key FOR SHARE",
            parameters![texts(keys)],
        )
        .await?;
    let mut bytes = 0;
    let mut held = Vec::new();
    for row in &rows {
        held.push(row.try_get::<_, &str>(0)?);
        bytes += row.try_get::<_, i64>(1)?;
    }
    match keys.iter().find(|key| !held.contains(&key.as_str())) {
        Some(key) => Err(Error::MissingBlob { key: key.clone() }.into()),
        None => Ok(bytes),
    }
}

/// Notes that a job names these files, which are held.
pub(crate) async fn name(on: &Session<'_>, id: Uuid, keys: &[BlobKey], is_output: bool) -> Result<(), Fault> {
    if !keys.is_empty() {
        on.run(
            "INSERT INTO @names (key, job, is_output) SELECT key, $2, $3 FROM unnest($1) AS key ON CONFLICT DO NOTHING",
            parameters![texts(keys), id, is_output],
        )
        .await?;
    }
    Ok(())
}

/// Gives up those of these files that no job names any more; they are deleted once the transaction is committed.
pub(crate) async fn doom(on: &Session<'_>, keys: &[String]) -> Result<(), Fault> {
    if keys.is_empty() {
        return Ok(());
    }
    let keys = keys.to_vec();
    // Whoever is about to name one holds it; after the wait a new statement sees that name.
    on.rows("SELECT FROM @files WHERE key = ANY($1) ORDER BY key FOR UPDATE", parameters![keys]).await?;
    on.run(
        "UPDATE @files f SET state = 'DOOMED' WHERE f.key = ANY($1) AND f.state <> 'DOOMED' \
         AND NOT EXISTS (SELECT FROM @names n WHERE n.key = f.key)",
        parameters![keys],
    )
    .await?;
    Ok(())
}

/// Removes jobs with all that they name.
pub(crate) async fn remove(on: &Session<'_>, ids: &[Uuid]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = ids.to_vec();
    on.run("DELETE FROM @notices WHERE job = ANY($1) AND next_at IS NULL", parameters![ids]).await?;
    let named = on.rows("DELETE FROM @names WHERE job = ANY($1) RETURNING key", parameters![ids]).await?;
    on.run("DELETE FROM @jobs WHERE id = ANY($1)", parameters![ids]).await?;
    let keys = named.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    doom(on, &keys).await
}
