//! Making masks wider and narrower.

use rayon::prelude::*;

use super::Raster;

impl Raster {
    /// The largest value of a one-channel raster within `reach` pixels along either axis; at least 0.
    #[must_use]
    pub fn widened(&self, reach: usize) -> Self {
        let (w, h) = (self.width, self.height);
        let mut rows = self.clone();
        rows.data.par_chunks_exact_mut(w).zip(self.data.par_chunks_exact(w)).for_each(|(row, from)| {
            for (x, o) in row.iter_mut().enumerate() {
                let near = &from[x.saturating_sub(reach)..(x + reach + 1).min(w)];
                *o = near.iter().copied().fold(0.0, f32::max);
            }
        });
        let mut out = rows.clone();
        out.data.par_chunks_exact_mut(w).enumerate().for_each(|(y, row)| {
            for near in y.saturating_sub(reach)..(y + reach + 1).min(h) {
                let from = &rows.data[near * w..][..w];
                row.iter_mut().zip(from).for_each(|(o, r)| *o = if *r > *o { *r } else { *o });
            }
        });
        out
    }

    /// 1 where every pixel of a one-channel raster within `reach` along either axis exceeds one half, else 0.
    #[must_use]
    pub fn shrunken(&self, reach: usize) -> Self {
        let outside = self.map(1, |m, o| o[0] = f32::from(u8::from(m[0] <= 0.5)));
        outside.widened(reach).map(1, |m, o| o[0] = 1.0 - m[0])
    }
}
