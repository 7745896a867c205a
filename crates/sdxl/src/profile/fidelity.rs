//! Which defects of the reference are put right.

use serde::Deserialize;

/// How close a profile keeps to the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fidelity {
    /// Number for number, defects included.
    #[default]
    Reference,
    /// With all corrections.
    Enhanced,
}

/// The corrections one by one; `None`: as the fidelity says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // one explanation, at `Corrected`
pub struct Corrections {
    pub alpha: Option<bool>,
    pub full_size: Option<bool>,
    pub exact_background: Option<bool>,
    pub smooth_resize: Option<bool>,
    pub clean_edges: Option<bool>,
}

/// The corrections that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Corrected {
    /// A subject's alpha channel is its mask, and the result keeps it.
    pub alpha: bool,
    /// The result is as large as the subject and not cut to multiples of 8.
    pub full_size: bool,
    /// Outside the mask the subject's own pixels come back, unless a request says otherwise.
    pub exact_background: bool,
    /// The subject is shrunk by a filter and not by picking pixels.
    pub smooth_resize: bool,
    /// The grey subject is blended into its surroundings and has no dark seam.
    pub clean_edges: bool,
}

impl Corrections {
    /// What is made of them at this fidelity.
    #[must_use]
    pub fn at(self, fidelity: Fidelity) -> Corrected {
        let made = |switch: Option<bool>| switch.unwrap_or(fidelity == Fidelity::Enhanced);
        Corrected {
            alpha: made(self.alpha),
            full_size: made(self.full_size),
            exact_background: made(self.exact_background),
            smooth_resize: made(self.smooth_resize),
            clean_edges: made(self.clean_edges),
        }
    }
}
