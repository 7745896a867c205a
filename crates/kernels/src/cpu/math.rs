//! Exponential, error function and activations over [`Lanes`], accurate to a few units in the last place of f32.

use super::lanes::{Lanes, versions};
use crate::Activation;

/// eˣ for x ≤ 88, 0 (to rounding) below −87. Cephes' expf: x = n·ln2 + r, a polynomial of degree 6 in r, scaled by 2ⁿ.
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L) -> L {
    let x = x.max(L::splat(-87.0)).min(L::splat(88.0));
    // Adding 1.5·2²³ rounds to an integer and leaves it in the low bits.
    let magic = L::splat(12_582_912.0);
    let t = x.mul_add(L::splat(std::f32::consts::LOG2_E), magic);
    let n = t.sub(magic);
    let r = n.mul_add(L::splat(-0.693_359_4), x);
    let r = n.mul_add(L::splat(2.121_944_4e-4), r);
    let p = L::splat(1.987_569_1e-4);
    let p = p.mul_add(r, L::splat(1.398_199_9e-3));
    let p = p.mul_add(r, L::splat(8.333_452e-3));
    let p = p.mul_add(r, L::splat(4.166_579_6e-2));
    let p = p.mul_add(r, L::splat(1.666_666_5e-1));
    let p = p.mul_add(r, L::splat(0.5));
    let y = p.mul_add(r.mul(r), r.add(L::splat(1.0)));
    y.scale_by_low_bits(t)
}

/// The error function: a rational function of x² on [−4, 4] (the coefficients of Eigen's and XLA's erf).
#[inline(always)]
fn erf<L: Lanes>(x: L) -> L {
    let x = x.max(L::splat(-4.0)).min(L::splat(4.0));
    let x2 = x.mul(x);
    let p = L::splat(-2.726_142_3e-10);
    let p = p.mul_add(x2, L::splat(2.770_681_4e-8));
    let p = p.mul_add(x2, L::splat(-2.101_024e-6));
    let p = p.mul_add(x2, L::splat(-5.692_506_5e-5));
    let p = p.mul_add(x2, L::splat(-7.349_906e-4));
    let p = p.mul_add(x2, L::splat(-2.954_6e-3));
    let p = p.mul_add(x2, L::splat(-1.609_603_3e-2));
    let q = L::splat(-1.456_607_2e-5);
    let q = q.mul_add(x2, L::splat(-2.133_740_6e-4));
    let q = q.mul_add(x2, L::splat(-1.682_827e-3));
    let q = q.mul_add(x2, L::splat(-7.373_329e-3));
    let q = q.mul_add(x2, L::splat(-1.426_474e-2));
    x.mul(p).div(q)
}

#[inline(always)]
fn sigmoid<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    one.div(one.add(exp(L::splat(0.0).sub(x))))
}

/// x·Φ(x).
#[inline(always)]
pub(super) fn gelu<L: Lanes>(x: L) -> L {
    let half = x.mul(L::splat(0.5));
    half.mul_add(erf(x.mul(L::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
}

/// x·σ(x).
#[inline(always)]
pub(super) fn silu<L: Lanes>(x: L) -> L {
    x.div(L::splat(1.0).add(exp(L::splat(0.0).sub(x))))
}

/// A function of single values.
///
/// A trait and not a closure: its method can be inlined for certain, and a call left standing would pass vectors through
/// memory.
pub(super) trait Function: Copy {
    /// The function of every lane.
    fn of<L: Lanes>(self, x: L) -> L;
}

macro_rules! functions {
    ($($name:ident => |$x:ident| $body:expr;)*) => {
        $(
            #[derive(Clone, Copy)]
            pub(super) struct $name;

            impl Function for $name {
                #[inline(always)]
                fn of<L: Lanes>(self, $x: L) -> L {
                    $body
                }
            }
        )*
    };
}

functions! {
    Identity => |x| x;
    Relu => |x| x.max(L::splat(0.0));
    Silu => |x| silu(x);
    Gelu => |x| gelu(x);
    QuickGelu => |x| x.mul(sigmoid(x.mul(L::splat(1.702))));
    Sigmoid => |x| sigmoid(x);
}

/// Evaluates `$body` with `$f` standing for the [`Function`] of `$activation`: the choice is made outside of all loops.
macro_rules! by_activation {
    ($activation:expr, $f:ident => $body:expr) => {
        match $activation {
            None => {
                let $f = $crate::cpu::math::Identity;
                $body
            }
            Some($crate::Activation::Relu) => {
                let $f = $crate::cpu::math::Relu;
                $body
            }
            Some($crate::Activation::Silu) => {
                let $f = $crate::cpu::math::Silu;
                $body
            }
            Some($crate::Activation::Gelu) => {
                let $f = $crate::cpu::math::Gelu;
                $body
            }
            Some($crate::Activation::QuickGelu) => {
                let $f = $crate::cpu::math::QuickGelu;
                $body
            }
            Some($crate::Activation::Sigmoid) => {
                let $f = $crate::cpu::math::Sigmoid;
                $body
            }
        }
    };
}
pub(super) use by_activation;

/// `f` of every value of `x` into `y`, also of a last, partial vector.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn map<L: Lanes>(x: &[f32], y: &mut [f32], f: impl Function) {
    let len = x.len().min(y.len());
    let whole = len - len % L::N;
    let mut at = 0;
    while at < whole {
        // SAFETY: `at + N` ≤ `whole`, which is inside both slices.
        unsafe { f.of(L::load(x.as_ptr().add(at))).store(y.as_mut_ptr().add(at)) };
        at += L::N;
    }
    if whole < len {
        f.of(L::load_part(&x[whole..len])).store_part(&mut y[whole..len]);
    }
}

#[inline(always)]
fn activate_body<L: Lanes>(x: &[f32], y: &mut [f32], activation: Activation) {
    by_activation!(Some(activation), f => map::<L>(x, y, f))
}

versions! {
    /// The activation of every value of `x`, into `y`.
    pub(super) fn activate_slice(x: &[f32], y: &mut [f32], activation: Activation) = activate_body
}
