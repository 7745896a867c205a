//! Wake-ups across hosts: `LISTEN` on a connection of its own, and what it receives is handed to whoever waits here. Whatever is
//! missed (the connection broke, a pooler swallows it) is found by polling.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::poll_fn};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};
use tokio_postgres::AsyncMessage;
use uuid::Uuid;

use crate::database::{Database, Fault, Session, parameters};

/// How long to rest before the next try to connect.
const REST: Duration = Duration::from_secs(1);
/// How many changes a waiter may be behind before it has to look for itself.
const BACKLOG: usize = 1024;

/// What nodes notify each other of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call {
    /// There may be something to claim.
    Work,
    /// There is a job whose inputs are wanted.
    Arrival,
    /// A job is over.
    End(Uuid),
    /// A job is in another state, and not over.
    Move(Uuid),
}

impl Call {
    fn text(self) -> String {
        match self {
            Self::Work => "work".to_owned(),
            Self::Arrival => "arrival".to_owned(),
            Self::End(id) => format!("end {id}"),
            Self::Move(id) => format!("move {id}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "work" => Some(Self::Work),
            "arrival" => Some(Self::Arrival),
            other => {
                let (what, id) = other.split_once(' ')?;
                let id = id.parse().ok()?;
                match what {
                    "end" => Some(Self::End(id)),
                    "move" => Some(Self::Move(id)),
                    _ => None,
                }
            }
        }
    }
}

/// Tells all nodes, once the transaction is committed.
pub(crate) async fn notify(on: &Session<'_>, schema: &str, call: Call) -> Result<(), Fault> {
    on.rows("SELECT pg_notify($1, $2)", parameters![channel(schema), call.text()]).await?;
    Ok(())
}

/// The name under which the nodes of a schema notify each other.
pub(crate) fn channel(schema: &str) -> String {
    format!("mt_{schema}")
}

/// Where waiters wait.
#[derive(Debug)]
pub(crate) struct Wake {
    channels: Arc<Channels>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct Channels {
    work: watch::Sender<u64>,
    arrivals: watch::Sender<u64>,
    moves: broadcast::Sender<Uuid>,
}

impl Channels {
    fn send(&self, call: Call) {
        match call {
            Call::Work => self.work.send_modify(|count| *count += 1),
            Call::Arrival => self.arrivals.send_modify(|count| *count += 1),
            // Nobody may be waiting.
            Call::End(id) | Call::Move(id) => _ = self.moves.send(id),
        }
    }
}

impl Wake {
    /// Begins to listen, and goes on until it is dropped.
    pub(crate) fn listen(database: &Database) -> Self {
        let channels = Arc::new(Channels {
            work: watch::Sender::default(),
            arrivals: watch::Sender::default(),
            moves: broadcast::Sender::new(BACKLOG),
        });
        let (database, receiving) = (database.clone(), channels.clone());
        let listening = tokio::spawn(async move {
            loop {
                let end = listen_once(&database, &receiving).await;
                tracing::debug!(?end, "the listening connection has ended; it is made again");
                tokio::time::sleep(REST).await;
            }
        });
        Self { channels, listening }
    }

    /// Tells the waiters of this process at once, without the way round.
    pub(crate) fn tell(&self, call: Call) {
        self.channels.send(call);
    }

    pub(crate) fn work(&self) -> watch::Receiver<u64> {
        self.channels.work.subscribe()
    }

    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.channels.arrivals.subscribe()
    }

    /// The jobs that are in another state, or over.
    pub(crate) fn moves(&self) -> broadcast::Receiver<Uuid> {
        self.channels.moves.subscribe()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen_once(database: &Database, channels: &Channels) -> Result<(), tokio_postgres::Error> {
    let (config, tls) = database.listening();
    let (client, mut connection) = config.connect(tls).await?;
    let mut messages = poll_fn(move |context| connection.poll_message(context));
    let listen = format!("LISTEN \"{}\"", channel(database.schema()));
    let ask = client.batch_execute(&listen);
    tokio::pin!(ask);
    let mut asked = false;
    loop {
        tokio::select! {
            done = &mut ask, if !asked => {
                done?;
                asked = true;
                // What was sent before, nobody received.
                channels.send(Call::Work);
                channels.send(Call::Arrival);
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    if let Some(call) = Call::parse(notification.payload()) {
                        channels.send(call);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_received_as_they_were_sent() {
        for call in [Call::Work, Call::Arrival, Call::End(Uuid::from_u128(7)), Call::Move(Uuid::from_u128(8))]
        {
            assert_eq!(Call::parse(&call.text()), Some(call));
        }
        for text in ["", "end", "end x", "of another version"] {
            assert_eq!(Call::parse(text), None);
        }
    }
}
