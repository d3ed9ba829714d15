//! What is known of a JSON text before it is parsed: how deep it is, and where its numbers stand.

use std::ops::Range;

/// Arrays and objects around each other in any request, 32 of them; deeper ones are refused before
/// they are parsed. Bounds how often reading, writing and merging call themselves.
pub(in crate::shadow) const NESTING_MAX: usize = 32;

/// A text deeper than [`NESTING_MAX`].
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TooDeep;

/// Where the numbers of a text stand, in their order. Of a text that is no JSON it means nothing.
///
/// One pass over the bytes that knows strings, brackets and numbers and nothing else.
pub(super) fn scan(text: &str) -> Result<Vec<Range<usize>>, TooDeep> {
    let bytes = text.as_bytes();
    let mut numbers = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let end = number_end(bytes, at);
                numbers.push(at..end);
                at = end;
                continue;
            }
            b'[' | b'{' if depth == NESTING_MAX => return Err(TooDeep),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(numbers)
}

/// Where the quote is that ends the string whose first byte stands at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            None | Some(b'"') => return at,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// Where the number ends that begins at `start`.
fn number_end(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    start + bytes[start..].iter().take_while(|byte| is_part(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<&str> {
        scan(text).unwrap().into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn numbers_are_found_outside_strings() {
        let text = r#"{"a1":-1.5e+3,"b":["2\"3\\",4],"5":0}"#;
        assert_eq!(numbers(text), ["-1.5e+3", "4", "0"]);
        assert_eq!(numbers(""), [""; 0]);
    }

    #[test]
    fn broken_texts_end_the_scan_too() {
        for text in ["\"", "\"\\", "\"a", "]}]}", "-", "1e", "{\"a\":\"\\\""] {
            assert!(scan(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        let deepest = format!("{}{}", "[".repeat(NESTING_MAX), "]".repeat(NESTING_MAX));
        assert_eq!(scan(&deepest), Ok(vec![]));
        assert_eq!(scan(&format!("[{deepest}]")), Err(TooDeep));
        assert_eq!(scan(&"{\"a\":".repeat(NESTING_MAX + 1)), Err(TooDeep));
        assert_eq!(scan(&format!("[\"{}\"]", "[".repeat(100))), Ok(vec![]));
        assert_eq!(scan(&"[]".repeat(100)), Ok(vec![]));
    }
}
