//! Connections: how many there may be, and which of them have to go.
//!
//! A machine has a limited number of descriptors, and a stranger needs no key to take one. So there is a limit in all and
//! one for each peer, at which the connection that has been idle for longest makes room; and whoever sends a head, or takes
//! an answer, more slowly than any line carries it loses its connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long the head of a request may take, from the first byte, or from the connection's beginning for the first one.
const HEAD: Duration = Duration::from_secs(15);
/// How long a connection is kept between requests.
const IDLE: Duration = Duration::from_secs(75);
/// How far the taking of answers may fall behind [`SLOWEST`].
const UNREAD: Duration = Duration::from_secs(30);
/// The slowest reader that is waited for, in bytes a second.
const SLOWEST: u32 = 16 << 10;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No request has come yet.
    New,
    /// A request is read or answered.
    Busy,
    /// The next request is waited for.
    Idle,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    since: Instant,
    /// When the first byte of the next head came.
    head: Option<Instant>,
    /// Since when the peer has taken nothing although there is something.
    blocked: Option<Instant>,
    /// How far the peer is behind, but for the present wait.
    behind: Duration,
}

/// One connection, seen from all who have to do with it.
#[derive(Debug)]
pub(crate) struct Line {
    peer: IpAddr,
    state: Mutex<State>,
    end: Notify,
}

impl Line {
    /// A connection that has just been made.
    pub(crate) fn new(peer: IpAddr, now: Instant) -> Arc<Self> {
        let state =
            State { stage: Stage::New, since: now, head: None, blocked: None, behind: Duration::ZERO };
        Arc::new(Self { peer, state: Mutex::new(state), end: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A head is complete.
    pub(crate) fn begins(&self) {
        let mut state = self.state();
        (state.stage, state.since, state.head) = (Stage::Busy, Instant::now(), None);
    }

    /// The answer has been handed over whole.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        (state.stage, state.since, state.head) = (Stage::Idle, Instant::now(), None);
    }

    /// Bytes came in.
    pub(crate) fn read(&self) {
        let mut state = self.state();
        if state.stage != Stage::Busy {
            state.head.get_or_insert_with(Instant::now);
        }
    }

    /// The peer took `bytes`.
    pub(crate) fn wrote(&self, bytes: usize) {
        let mut state = self.state();
        if let Some(blocked) = state.blocked.take() {
            let earned = Duration::from_secs_f64(bytes as f64 / f64::from(SLOWEST));
            state.behind = (state.behind + blocked.elapsed()).saturating_sub(earned);
        }
    }

    /// The peer takes nothing.
    pub(crate) fn blocked(&self) {
        self.state().blocked.get_or_insert_with(Instant::now);
    }

    /// Waits until the connection has to go.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }

    /// Why the connection has to go at `now`, if it has to.
    fn overdue(&self, now: Instant) -> Option<&'static str> {
        let state = self.state();
        let past = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let blocked = state.blocked.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if state.behind + blocked >= UNREAD {
            return Some("it does not take its answer");
        }
        match state.stage {
            Stage::New if past(state.since, HEAD) => Some("no request came"),
            Stage::Idle if state.head.is_some_and(|head| past(head, HEAD)) => {
                Some("its request came too slowly")
            }
            Stage::Idle if past(state.since, IDLE) => Some("it was idle"),
            Stage::New | Stage::Busy | Stage::Idle => None,
        }
    }

    /// Since when nothing is under way, if nothing is.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.stage != Stage::Busy).then_some(state.since)
    }
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: usize,
    /// For each peer; proxies that are trusted have none.
    each: usize,
    lines: Mutex<HashMap<u64, Arc<Line>>>,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, each: limit.div_ceil(2), lines: Mutex::default() })
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<u64, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in under a number of its own; if need be one that is idle goes for it. `false`: there is no room.
    pub(crate) fn admit(&self, number: u64, line: &Arc<Line>, trusted: bool) -> bool {
        let mut lines = self.lines();
        let own = lines.values().filter(|each| each.peer == line.peer).count();
        let crowded = !trusted && own >= self.each;
        if crowded || lines.len() >= self.limit {
            let candidates = lines.iter().filter(|(_, each)| !crowded || each.peer == line.peer);
            let idle = candidates.filter_map(|(number, each)| Some((each.idle_since()?, *number)));
            let Some((_, number)) = idle.min() else { return false };
            if let Some(line) = lines.remove(&number) {
                line.end.notify_one();
            }
        }
        lines.insert(number, line.clone());
        true
    }

    /// A connection is closed.
    pub(crate) fn closed(&self, number: u64) {
        self.lines().remove(&number);
    }

    /// Ends those that have to go; to be called every second.
    pub(crate) fn reap(&self, now: Instant) {
        let mut lines = self.lines();
        lines.retain(|_, line| match line.overdue(now) {
            Some(reason) => {
                tracing::debug!(peer = %line.peer, reason, "connection closed");
                line.end.notify_one();
                false
            }
            None => true,
        });
    }
}

