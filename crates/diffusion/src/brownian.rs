//! Brownian noise over sigma that is consistent for overlapping stretches: the tree of torchsde (Li et al. 2020,
//! arXiv:2001.01328, section 4), reproduced number for number.
//!
//! W is a Brownian motion on [lo, hi], the smallest and largest positive sigma. A node of the tree holds the increment of W over
//! its interval; halving it draws a Brownian bridge whose seed is hashed from the node's place, so any increment
//! can be recomputed from the seed alone. Nodes are cached, least recently used first out. Points are rounded to six decimals.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Shape, Tensor};

use crate::{Error, NoiseSource, Result, SeedSequence, mt19937::Mt19937};

/// Bytes that cached nodes may take together; some 70 nodes of a 1920×1920 latent, whose deepest query touches 48.
const CACHE_BYTES: usize = 64 << 20;
/// Bounds on the number of cached nodes, whatever their size.
const CACHE_NODES: (usize, usize) = (64, 4096);

/// The noise of DPM++ SDE: standard normal for every stretch, correlated where stretches overlap.
#[derive(Debug)]
pub struct BrownianTree {
    seed: u64,
    shape: Shape,
    device: Device,
    root: Node,
    /// W(mid) - W(start) of a node, by (depth, key).
    left_halves: HashMap<(u32, u64), Cached>,
    capacity: usize,
    clock: u64,
}

/// An interval of the tree and the increment of W over it.
#[derive(Debug, Clone)]
struct Node {
    start: f64,
    end: f64,
    key: u64,
    depth: u32,
    increment: Arc<[f32]>,
}

#[derive(Debug)]
struct Cached {
    increment: Arc<[f32]>,
    used: u64,
}

impl BrownianTree {
    /// A tree over `[lo, hi]`, `0 ≤ lo < hi`, for tensors of `shape`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the interval is empty to six decimals.
    pub fn new(seed: u64, shape: impl Into<Shape>, lo: f64, hi: f64, device: &Device) -> Result<Self> {
        let (start, end) = (round6(lo), round6(hi));
        if !(lo >= 0.0 && end > start && hi.is_finite()) {
            return Err(Error::invalid(format!(
                "a Brownian tree needs 0 <= lo < hi (to six decimals), got [{lo}, {hi}]"
            )));
        }
        let shape = shape.into();
        let [root_seed] = SeedSequence::new(seed, &[]).words();
        let deviation = (hi - lo).sqrt() as f32;
        let increment = randn(root_seed, shape.elem_count()).map(|g| g * deviation).collect();
        let node_bytes = (shape.elem_count() * size_of::<f32>()).max(1);
        Ok(Self {
            seed,
            device: device.clone(),
            root: Node { start, end, key: 0, depth: 0, increment },
            left_halves: HashMap::new(),
            capacity: (CACHE_BYTES / node_bytes).clamp(CACHE_NODES.0, CACHE_NODES.1),
            clock: 0,
            shape,
        })
    }

    /// A tree from the smallest positive to the largest of `sigmas`, as the reference sets it up.
    ///
    /// # Errors
    /// [`Error::Invalid`] when fewer than two different positive sigmas are given and noise could never be asked for;
    /// a single positive sigma yields a tree that is never queried, which is allowed.
    pub fn for_sigmas(seed: u64, shape: impl Into<Shape>, sigmas: &[f64], device: &Device) -> Result<Self> {
        let positive = || sigmas.iter().copied().filter(|s| *s > 0.0);
        let lo = positive().fold(f64::INFINITY, f64::min);
        let hi = positive().fold(0.0, f64::max);
        // One step (sigma, 0) asks for no noise: any interval will do.
        let lo = if lo == hi { 0.0 } else { lo };
        Self::new(seed, shape, lo, hi, device)
    }

    /// `W(to) - W(from)` for `from < to`; both are clamped to the tree's interval and rounded to six decimals.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `from <= to`; tensor errors.
    pub fn increment(&mut self, from: f64, to: f64) -> Result<Tensor> {
        if from.is_nan() || to.is_nan() || from > to {
            return Err(Error::invalid(format!("a Brownian increment runs upwards, got {from} to {to}")));
        }
        let inside = |t: f64| round6(t.clamp(self.root.start, self.root.end));
        let (from, to) = (inside(from), inside(to));
        let mut sum = vec![0f32; self.shape.elem_count()];
        if from < to {
            let root = self.root.clone();
            self.cover(&root, from, to, &mut sum);
            self.evict();
        }
        Ok(Tensor::from_vec(sum, self.shape.clone(), &self.device)?)
    }

    /// Adds to `sum` the increments of the largest nodes that together cover `[from, to]` within `node`, left to right.
    fn cover(&mut self, node: &Node, from: f64, to: f64, sum: &mut [f32]) {
        if from <= node.start && to >= node.end {
            sum.iter_mut().zip(node.increment.iter()).for_each(|(s, w)| *s += w);
            return;
        }
        let middle = round6(0.5 * (node.end + node.start));
        let left = self.left_half(node, middle);
        if from < middle {
            let child = node.child(false, node.start, middle, left.clone());
            self.cover(&child, from, to, sum);
        }
        if to > middle {
            let right = node.increment.iter().zip(left.iter()).map(|(w, l)| w - l).collect();
            let child = node.child(true, middle, node.end, right);
            self.cover(&child, from, to, sum);
        }
    }

