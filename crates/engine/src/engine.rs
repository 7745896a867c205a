//! The one thing an engine does, and how it is watched and stopped while it does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use pixels::Picture;

use crate::{Error, Outcome, Settings, Transfer};

/// Turns a [`Transfer`] into an [`Outcome`]. The same transfer, seed included, gives the same pixels on the same build.
pub trait Engine: Send + Sync {
    /// The engine's name as profiles spell it: `exemplar` or `sdxl`.
    fn name(&self) -> &'static str;

    /// The sizes (width, height; the picture fits into them, aspect kept) at which the engine reads the pictures of a transfer
    /// with these settings. Whoever decodes them may shrink them to that by [`Picture::shrunk_to_fit`], which changes nothing
    /// in the result and saves the memory of what would be thrown away.
    fn enough(&self, settings: &Settings) -> Enough {
        let _ = settings;
        Enough::default()
    }

    /// Runs one transfer on the calling thread.
    ///
    /// `progress` is told after every denoiser call; `cancel` is looked at before every one.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when `cancel` was raised, [`Error::Picture`] for an input that cannot be used,
    /// [`Error::Compute`] when the device fails.
    fn transfer(
        &self,
        transfer: &Transfer,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, Error>;

    /// Whether another, small transfer may be run by this engine, on the same thread, from within [`Progress::advance`]: whatever
    /// the first one holds in memory stays there meanwhile.
    fn interruptible(&self) -> bool {
        false
    }

    /// Whether the device still computes, to be asked after a fault: a GPU that was lost, or whose memory was overrun, fails every
    /// later transfer too.
    ///
    /// # Errors
    /// [`Error::Compute`] with the driver's words.
    fn alive(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// The sizes at which an engine reads pictures, in pixels; `None`: as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Enough {
    /// For the subject and its masks.
    pub subject: Option<(u32, u32)>,
    /// For materials.
    pub material: Option<(u32, u32)>,
}

impl Enough {
    /// For the picture of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<(u32, u32)> {
        if ["material", "blend"].iter().any(|start| name.starts_with(start)) {
            self.material
        } else {
            self.subject
        }
    }
}

/// Hears how far a transfer is.
pub trait Progress: Send + Sync {
    /// `done` of `total` parts of the whole transfer are finished, as far as can be foreseen; `stage` is what runs now
    /// (`mask`, `sample`, …).
    fn advance(&self, stage: &'static str, done: usize, total: usize);

    /// What a stage made, for those who keep a trace. `look` is costly and only called by someone who wants to see it;
    /// `what` says what it shows (`mask`, `level-2`), in the order things were made.
    fn observe(&self, what: &str, look: &dyn Fn() -> View) {
        let _ = (what, look);
    }
}

/// Something made on the way of a transfer.
#[derive(Debug, Clone)]
pub enum View {
    /// A picture.
    Picture(Picture),
    /// A tensor that is no picture: latents, an embedding, sigmas.
    Tensor(Tensor),
}

/// A [`Progress`] that nobody listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _stage: &'static str, _done: usize, _total: usize) {}
}

/// A flag that stops a transfer between two denoiser calls. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the transfer to stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Has anyone asked?
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `Err(Error::Cancelled)` once raised.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<(), Error> {
        if self.is_raised() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
