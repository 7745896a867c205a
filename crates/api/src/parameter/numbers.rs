//! Numbers as clients spell them.

use crate::given::Given;

/// A finite number, from a JSON number or from a string that spells one.
pub(super) fn number(value: &Given<'_>) -> Option<f64> {
    let number = match value {
        Given::Number(number) => number.as_f64()?,
        Given::Text(text) => spelled(text)?.parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A whole number, exact as far as it was written without point or exponent; huge ones saturate.
pub(super) fn integer(value: &Given<'_>) -> Option<i128> {
    let exact = match value {
        Given::Number(number) => number.as_i128(),
        Given::Text(text) => spelled(text)?.parse().ok(),
        _ => return None,
    };
    // Every f64 without a fraction is exact as an integer, and a cast out of i128's range saturates.
    exact.or_else(|| number(value).filter(|number| number.fract() == 0.0).map(|number| number as i128))
}

/// The string without blanks, if only digits, signs, a point and an exponent are in it (Rust would also parse `inf`).
fn spelled(text: &str) -> Option<&str> {
    let text = text.trim();
    text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E')).then_some(text)
}
