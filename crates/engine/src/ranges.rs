//! Numbers of a profile and their ranges.

/// A complaint about the first of these numbers (name, value, least, most) that is out of its range.
#[must_use]
pub fn out_of_range(numbers: &[(&str, f64, f64, f64)]) -> Option<String> {
    let (name, value, low, high) =
        numbers.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value))?;
    Some(format!("{name} is {value}; it must lie between {low} and {high}"))
}
