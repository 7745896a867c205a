//! `torch.randn` on the CPU, number for number.
//!
//! MT19937 (Matsumoto and Nishimura 1998) seeded with the low 32 bits of the seed, then Box-Muller in blocks of sixteen
//! (eight radii, eight angles), or pair by pair in f64 for tensors of fewer than sixteen elements. The vectorised
//! kernels of torch differ from the `f32` functions used here by at most 2.4e-7.

use std::f64::consts::TAU;

use rayon::prelude::*;

const STATE: usize = 624;
const SHIFT: usize = 397;
/// Elements per Box-Muller block; tensors below this size take the pairwise path.
const BLOCK: usize = 16;
/// Fewer blocks than this are not worth a thread.
const MIN_PARALLEL: usize = 256;

/// The Mersenne Twister with torch's ways of making standard normal numbers from it.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; STATE],
    next: usize,
    /// The pairwise path makes two numbers at a time; an odd count leaves one for the next call, as in torch.
    spare: Option<f32>,
}

impl Mt19937 {
    /// Seeds with the low 32 bits of `seed`, as `torch.Generator` does on the CPU.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = [0u32; STATE];
        state[0] = (seed & 0xffff_ffff) as u32;
        for i in 1..STATE {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: STATE, spare: None }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// The next `count` standard normal numbers, as one `torch.randn` call of that many elements draws them.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK { (0..count).map(|_| self.pairwise()).collect() } else { self.blockwise(count) }
    }

    fn uniform24(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    fn blockwise(&mut self, count: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform24()).collect();
        values.par_chunks_exact_mut(BLOCK).with_min_len(MIN_PARALLEL).for_each(box_muller);
        if !count.is_multiple_of(BLOCK) {
            // The last sixteen are drawn again, over numbers already made.
            let tail = &mut values[count - BLOCK..];
            for value in tail.iter_mut() {
                *value = self.uniform24();
            }
            box_muller(tail);
        }
        values
    }

    fn uniform53(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    fn pairwise(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let u1 = self.uniform53();
        let u2 = self.uniform53();
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let angle = TAU * u1;
        self.spare = Some((radius * angle.sin()) as f32);
        (radius * angle.cos()) as f32
    }
}

/// Sixteen uniforms in [0, 1) become sixteen normals: number j and number j+8 share a radius.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (u, v) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * (1.0 - *u).ln()).sqrt();
        let angle = std::f32::consts::TAU * *v;
        *u = radius * angle.cos();
        *v = radius * angle.sin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_of_seed_42() {
        // As torch and NumPy give them.
        let mut mt = Mt19937::new(42);
        let words: Vec<u32> = (0..4).map(|_| mt.next_u32()).collect();
        assert_eq!(words, [1_608_637_542, 3_421_126_067, 4_083_286_876, 787_846_414]);
    }

    #[test]
    fn only_the_low_half_of_a_seed_counts() {
        assert_eq!(Mt19937::new(5).normals(40), Mt19937::new(5 + (1 << 32)).normals(40));
    }

    #[test]
    fn ten_thousandth_word_of_the_published_generator() {
        // The C++ standard fixes the 10000th output of mt19937 with its default seed 5489 (rand.predef).
        let mut mt = Mt19937::new(5489);
        let last = (0..10_000).map(|_| mt.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
