//! NumPy's `SeedSequence` (M. E. O'Neill's `seed_seq_fe` hash), as torchsde uses it: a pool of 24 words.
//!
//! Turns a seed and the place of a node in the Brownian tree into an independent 32-bit seed.
//! All arithmetic is modulo 2^32.

const POOL: usize = 24;
const INIT_A: u32 = 0x43b0_d7e5;
const MULT_A: u32 = 0x931e_8875;
const INIT_B: u32 = 0x8b51_f9dd;
const MULT_B: u32 = 0x58f3_8ded;
const MIX_LEFT: u32 = 0xca01_f9dd;
const MIX_RIGHT: u32 = 0x4973_f715;

/// The hashed pool of one entropy and spawn key.
#[derive(Debug, Clone)]
pub struct SeedSequence {
    pool: [u32; POOL],
}

impl SeedSequence {
    /// Hashes `entropy` and, for a spawned sequence, the numbers of its `key`.
    #[must_use]
    pub fn new(entropy: u64, key: &[u64]) -> Self {
        let mut words = Vec::with_capacity(POOL + 2 * key.len());
        push_words(&mut words, entropy);
        if !key.is_empty() {
            words.resize(words.len().max(POOL), 0);
            for &part in key {
                push_words(&mut words, part);
            }
        }
        let mut hash = Hash(INIT_A);
        let mut pool = [0u32; POOL];
        for (i, slot) in pool.iter_mut().enumerate() {
            *slot = hash.mix_in(words.get(i).copied().unwrap_or(0));
        }
        for source in 0..POOL {
            for target in (0..POOL).filter(|&target| target != source) {
                pool[target] = mix(pool[target], hash.mix_in(pool[source]));
            }
        }
        for &word in words.iter().skip(POOL) {
            for slot in &mut pool {
                *slot = mix(*slot, hash.mix_in(word));
            }
        }
        Self { pool }
    }

    /// The first `N` words that seed a generator.
    #[must_use]
    pub fn words<const N: usize>(&self) -> [u32; N] {
        let mut constant = INIT_B;
        let mut i = 0;
        [(); N].map(|()| {
            let mut word = self.pool[i % POOL] ^ constant;
            i += 1;
            constant = constant.wrapping_mul(MULT_B);
            word = word.wrapping_mul(constant);
            word ^ (word >> 16)
        })
    }
}

/// The running constant of the input hash.
struct Hash(u32);

impl Hash {
    fn mix_in(&mut self, value: u32) -> u32 {
        let value = value ^ self.0;
        self.0 = self.0.wrapping_mul(MULT_A);
        let value = value.wrapping_mul(self.0);
        value ^ (value >> 16)
    }
}

fn mix(x: u32, y: u32) -> u32 {
    let z = MIX_LEFT.wrapping_mul(x).wrapping_sub(MIX_RIGHT.wrapping_mul(y));
    z ^ (z >> 16)
}

/// Little-endian 32-bit words without leading zeros; zero is one word.
fn push_words(words: &mut Vec<u32>, value: u64) {
    words.push((value & 0xffff_ffff) as u32);
    if value >> 32 != 0 {
        words.push((value >> 32) as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appendix_a2() {
        assert_eq!(SeedSequence::new(42, &[]).words(), [387_750_627, 2_536_650_517, 4_078_839_648]);
        assert_eq!(
            SeedSequence::new(42, &[0, 0]).words(),
            [2_102_017_995, 2_891_809_698, 2_144_110_403, 379_559_146]
        );
        assert_eq!(
            SeedSequence::new(42, &[1, 1]).words(),
            [1_058_881_542, 1_039_740_124, 2_218_853_409, 2_234_354_429]
        );
        let long = 182_541_674_078_463;
        assert_eq!(SeedSequence::new(long, &[]).words(), [1_270_901_041, 2_629_060_681, 1_880_864_562]);
        assert_eq!(
            SeedSequence::new(long, &[0, 0]).words(),
            [429_203_590, 1_372_264_328, 504_343_103, 2_783_642_644]
        );
    }
}
