//! What AWS IoT Core does, whether Bitts does it, and the test that shows it.
//!
//! `spec/fidelity.toml` lists the behaviours in parts; `docs/fidelity.md` is the same list for
//! readers. A behaviour that is there names a test that exists; one that is not says so. Vectors
//! are numbered from 1, and none may be missing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Where the list stands, from the root.
const LIST: &str = "spec/fidelity.toml";

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fidelity {
    /// Vectors that have to be listed: how each begins, and how many there are.
    vectors: BTreeMap<String, u32>,
    #[serde(rename = "part")]
    pub(super) parts: Vec<Part>,
}

/// Behaviours under one title.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) title: String,
    #[serde(rename = "row")]
    pub(super) rows: Vec<Row>,
}

/// One behaviour.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// A vector such as `DC-1`, or a word of our own.
    pub(super) id: String,
    /// What AWS does.
    pub(super) text: String,
    #[serde(default)]
    pub(super) here: Here,
    /// Tests, as `FILE::NAME`.
    #[serde(default)]
    pub(super) tests: Vec<String>,
    /// What AWS's documents leave open or say twice, and what Bitts does.
    pub(super) choice: Option<String>,
    /// In what Bitts differs, or what is missing.
    pub(super) note: Option<String>,
}

/// Whether Bitts does what AWS does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Here {
    #[default]
    Yes,
    /// Something else, on purpose.
    Differs,
    No,
}

/// The list, or what is wrong with its form.
pub(super) fn read(root: &Path) -> Result<Fidelity, String> {
    let text = std::fs::read_to_string(root.join(LIST)).map_err(|e| format!("{LIST}: {e}"))?;
    toml::from_str(&text).map_err(|error| format!("{LIST}: {error}"))
}

impl Fidelity {
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.parts.iter().flat_map(|part| &part.rows)
    }

    /// How many behaviours are here, differ and are missing.
    pub(super) fn count(&self, here: Here) -> usize {
        self.rows().filter(|row| row.here == here).count()
    }

    /// Everything that is wrong with the list: names used twice, vectors that are missing, rows
    /// without a test, tests that do not exist.
    pub(super) fn findings(&self, root: &Path) -> Vec<String> {
        let mut sources = Sources { root, texts: BTreeMap::new() };
        let mut findings = self.numbering();
        for row in self.rows() {
            findings.extend(row.contradiction().map(|why| format!("{LIST}: {}: {why}", row.id)));
            for test in &row.tests {
                let wrong = sources.lacks(test);
                findings.extend(wrong.map(|why| format!("{LIST}: {}: {test}: {why}", row.id)));
            }
        }
        findings
    }

    fn numbering(&self) -> Vec<String> {
        let mut ids: Vec<&str> = self.rows().map(|row| row.id.as_str()).collect();
        ids.sort_unstable();
        let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]);
        let mut findings: Vec<_> = twice.map(|pair| format!("{LIST}: {} twice", pair[0])).collect();
        for (prefix, count) in &self.vectors {
            let vectors = (1..=*count).map(|number| format!("{prefix}{number}"));
            let missing = vectors.filter(|id| ids.binary_search(&id.as_str()).is_err());
            findings.extend(missing.map(|id| format!("{LIST}: {id} is missing")));
        }
        findings
    }
}

impl Row {
    fn contradiction(&self) -> Option<&'static str> {
        match self.here {
            Here::Yes | Here::Differs if self.tests.is_empty() => Some("has no test"),
            Here::Differs | Here::No if self.note.is_none() => Some("does not say what differs"),
            Here::Yes | Here::Differs | Here::No => None,
        }
    }
}

/// Files that hold tests, each read once.
struct Sources<'a> {
    root: &'a Path,
    texts: BTreeMap<String, Option<String>>,
}

impl Sources<'_> {
    /// Why there is no such test.
    fn lacks(&mut self, test: &str) -> Option<String> {
        let Some((file, name)) = test.split_once("::") else {
            return Some("expected FILE::NAME".to_owned());
        };
        let path = self.root.join(file);
        let read = || std::fs::read_to_string(path).ok();
        let text = self.texts.entry(file.to_owned()).or_insert_with(read);
        let Some(text) = text else { return Some("no such file".to_owned()) };
        (!text.lines().any(|line| begins_test(file, line.trim_start(), name)))
            .then(|| "no such test".to_owned())
    }
}

/// Whether a line of a file opens the test of a name; of a scenario and of a test in JavaScript the
/// name may be cut short.
fn begins_test(file: &str, line: &str, name: &str) -> bool {
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
    let rest = match extension {
        Some("py") => line.strip_prefix("def "),
        Some("rs") => line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn "),
        Some("scn") => line.strip_prefix("scenario "),
        Some("cjs") => line.strip_prefix("test(").map(|rest| rest.trim_start_matches(['\'', '`'])),
        Some("json") => return line.contains(&format!("\"id\":\"{name}\"")),
        _ => None,
    };
    let Some(after) = rest.and_then(|rest| rest.strip_prefix(name)) else { return false };
    match extension {
        Some("scn") => after.is_empty() || after.starts_with(' '),
        Some("cjs") => true,
        _ => after.starts_with(['(', '<']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(toml: &str) -> Fidelity {
        toml::from_str(toml).expect("a list")
    }

    const HEAD: &str = "[vectors]\n\"DC-\" = 2\n[[part]]\ntitle = \"A\"\n";
    const ONE: &str = "[[part.row]]\nid = \"DC-1\"\ntext = \"One.\"\n";

    #[test]
    fn a_behaviour_that_is_here_names_a_test_and_another_says_what_differs() {
        let row = |more: &str| parsed(&format!("{HEAD}{ONE}{more}")).parts.remove(0).rows.remove(0);
        assert_eq!(row("").contradiction(), Some("has no test"));
        assert_eq!(row("tests = [\"a.py::b\"]").contradiction(), None);
        assert_eq!(row("here = \"no\"").contradiction(), Some("does not say what differs"));
        assert_eq!(row("here = \"no\"\nnote = \"Later.\"").contradiction(), None);
        let differs = "here = \"differs\"\nnote = \"Slower.\"";
        assert_eq!(row(differs).contradiction(), Some("has no test"));
    }

    #[test]
    fn vectors_are_listed_once_and_none_is_missing() {
        let twice = parsed(&format!("{HEAD}{ONE}{ONE}")).numbering();
        assert_eq!(
            twice,
            ["spec/fidelity.toml: DC-1 twice", "spec/fidelity.toml: DC-2 is missing"]
        );
    }

    #[test]
    fn a_test_is_known_by_the_line_that_opens_it() {
        for (file, line, name, opens) in [
            ("a.py", "def test_a(server):", "test_a", true),
            ("a.py", "def test_ab(server):", "test_a", false),
            ("a.rs", "async fn a() {", "a", true),
            ("a.rs", "fn a<'x>() {", "a", true),
            ("a.rs", "// fn a()", "a", false),
            ("a.scn", "scenario DC-1 A client", "DC-1", true),
            ("a.scn", "scenario DC-10 A client", "DC-1", false),
            ("a.cjs", "test(`DC-1: ${what}`, async () => {", "DC-1: ", true),
            ("a.json", "{\"id\":\"P-1\",\"note\":\"x\"}", "P-1", true),
            ("a.json", "{\"id\":\"P-10\"}", "P-1", false),
        ] {
            assert_eq!(begins_test(file, line, name), opens, "{line}");
        }
    }
}
