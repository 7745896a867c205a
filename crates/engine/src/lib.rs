//! What an engine is.
//!
//! A [`Transfer`] (decoded pictures and settled numbers) goes into an [`Engine`]; an [`Outcome`] comes out. [`Progress`]
//! watches it on the way, [`Cancel`] stops it. Knows no engine, no profile, no HTTP and no queue.

mod clock;
mod engine;
mod error;
mod mask;
mod provenance;
mod ranges;
mod transfer;

pub use clock::Clock;
pub use engine::{Cancel, Engine, Enough, Progress, Silent, View};
pub use error::Error;
pub use mask::given_mask;
pub use provenance::Provenance;
pub use ranges::out_of_range;
pub use transfer::{
    Background, Edits, Intermediate, MOST_REGIONS, MaterialFit, Outcome, Pictures, Region, Settings,
    Strength, Transfer,
};
