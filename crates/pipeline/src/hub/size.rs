//! Sizes of files as people read them: three digits, and a tilde where they are rough.

use std::fmt;

use super::{Hub, Manifest};

/// How many bytes a file, or several together, have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The number.
    pub bytes: u64,
    /// Whether it is known to the byte.
    pub exact: bool,
}

impl Size {
    /// Known to the byte.
    #[must_use]
    pub fn exact(bytes: u64) -> Self {
        Self { bytes, exact: true }
    }
}

/// 7.11 GB, or ~335 MB.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.bytes as f64;
        let mut units = ["kB", "MB", "GB", "TB"].into_iter();
        let mut unit = "B";
        while value >= 999.5
            && let Some(next) = units.next()
        {
            (value, unit) = (value / 1000.0, next);
        }
        let decimals = match value {
            _ if unit == "B" => 0,
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        };
        let rough = if self.exact { "" } else { "~" };
        f.pad(&format!("{rough}{value:.decimals$} {unit}"))
    }
}

impl Hub {
    /// Size of a manifest's file: as stated, else as found in the cache, else roughly; `None` where nobody knows.
    #[must_use]
    pub fn size(&self, manifest: &Manifest) -> Option<Size> {
        let found = || Some(std::fs::metadata(self.locate(manifest)?).ok()?.len());
        let exact = manifest.size.or_else(found).map(Size::exact);
        exact.or_else(|| Some(Size { bytes: manifest.about?, exact: false }))
    }

    /// The sum of the files' sizes, rough where one of them is.
    #[must_use]
    pub fn total(&self, files: &[&Manifest]) -> Size {
        let sizes: Vec<Option<Size>> = files.iter().map(|manifest| self.size(manifest)).collect();
        Size {
            bytes: sizes.iter().flatten().map(|size| size.bytes).sum(),
            exact: sizes.iter().all(|size| size.is_some_and(|size| size.exact)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 999, 1000, 17_200_000, 99_960_000, 335_000_000, 999_600_000, 7_105_348_672];
        let texts = sizes.map(|bytes| Size::exact(bytes).to_string());
        assert_eq!(texts, ["0 B", "999 B", "1.00 kB", "17.2 MB", "100 MB", "335 MB", "1.00 GB", "7.11 GB"]);
        assert_eq!(format!("{:>8}", Size { bytes: 335_000_000, exact: false }), " ~335 MB");
    }
}
