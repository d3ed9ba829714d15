//! Functions, files and lines stay small enough to read at once.
//!
//! A line of a test that quotes something may be longer: what is on the wire is quoted whole.

use super::source::{Source, function_end};

/// Longest function, in lines from its signature to its brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, in lines, without its tests.
const FILE_LINES_MAX: usize = 800;
/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 100;

pub(crate) fn check(source: &Source<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    let product = source.product().count();
    if product > FILE_LINES_MAX {
        findings.push(source.finding(1, &format!("{product} lines without tests, over 800")));
    }
    for line in &source.lines {
        let chars = line.text.chars().count();
        let quotes = line.test && line.text.contains('"');
        if chars > LINE_CHARS_MAX && !quotes {
            findings.push(source.finding(line.number, &format!("{chars} characters, over 100")));
        }
    }
    for start in 0..source.lines.len() {
        let Some(end) = function_end(&source.lines, start) else { continue };
        let length = end - start + 1;
        if length > FUNCTION_LINES_MAX && !source.lines[start].test {
            let what = format!("a function of {length} lines, over 70");
            findings.push(source.finding(start + 1, &what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(body: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    work();\n".repeat(body))
    }

    #[test]
    fn a_function_of_seventy_lines_passes_and_one_more_does_not() {
        assert!(check(&Source::new("a.rs", &function(68))).is_empty());
        let findings = check(&Source::new("a.rs", &function(69)));
        assert_eq!(findings, ["a.rs:1: a function of 71 lines, over 70"]);
    }

    #[test]
    fn a_long_line_is_found_in_tests_too() {
        let text = format!("#[cfg(test)]\nmod tests {{\n    // {}\n}}\n", "x".repeat(100));
        assert_eq!(check(&Source::new("a.rs", &text)), ["a.rs:3: 107 characters, over 100"]);
    }

    #[test]
    fn a_long_quotation_is_found_outside_tests_only() {
        let line = format!("    const WIRE: &str = \"{}\";\n", "x".repeat(100));
        assert_eq!(check(&Source::new("crates/mqtt/src/a.rs", &line)).len(), 1);
        assert!(check(&Source::new("crates/mqtt/tests/a.rs", &line)).is_empty());
    }

    #[test]
    fn tests_do_not_make_a_file_long() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    use x;\n".repeat(900));
        assert!(check(&Source::new("a.rs", &tests)).is_empty());
        let product = "use x;\n".repeat(801);
        assert_eq!(check(&Source::new("a.rs", &product)).len(), 1);
    }
}