/// Descriptors that are left for the store, the log and whatever else is opened.
const RESERVED: u64 = 256;

/// Raises the limit of descriptors as far as it goes, and returns how many connections fit under it, `wanted` at most: each
/// may have a file open beside itself.
pub(crate) fn fitting(wanted: usize) -> usize {
    let descriptors = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            1024
        }
    };
    let fitting = descriptors.saturating_sub(RESERVED).max(descriptors / 2) / 2;
    let fitting = usize::try_from(fitting).unwrap_or(usize::MAX).max(1);
    if fitting < wanted {
        tracing::warn!(
            descriptors,
            fitting,
            wanted,
            "fewer connections fit under the limit of open files (ulimit -n)"
        );
    }
    wanted.min(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(peer: u8) -> Arc<Line> {
        Line::new(IpAddr::from([127, 0, 0, peer]), Instant::now())
    }

    fn ended(line: &Line) -> bool {
        futures::FutureExt::now_or_never(line.ended()).is_some()
    }

    #[test]
    fn the_longest_idle_makes_room() {
        let connections = Connections::new(4);
        let lines: Vec<_> = [1, 1, 2, 3].map(line).into();
        for (number, line) in lines.iter().enumerate() {
            assert!(connections.admit(number as u64, line, false));
        }
        lines[0].begins();
        let crowded = line(1);
        assert!(connections.admit(10, &crowded, false), "its peer has two of four already");
        assert!(ended(&lines[1]) && !ended(&lines[0]) && !ended(&lines[2]), "so one of its own goes");
        lines[2].begins();
        lines[2].answered();
        let other = line(4);
        assert!(connections.admit(11, &other, false));
        assert!(ended(&lines[3]), "the longest idle of all");
        for busy in [&lines[2], &crowded, &other] {
            busy.begins();
        }
        assert!(!connections.admit(12, &line(5), false), "what is under way is not cut off");
        connections.closed(0);
        assert!(connections.admit(12, &line(5), false));
    }

    #[test]
    fn a_trusted_proxy_brings_many() {
        let connections = Connections::new(4);
        for number in 0..4 {
            let line = line(1);
            line.begins();
            assert!(connections.admit(number, &line, true));
        }
    }

    #[test]
    fn deadlines() {
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        let fresh = line(1);
        assert_eq!(fresh.overdue(after(14)), None);
        assert!(fresh.overdue(after(15)).is_some(), "no head");
        fresh.begins();
        assert_eq!(fresh.overdue(after(100_000)), None, "a call may wait");
        fresh.answered();
        assert_eq!(fresh.overdue(after(70)), None);
        assert!(fresh.overdue(after(75)).is_some(), "idle");
        fresh.read();
        assert!(fresh.overdue(after(15)).is_some(), "a head that trickles");
        fresh.begins();
        fresh.blocked();
        assert_eq!(fresh.overdue(after(29)), None);
        assert!(fresh.overdue(after(31)).is_some(), "an answer that is not read");
        fresh.wrote(1);
        assert_eq!(fresh.overdue(after(31)), None);
        let connections = Connections::new(4);
        assert!(connections.admit(1, &fresh, false));
        fresh.blocked();
        connections.reap(after(60));
        assert!(ended(&fresh) && connections.lines().is_empty());
    }

    #[test]
    fn there_are_descriptors() {
        assert_eq!(fitting(1), 1);
        assert!(fitting(usize::MAX) >= 64);
    }
}
