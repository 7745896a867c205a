//! The memory that bodies may take together. Who reads a body takes its bytes from here first and owns them until the
//! body is on disk or gone, on whatever thread that is, so that the sum of all bodies in memory has a bound.
//!
//! Small bodies have a pool of their own: however many long ones trickle in, a poll or a request of a few kilobytes finds
//! room. And no client has more than half of a pool, so that none takes all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Up to this many bytes a body is small.
pub(crate) const SMALL: usize = 1 << 20;

/// One pool of bytes (or of anything that is counted).
#[derive(Debug)]
pub(crate) struct Pool {
    total: usize,
    /// The most for one client.
    each: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<String, usize>,
}

impl Pool {
    /// A pool of `total`, of which one client gets `each` at most.
    pub(crate) fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { total, each: each.min(total), taken: Mutex::default(), freed: Notify::new() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(&self, client: &str, amount: usize) -> bool {
        let mut taken = self.taken();
        let own = taken.by.get(client).copied().unwrap_or(0);
        let fits = taken.all + amount <= self.total && own + amount <= self.each;
        if fits {
            taken.all += amount;
            *taken.by.entry(client.to_owned()).or_default() += amount;
        }
        fits
    }

    /// Takes `amount` if there is room at this moment.
    pub(crate) fn try_share(self: &Arc<Self>, client: &str, amount: usize) -> Option<Share> {
        let share = || Share { pool: self.clone(), client: client.to_owned(), amount };
        self.try_take(client, amount).then(share)
    }

    fn give_back(&self, client: &str, amount: usize) {
        let mut taken = self.taken();
        taken.all -= amount;
        if let Some(own) = taken.by.get_mut(client) {
            *own -= amount;
            if *own == 0 {
                taken.by.remove(client);
            }
        }
        drop(taken);
        self.freed.notify_waiters();
    }

    /// Takes `amount` as soon as there is room. Never ends for more than one client may have.
    pub(crate) async fn take(self: &Arc<Self>, client: &str, amount: usize) -> Share {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Listening from here on, so that nothing is missed between the look and the wait.
            freed.as_mut().enable();
            if let Some(share) = self.try_share(client, amount) {
                return share;
            }
            freed.await;
        }
    }
}

/// A part of a pool; goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Arc<Pool>,
    client: String,
    amount: usize,
}

impl Share {
    /// Gives back what is over `amount`.
    pub(crate) fn shrink(&mut self, amount: usize) {
        let over = self.amount.saturating_sub(amount);
        self.amount -= over;
        if over > 0 {
            self.pool.give_back(&self.client, over);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// Both pools of bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    small: Arc<Pool>,
    large: Arc<Pool>,
}

impl Budget {
    /// `total` bytes, a quarter of them for small bodies; the rest lets `largest` in, whatever `total` says.
    pub(crate) fn new(total: usize, largest: usize) -> Self {
        let small = (total / 4).max(4 * SMALL);
        let large = total.saturating_sub(small).max(largest);
        Self { small: Pool::new(small, small / 2), large: Pool::new(large, (large / 2).max(largest)) }
    }

    /// Takes `bytes` for `client`; `None` if there is no room for so long.
    pub(crate) async fn take(&self, client: &str, bytes: usize, patience: Duration) -> Option<Share> {
        let pool = if bytes <= SMALL { &self.small } else { &self.large };
        tokio::time::timeout(patience, pool.take(client, bytes)).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn the_sum_is_bounded_and_comes_back() {
        let budget = Budget::new(64 << 20, 16 << 20);
        let mut held = Vec::new();
        for client in ["a", "b", "c"] {
            held.push(budget.take(client, 16 << 20, SOON).await.unwrap());
        }
        assert!(budget.take("d", 16 << 20, SOON).await.is_none(), "48 of 48 MiB are taken");
        let small = budget.take("d", SMALL, SOON).await;
        assert!(small.is_some(), "a small one finds room all the same");
        held[0].shrink(1000);
        assert!(budget.take("d", 15 << 20, SOON).await.is_some());
        drop(held);
        assert!(budget.take("d", 16 << 20, SOON).await.is_some());
    }

    #[tokio::test]
    async fn no_client_takes_all() {
        let budget = Budget::new(64 << 20, 16 << 20);
        let first = budget.take("a", 16 << 20, SOON).await.unwrap();
        assert!(budget.take("a", 16 << 20, SOON).await.is_none(), "half of 48 MiB is 24");
        assert!(budget.take("b", 16 << 20, SOON).await.is_some());
        drop(first);
        assert!(budget.take("a", 16 << 20, SOON).await.is_some());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let pool = Pool::new(1, 1);
        let held = pool.take("a", 1).await;
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { drop(pool.take("b", 1).await) }
        });
        tokio::time::sleep(SOON).await;
        assert!(!waiting.is_finished());
        drop(held);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }
}
