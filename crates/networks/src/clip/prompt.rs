//! Prompts with weights: "a (shiny:1.3) vase" into runs of text, each with the weight of its parentheses.
//!
//! Parentheses multiply the weight by 1.1 or, with a number after the last colon, set it; they nest; `\(` and `\)` are
//! literal. Square brackets mean nothing. The corner cases (stray and unclosed parentheses) are the reference's.

/// Factor of a pair of parentheses without a number.
const EMPHASIS: f64 = 1.1;

/// A run of text with one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The text, escapes resolved.
    pub text: String,
    /// Its weight; 1 is neutral.
    pub weight: f64,
}

/// Stand-ins for escaped parentheses while groups are found.
const ESCAPED_CLOSE: &str = "\0\u{1}";
const ESCAPED_OPEN: &str = "\0\u{2}";

/// The weighted runs of a prompt, in order.
pub fn segments(prompt: &str) -> Vec<Segment> {
    let protected = prompt.replace("\\)", ESCAPED_CLOSE).replace("\\(", ESCAPED_OPEN);
    let mut segments = Vec::new();
    weigh(&protected, 1.0, &mut segments);
    for segment in &mut segments {
        segment.text = segment.text.replace(ESCAPED_CLOSE, ")").replace(ESCAPED_OPEN, "(");
    }
    segments
}

/// The words of a segment: split at spaces and line ends. Textual inversions (`embedding:NAME`) name files that are not
/// there and drop out; of the name's trailing commas the reference keeps the characters beyond the bare name's length.
pub fn words(segment: &str) -> Vec<String> {
    let spaced = segment.replace('\n', " ");
    let words = spaced.split(' ').filter(|word| !word.is_empty());
    let kept = |word: &str| match word.strip_prefix("embedding:") {
        None => Some(word.to_owned()),
        Some(name) => {
            let bare = name.trim_matches(',').chars().count();
            Some(name.chars().skip(bare).collect::<String>()).filter(|rest| !rest.is_empty())
        }
    };
    words.filter_map(kept).collect()
}

fn weigh(text: &str, weight: f64, out: &mut Vec<Segment>) {
    for part in groups(text) {
        let inside = (part.len() >= 2).then(|| part.strip_prefix('(')?.strip_suffix(')')).flatten();
        let Some(inside) = inside else {
            out.push(Segment { text: part, weight });
            continue;
        };
        let explicit = inside.rfind(':').filter(|colon| *colon > 0).and_then(|colon| {
            let number = python_float(&inside[colon + 1..])?;
            Some((&inside[..colon], number))
        });
        let (inside, weight) = explicit.unwrap_or((inside, weight * EMPHASIS));
        weigh(inside, weight, out);
    }
}

/// Top-level parenthesised groups and the text between them. A stray ")" opens a debt that the next "(" only pays off.
fn groups(text: &str) -> Vec<String> {
    let mut groups = Vec::new();
    let mut current = String::new();
    let mut depth = 0i64;
    for c in text.chars() {
        match c {
            '(' => {
                if depth == 0 && !current.is_empty() {
                    groups.push(std::mem::take(&mut current));
                }
                current.push(c);
                depth += 1;
            }
            ')' => {
                depth -= 1;
                current.push(c);
                if depth == 0 {
                    groups.push(std::mem::take(&mut current));
                }
            }
            _ => current.push(c),
        }
    }
    if !current.is_empty() {
        groups.push(current);
    }
    groups
}

/// A number as Python's `float()` reads it: surrounding white space and single underscores between digits are allowed.
fn python_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let misplaced = text
        .match_indices('_')
        .any(|(at, _)| !digit(text[..at].chars().next_back()) || !digit(text[at + 1..].chars().next()));
    if misplaced { None } else { text.replace('_', "").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_nest_multiply_and_set() {
        let got = segments("a ((b) (c:0.5)) d");
        let want = [("a ", 1.0), ("b", 1.1 * 1.1), (" ", 1.1), ("c", 0.5), (" d", 1.0)];
        assert_eq!(got.len(), want.len());
        for (got, (text, weight)) in got.iter().zip(want) {
            assert_eq!((got.text.as_str(), got.weight), (text, weight));
        }
    }

    #[test]
    fn corner_cases() {
        let texts = |prompt: &str| -> Vec<(String, f64)> {
            segments(prompt).into_iter().map(|s| (s.text, s.weight)).collect()
        };
        assert_eq!(texts("\\(x\\)"), [("(x)".to_owned(), 1.0)]);
        assert_eq!(texts("(unclosed"), [("(unclosed".to_owned(), 1.0)]);
        assert_eq!(texts("stray ) (not a group)"), [("stray ) (not a group)".to_owned(), 1.0)]);
        assert_eq!(texts("(:1.2)"), [(":1.2".to_owned(), 1.1)]);
        assert_eq!(texts("(a: 1_0 )"), [("a".to_owned(), 10.0)]);
        assert_eq!(words("embedding:foo, bar\nbaz  embedding:qux"), [",", "bar", "baz"]);
    }
}
