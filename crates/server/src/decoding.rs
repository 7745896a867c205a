//! One budget of memory for all pictures that are being decoded: those that are looked at before a request is accepted, and
//! those of the workers.
//!
//! What a file takes is told by its header ([`Picture::cost`]). Room for it is taken before a pixel is decoded, and whoever
//! decodes owns the room: it comes back when the work is over, not when whoever asked for the work has gone.

use std::sync::Arc;

use pipeline::{Cost, DecodeLimits, Picture, PictureError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which room is counted, in bytes.
const UNIT: u64 = 1 << 20;
/// What a decoder takes besides what grows with the picture: its tables and its stack, and metadata of a usual size.
const BASE: u64 = 4 << 20;
/// Pictures that are decoded at once to be looked at: as many cores as may be busy with requests that are not accepted yet.
const CHECKS_AT_ONCE: usize = 2;
/// What takes no more than this, in bytes, is small: about 8 megapixels. Small pictures have a lane of their own, so that
/// nobody with a photograph waits behind pictures that take seconds.
const SMALL: u64 = 64 << 20;
/// Small pictures that are looked at at once; they take no room of the budget.
const SMALL_AT_ONCE: usize = 2;
/// What they may take together, in bytes.
pub(crate) const SMALL_LANE: u64 = SMALL * SMALL_AT_ONCE as u64;

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Decoding {
    room: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    small: Arc<Semaphore>,
    total: u64,
    limits: DecodeLimits,
}

/// Room that has been taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _room: Option<OwnedSemaphorePermit>,
    _check: Option<OwnedSemaphorePermit>,
}

impl Decoding {
    /// `limits.max_bytes` is the budget of all together, and so what one picture may take at most.
    pub(crate) fn new(limits: DecodeLimits) -> Self {
        // tokio counts up to 2^32 - 1 in one request; in megabytes nobody has so many.
        let total = (limits.max_bytes / UNIT).clamp(1, u64::from(u32::MAX) >> 3);
        Self {
            room: Arc::new(Semaphore::new(total as usize)),
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            small: Arc::new(Semaphore::new(SMALL_AT_ONCE)),
            total,
            limits,
        }
    }

    /// What a picture may weigh.
    pub(crate) fn limits(&self) -> &DecodeLimits {
        &self.limits
    }

    /// The size of the picture in a file, and the bytes that decoding it takes.
    ///
    /// # Errors
    /// What is wrong with the picture, as far as its header shows it.
    pub(crate) fn cost(&self, file: &[u8]) -> Result<Cost, PictureError> {
        let cost = Picture::cost(file, &self.limits)?;
        Ok(Cost { bytes: cost.bytes + BASE, ..cost })
    }

    /// Waits for so much room. More than there is in all counts as all there is.
    pub(crate) async fn room(&self, bytes: u64) -> Room {
        let units = bytes.div_ceil(UNIT).clamp(1, self.total);
        // The semaphores are never closed.
        Room { _room: self.room.clone().acquire_many_owned(units as u32).await.ok(), _check: None }
    }

    /// Waits for a turn and room to look at pictures of a request.
    pub(crate) async fn check(&self, bytes: u64) -> Room {
        if bytes <= SMALL {
            return Room { _room: None, _check: self.small.clone().acquire_owned().await.ok() };
        }
        let check = self.checks.clone().acquire_owned().await.ok();
        Room { _check: check, ..self.room(bytes).await }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn small_pictures_do_not_wait_behind_large_ones() {
        let decoding = Decoding::new(DecodeLimits { max_bytes: 100 * UNIT, ..DecodeLimits::default() });
        let soon = Duration::from_millis(50);
        let _large = decoding.check(100 * UNIT).await;
        assert!(tokio::time::timeout(soon, decoding.check(100 * UNIT)).await.is_err());
        let mut small = Vec::new();
        for _ in 0..SMALL_AT_ONCE {
            small.push(tokio::time::timeout(soon, decoding.check(SMALL)).await.unwrap());
        }
        assert!(tokio::time::timeout(soon, decoding.check(UNIT)).await.is_err(), "they have a bound too");
    }

    #[tokio::test]
    async fn room_is_given_back_by_who_holds_it_and_by_nobody_else() {
        let decoding = Decoding::new(DecodeLimits { max_bytes: 10 * UNIT, ..DecodeLimits::default() });
        let soon = Duration::from_millis(50);
        let first = decoding.room(8 * UNIT).await;
        let (done, work) = tokio::sync::oneshot::channel::<()>();
        // As a request that starts its work on another thread and goes away.
        let request = tokio::spawn(async move {
            let holder = tokio::task::spawn_blocking(move || {
                let _room = first;
                let _ = work.blocking_recv();
            });
            holder.await
        });
        tokio::time::sleep(soon).await;
        request.abort();
        assert!(tokio::time::timeout(soon, decoding.room(3 * UNIT)).await.is_err(), "the work goes on");
        assert!(tokio::time::timeout(soon, decoding.room(2 * UNIT)).await.is_ok());
        done.send(()).unwrap();
        assert!(tokio::time::timeout(100 * soon, decoding.room(999 * UNIT)).await.is_ok(), "all there is");
    }
}
