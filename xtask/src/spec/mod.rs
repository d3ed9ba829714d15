//! Which numbered statements of MQTT 3.1.1 and 5.0 have a test: `cargo xtask spec`.
//!
//! `spec/*.toml` lists the statements; code and tests cite them, `[MQTT-3.1.4-3]` for 5.0 and
//! `[MQTT3-3.1.4-3]` for 3.1.1. A statement that binds the server needs a test that cites it, or a
//! reason why it cannot show here. `docs/conformance.md` is the same list for readers, and has to
//! be current. So has `docs/fidelity.md`, which lists what AWS IoT Core does ([`fidelity`]).

mod citations;
mod fidelity;
mod fidelity_page;
mod page;
mod statements;

use std::path::Path;

use crate::steps::say;
use citations::{Citation, Kind};
use statements::{Standard, Statement};

/// Where the generated pages stand, from the root.
const PAGE: &str = "docs/conformance.md";
const FIDELITY_PAGE: &str = "docs/fidelity.md";

/// A statement with the files that cite it, each once and in order.
struct Row<'a> {
    statement: &'a Statement,
    code: Vec<&'a str>,
    tests: Vec<&'a str>,
}

impl Row<'_> {
    /// Whether nothing shows that the server keeps what the statement asks of it.
    fn is_gap(&self) -> bool {
        let statement = self.statement;
        statement.binds.server() && statement.not_applicable.is_none() && self.tests.is_empty()
    }
}

/// Every gap, every citation of a statement that does not exist, every behaviour without a test,
/// and each page that is not current.
pub(crate) fn check(root: &Path) -> Vec<String> {
    examine(root, |place, page| match std::fs::read_to_string(root.join(place)) {
        Ok(found) if found == page => None,
        Ok(_) | Err(_) => Some(format!("{place}: not current: cargo xtask spec --write")),
    })
}

/// Writes the pages, and gives what [`check`] gives.
pub(crate) fn write(root: &Path) -> Vec<String> {
    examine(root, |place, page| {
        std::fs::write(root.join(place), page).err().map(|error| format!("{place}: {error}"))
    })
}

fn examine(root: &Path, on_page: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut findings = conformance(root, &on_page);
    match fidelity::read(root) {
        Ok(list) => {
            say(&format!("{}\n", fidelity_page::sentence(&list)));
            findings.extend(list.findings(root));
            findings.extend(on_page(FIDELITY_PAGE, &fidelity_page::render(&list)));
        }
        Err(why) => findings.push(why),
    }
    findings
}

fn conformance(root: &Path, on_page: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let (standards, citations) = match statements::read(root).and_then(|standards| {
        let citations = citations::scan(root)?;
        Ok((standards, citations))
    }) {
        Ok(read) => read,
        Err(why) => return vec![why],
    };
    let mut findings = unknown(&standards, &citations);
    let mut tables = Vec::new();
    for standard in &standards {
        let rows = rows(standard, &citations);
        say(&format!("{}\n", page::sentence(standard, &rows)));
        findings.extend(contradictions(standard, &rows));
        tables.push((standard, rows));
    }
    findings.extend(on_page(PAGE, &page::render(&tables)));
    findings
}

/// Citations of statements that no standard has.
fn unknown(standards: &[Standard], citations: &[Citation]) -> Vec<String> {
    let is_known = |citation: &&Citation| {
        standards.iter().any(|standard| {
            standard.prefix == citation.prefix
                && standard.statements.iter().any(|statement| statement.number == citation.number)
        })
    };
    let name = |citation: &Citation| {
        let Citation { file, line, prefix, number, .. } = citation;
        format!("{file}:{line}: [{prefix}{number}] is no statement")
    };
    citations.iter().filter(|citation| !is_known(citation)).map(name).collect()
}

fn rows<'a>(standard: &'a Standard, citations: &'a [Citation]) -> Vec<Row<'a>> {
    let files = |number: &str, kind: Kind| {
        let mut files: Vec<&str> = citations
            .iter()
            .filter(|c| c.kind == kind && c.prefix == standard.prefix && c.number == number)
            .map(|citation| citation.file.as_str())
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    };
    let row = |statement: &'a Statement| Row {
        statement,
        code: files(&statement.number, Kind::Code),
        tests: files(&statement.number, Kind::Test),
    };
    standard.statements.iter().map(row).collect()
}

/// Statements without a test, and statements that are tested although they do not apply.
fn contradictions(standard: &Standard, rows: &[Row<'_>]) -> Vec<String> {
    let finding = |row: &Row<'_>| {
        let Statement { number, line, text, not_applicable, .. } = row.statement;
        let place = format!("{}:{line}: [{}{number}]", standard.file, standard.prefix);
        if row.is_gap() {
            return Some(format!("{place} has no test: {text}"));
        }
        let test = row.tests.first().filter(|_| not_applicable.is_some())?;
        Some(format!("{place} is not applicable, and {test} tests it"))
    };
    rows.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(toml: &str) -> Standard {
        statements::parse("spec/mqtt-5.0.toml", "5.0", "MQTT-", toml).expect("statements")
    }

    const TWO: &str = r#"
[[statement]]
id = "MQTT-1.1-1"
binds = "server"
text = "One."

[[statement]]
id = "MQTT-1.1-2"
binds = "client"
text = "Two."
"#;

    #[test]
    fn a_statement_that_binds_the_server_needs_a_test() {
        let standard = standard(TWO);
        let none = contradictions(&standard, &rows(&standard, &[]));
        assert_eq!(none, ["spec/mqtt-5.0.toml:2: [MQTT-1.1-1] has no test: One."]);
        let code = citations::in_file("crates/broker/src/a.rs", "// [MQTT-1.1-1]");
        assert_eq!(contradictions(&standard, &rows(&standard, &code)).len(), 1);
        let test = citations::in_file("tests/a.py", "# [MQTT-1.1-1]");
        assert_eq!(contradictions(&standard, &rows(&standard, &test)), [""; 0]);
    }

    #[test]
    fn a_statement_of_the_other_standard_is_not_meant() {
        let standard = standard(TWO);
        let other = citations::in_file("tests/a.py", "# [MQTT3-1.1-1]");
        assert_eq!(contradictions(&standard, &rows(&standard, &other)).len(), 1);
        assert_eq!(unknown(&[standard], &other), ["tests/a.py:1: [MQTT3-1.1-1] is no statement"]);
    }

    #[test]
    fn what_does_not_apply_is_not_tested() {
        let reason = "binds = \"both\"\nnot_applicable = \"Never.\"";
        let standard = standard(&TWO.replace("binds = \"server\"", reason));
        assert_eq!(contradictions(&standard, &rows(&standard, &[])), [""; 0]);
        let test = citations::in_file("tests/a.py", "# [MQTT-1.1-1]");
        let findings = contradictions(&standard, &rows(&standard, &test));
        assert_eq!(
            findings,
            ["spec/mqtt-5.0.toml:2: [MQTT-1.1-1] is not applicable, and tests/a.py tests it"]
        );
    }
}
