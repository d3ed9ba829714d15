//! A Rust file as text: its lines, and which of them are the product's and not a test's.
//!
//! This is no parser. It relies on rustfmt: an item ends at a closing brace of its own indentation.

use std::path::{Component, Path};

pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) lines: Vec<Line<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// As it stands in the file.
    pub(crate) text: &'a str,
    /// Part of a test.
    pub(crate) test: bool,
}

impl<'a> Line<'a> {
    /// The line without its comment. A `//` inside a string cuts too: the rest holds no code.
    pub(crate) fn code(self) -> &'a str {
        self.text.split("//").next().unwrap_or_default()
    }

    pub(crate) fn indent(self) -> usize {
        self.text.len() - self.text.trim_start().len()
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a str, content: &'a str) -> Self {
        let tests_only = is_test_file(file);
        let mut lines: Vec<Line<'a>> = content
            .lines()
            .zip(1..)
            .map(|(text, number)| Line { number, text, test: tests_only })
            .collect();
        let mut at = 0;
        while at < lines.len() {
            let end =
                if lines[at].text.trim() == "#[cfg(test)]" { item_end(&lines, at) } else { at };
            if end > at {
                lines[at..=end].iter_mut().for_each(|line| line.test = true);
            }
            at = end + 1;
        }
        Self { file, lines }
    }

    /// The crate this file belongs to: `broker` of `crates/broker/src/shard.rs`.
    pub(crate) fn crate_name(&self) -> Option<&'a str> {
        self.file.strip_prefix("crates/")?.split('/').next()
    }

    /// The lines of the product.
    pub(crate) fn product(&self) -> impl Iterator<Item = Line<'a>> + '_ {
        self.lines.iter().copied().filter(|line| !line.test)
    }

    pub(crate) fn finding(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.file)
    }
}

fn is_test_file(file: &str) -> bool {
    let path = Path::new(file);
    let folder = path.components().any(|part| {
        let Component::Normal(name) = part else { return false };
        name == "tests" || name == "benches" || name == "fuzz"
    });
    folder || path.file_stem().is_some_and(|stem| stem == "tests" || stem == "properties")
}

/// The last line of the item that begins at or after `start`.
fn item_end(lines: &[Line<'_>], start: usize) -> usize {
    let indent = lines[start].indent();
    let opens = lines[start..].iter().position(|line| {
        let code = line.code().trim_end();
        code.ends_with('{') || code.ends_with(';') || code.ends_with('}')
    });
    let Some(opens) = opens.map(|offset| start + offset) else { return start };
    if !lines[opens].code().trim_end().ends_with('{') {
        return opens;
    }
    let closes = lines[opens + 1..]
        .iter()
        .position(|line| line.indent() == indent && line.text.trim_start().starts_with('}'));
    closes.map_or(lines.len() - 1, |offset| opens + 1 + offset)
}

/// First and last line of the body-bearing function whose signature begins at `start`, if one does.
pub(crate) fn function_end(lines: &[Line<'_>], start: usize) -> Option<usize> {
    let code = lines[start].code().trim_start();
    let mut words = code.split_whitespace().skip_while(|word| {
        matches!(*word, "const" | "async" | "unsafe" | "extern" | "default")
            || word.starts_with("pub")
            || word.starts_with("in ")
    });
    if words.next() != Some("fn") {
        return None;
    }
    Some(item_end(lines, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_module_ends_at_its_own_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        let source = Source::new("crates/mqtt/src/x.rs", text);
        let product: Vec<&str> = source.product().map(|line| line.text).collect();
        assert_eq!(product, ["fn a() {}", "fn c() {}"]);
    }

    #[test]
    fn a_test_only_declaration_is_one_line_and_a_test_file_is_all_test() {
        let source = Source::new("crates/mqtt/src/x.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert_eq!(source.product().count(), 1);
        assert_eq!(Source::new("crates/mqtt/tests/x.rs", "fn a() {}\n").product().count(), 0);
    }

    #[test]
    fn a_function_is_found_whatever_stands_before_fn() {
        let text = "pub(crate) const fn a(\n    x: u8,\n) -> u8 {\n    x\n}\n";
        let source = Source::new("x.rs", text);
        assert_eq!(function_end(&source.lines, 0), Some(4));
        assert_eq!(function_end(&source.lines, 1), None);
    }
}