    /// The Brownian bridge at `middle`: the increment over `[node.start, middle]`.
    fn left_half(&mut self, node: &Node, middle: f64) -> Arc<[f32]> {
        self.clock += 1;
        if let Some(cached) = self.left_halves.get_mut(&(node.depth, node.key)) {
            cached.used = self.clock;
            return cached.increment.clone();
        }
        let (left, right) = (middle - node.start, node.end - middle);
        let inverse = 1.0 / (node.end - node.start);
        let deviation = (left * right * inverse).sqrt() as f32;
        let (left, inverse) = (left as f32, inverse as f32);
        let [seed] = SeedSequence::new(self.seed, &[node.key, u64::from(node.depth)]).words();
        let increment: Arc<[f32]> = randn(seed, node.increment.len())
            .zip(node.increment.iter())
            .map(|(g, w)| left * w * inverse + deviation * g)
            .collect();
        let cached = Cached { increment: increment.clone(), used: self.clock };
        self.left_halves.insert((node.depth, node.key), cached);
        increment
    }

    /// Forgets the nodes that have not been used for longest.
    fn evict(&mut self) {
        let excess = self.left_halves.len().saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let mut ages: Vec<u64> = self.left_halves.values().map(|cached| cached.used).collect();
        ages.sort_unstable();
        let oldest_kept = ages[excess];
        self.left_halves.retain(|_, cached| cached.used >= oldest_kept);
    }
}

impl Node {
    fn child(&self, right: bool, start: f64, end: f64, increment: Arc<[f32]>) -> Self {
        Self { start, end, key: 2 * self.key + u64::from(right), depth: self.depth + 1, increment }
    }
}

impl NoiseSource for BrownianTree {
    /// `-(W(from) - W(to)) / sqrt(from - to)`; the sign is the reference's orientation, which runs towards small sigmas.
    fn between(&mut self, from: f64, to: f64) -> Result<Tensor> {
        if from <= to {
            return Err(Error::invalid(format!(
                "noise is asked for from a larger to a smaller sigma, got {from} to {to}"
            )));
        }
        let span = (from as f32 - to as f32).sqrt();
        let increment = self.increment(to, from)?;
        Ok((increment / -f64::from(span))?)
    }
}

fn randn(seed: u32, count: usize) -> impl Iterator<Item = f32> {
    Mt19937::new(u64::from(seed)).normals(count).into_iter()
}

/// Rounds to six decimals as Python's `round` does: the correctly rounded decimal of the binary value.
fn round6(value: f64) -> f64 {
    format!("{value:.6}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32 tensor")
    }

    #[test]
    fn eviction_changes_nothing() {
        let tree = || BrownianTree::new(7, (1, 4, 4, 4), 0.03, 14.6, &Device::Cpu).expect("valid");
        let (mut roomy, mut tight) = (tree(), tree());
        tight.capacity = 3;
        for (from, to) in [(1.0, 9.0), (0.4, 0.5), (1.0, 9.0), (0.03, 14.6), (9.0, 14.6), (0.4, 1.0)] {
            let want = values(&roomy.increment(from, to).expect("inside"));
            assert_eq!(want, values(&tight.increment(from, to).expect("inside")), "{from}..{to}");
            assert!(tight.left_halves.len() <= 3);
        }
    }

    #[test]
    fn increments_add_up() {
        let mut tree = BrownianTree::new(3, (1, 4, 4, 4), 0.0, 10.0, &Device::Cpu).expect("valid");
        let (a, b, c) = (0.123_456, 2.5, 9.999);
        let parts =
            (tree.increment(a, b).expect("ok") + tree.increment(b, c).expect("ok")).expect("same shape");
        let whole = tree.increment(a, c).expect("ok");
        for (p, w) in values(&parts).into_iter().zip(values(&whole)) {
            assert!((p - w).abs() < 2e-6, "{p} {w}");
        }
    }

    #[test]
    fn noise_is_standard_normal_and_overlapping_stretches_correlate() {
        // corr(N(s,q), N(s,e)) = sqrt((s-q)/(s-e)): increments share the stretch from q to s
        let mut tree = BrownianTree::new(11, (1, 4, 100, 100), 0.03, 14.6, &Device::Cpu).expect("valid");
        let (s, q, e) = (14.6, 9.428, 6.082);
        let short = values(&tree.between(s, q).expect("ok"));
        let long = values(&tree.between(s, e).expect("ok"));
        let next = values(&tree.between(e, 2.2).expect("ok"));
        let mean = |v: &mut dyn Iterator<Item = f32>| v.map(f64::from).sum::<f64>() / short.len() as f64;
        // 40,000 samples: a standard error of 0.005 for means, 0.007 for second moments.
        assert!(mean(&mut long.iter().copied()).abs() < 0.02);
        assert!((mean(&mut long.iter().map(|v| v * v)) - 1.0).abs() < 0.03);
        let correlation = mean(&mut short.iter().zip(&long).map(|(a, b)| a * b));
        assert!((correlation - f64::sqrt((s - q) / (s - e))).abs() < 0.03, "{correlation}");
        assert!(mean(&mut next.iter().zip(&long).map(|(a, b)| a * b)).abs() < 0.02);
    }

    #[test]
    fn bad_intervals_are_refused() {
        assert!(BrownianTree::new(0, (1, 1), 1.0, 1.0, &Device::Cpu).is_err());
        assert!(BrownianTree::new(0, (1, 1), f64::NAN, 1.0, &Device::Cpu).is_err());
        let mut tree = BrownianTree::new(0, (1, 1), 0.1, 1.0, &Device::Cpu).expect("valid");
        assert!(tree.between(0.2, 0.3).is_err());
        assert!(tree.between(0.2, 0.2).is_err());
    }
}
