//! `torch.randn` on a CUDA device: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! Layout of torch's CUDA kernel: a grid of G threads, thread t owning Philox subsequence t; each round of a thread makes four normals
//! (two Box-Muller pairs, sine first) and writes them to t, t+G, t+2G, t+3G of the round's 4G elements. G is the element
//! count rounded up to blocks of 256, but at most what the GPU keeps resident. Counter words: (round, 0, t low,
//! t high); key: the seed's halves.
//!
//! Checked: the block cipher against the authors' known answers; values against published CUDA outputs for seeds 0 and
//! 42 (below 256 elements). Not checked for want of a GPU: tensors larger than the resident grid, and the last bits (CUDA uses
//! fast sine and cosine, good to about 1e-6).

use rayon::prelude::*;

const BLOCK: usize = 256;
/// Fewer numbers than this are not worth a thread.
const MIN_PARALLEL: usize = 4096;
const ROUNDS: usize = 10;
const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const INV_2_POW_32: f32 = 2.328_306_4e-10;

/// A CUDA-style generator; successive calls advance its offset as torch does.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    /// Rounds already used by every thread (torch's offset divided by four).
    round: u64,
    resident_threads: usize,
}

impl Philox {
    /// Seeds with all 64 bits, for a GPU large enough to hold a thread for every element.
    ///
    /// Up to the resident threads of the card every GPU yields the same numbers; see
    /// [`with_resident_threads`](Self::with_resident_threads) for larger tensors.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { key: halves(seed), round: 0, resident_threads: usize::MAX }
    }

    /// Imitates a card that keeps `threads` threads resident: multiprocessors × threads per multiprocessor, e.g. 108 × 2048
    /// on an A100, 128 × 1536 on an RTX 4090. A latent of 1920×1920 has 230,400 elements and exceeds both.
    #[must_use]
    pub fn with_resident_threads(self, threads: usize) -> Self {
        Self { resident_threads: threads.max(BLOCK) / BLOCK * BLOCK, ..self }
    }

    /// The next `count` standard normal numbers, as one CUDA `torch.randn` call of that many elements draws them.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        let threads = count.next_multiple_of(BLOCK).clamp(BLOCK, self.resident_threads);
        let per_round = threads.saturating_mul(4);
        let normal = |i: usize| {
            let (round, place) = (i / per_round, i % per_round);
            self.normal(self.round + round as u64, (place % threads) as u64, place / threads)
        };
        let values = (0..count).into_par_iter().with_min_len(MIN_PARALLEL).map(normal).collect();
        self.round += count.div_ceil(per_round) as u64;
        values
    }

    /// One of the four normals that a thread makes in a round.
    fn normal(&self, round: u64, thread: u64, lane: usize) -> f32 {
        let [a, b] = halves(round);
        let [c, d] = halves(thread);
        let words = philox4x32(self.key, [a, b, c, d]);
        let pair = lane / 2 * 2;
        box_muller(words[pair], words[pair + 1])[lane % 2]
    }
}

fn halves(value: u64) -> [u32; 2] {
    [(value & 0xffff_ffff) as u32, (value >> 32) as u32]
}

/// Ten rounds of Philox on a 128-bit counter.
fn philox4x32(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [low0, high0] = halves(u64::from(MULTIPLIER[0]) * u64::from(counter[0]));
        let [low1, high1] = halves(u64::from(MULTIPLIER[1]) * u64::from(counter[2]));
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Two words to two normals; uniforms sit at the middles of 2^32 cells so that the logarithm is finite.
fn box_muller(x: u32, y: u32) -> [f32; 2] {
    let u = (x as f32).mul_add(INV_2_POW_32, INV_2_POW_32 / 2.0);
    let turn = INV_2_POW_32 * std::f32::consts::TAU;
    let angle = (y as f32).mul_add(turn, turn / 2.0);
    let radius = (-2.0 * u.ln()).sqrt();
    [radius * angle.sin(), radius * angle.cos()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_cipher() {
        // Random123 kat_vectors, philox4x32 10
        assert_eq!(philox4x32([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }
}
