//! Who cites which statement: `[MQTT-3.1.4-3]`, `[MQTT3-3.1.4-3]`, or a range `[MQTT-3.3.4-2..5]`.
//!
//! A citation is a test's where it stands in a scenario, below a `tests` folder, in the simulator,
//! or in the `tests` module at the end of a Rust file. A scenario that is expected to fail shows
//! nothing, and the client crate is the other side of the standard: neither is counted.

use std::path::Path;

/// Folders with code and tests, from the root.
const FOLDERS: &[&str] = &["crates", "spec/scenarios", "tests"];

/// What code and tests are written in.
const EXTENSIONS: &[&str] = &["js", "mjs", "py", "rs", "scn", "sh"];

/// Folders that hold what was built or installed.
const FOREIGN: &[&str] = &["__pycache__", "node_modules", "target"];

/// What a citation shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Code,
    Test,
}

/// One place that cites one statement.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Citation {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// `MQTT-` or `MQTT3-`.
    pub(super) prefix: &'static str,
    /// What stands behind it: `3.1.4-3`.
    pub(super) number: String,
}

/// Every citation in code and tests, in the order of files and lines.
pub(super) fn scan(root: &Path) -> Result<Vec<Citation>, String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        walk(root, folder, &mut files)?;
    }
    files.sort_unstable();
    let mut citations = Vec::new();
    for file in files.iter().filter(|file| !file.starts_with("crates/client/")) {
        let text =
            std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        citations.extend(in_file(file, &text));
    }
    Ok(citations)
}

/// Files below a folder, by their paths from the root.
fn walk(root: &Path, folder: &str, files: &mut Vec<String>) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{folder}: {error}");
    for entry in std::fs::read_dir(root.join(folder)).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        let kind = entry.file_type().map_err(wrong)?;
        if kind.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
            walk(root, &path, files)?;
        } else if kind.is_file() {
            let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
            if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                files.push(path);
            }
        }
    }
    Ok(())
}

/// The citations of one file.
pub(super) fn in_file(file: &str, text: &str) -> Vec<Citation> {
    let lines: Vec<&str> = text.lines().collect();
    let kinds: Vec<Option<Kind>> = if has_extension(file, "scn") {
        scenario_kinds(&lines)
    } else if is_test_file(file) {
        vec![Some(Kind::Test); lines.len()]
    } else {
        rust_kinds(&lines)
    };
    let mut citations = Vec::new();
    for (at, (line, kind)) in lines.iter().zip(kinds).enumerate() {
        let Some(kind) = kind else { continue };
        for (prefix, number) in in_line(line) {
            citations.push(Citation { file: file.to_owned(), line: at + 1, kind, prefix, number });
        }
    }
    citations
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

fn is_test_file(file: &str) -> bool {
    file.starts_with("tests/")
        || file.starts_with("crates/sim/")
        || file.contains("/tests/")
        || file.ends_with("/tests.rs")
        || file.ends_with("_tests.rs")
}

/// Tests from the scenario's title to the next; nothing above the first, nor where it should fail.
fn scenario_kinds(lines: &[&str]) -> Vec<Option<Kind>> {
    let mut kinds = vec![None; lines.len()];
    let is_title = |line: &str| line.starts_with("scenario ");
    let starts: Vec<usize> = (0..lines.len()).filter(|&at| is_title(lines[at])).collect();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(lines.len());
        if !lines[start..end].iter().any(|line| line.starts_with("expect-fail")) {
            kinds[start..end].fill(Some(Kind::Test));
        }
    }
    kinds
}

/// Code down to the module of tests, which ends the file.
fn rust_kinds(lines: &[&str]) -> Vec<Option<Kind>> {
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(" {"))
        .unwrap_or(lines.len());
    let kind = |at| if at < tests { Kind::Code } else { Kind::Test };
    (0..lines.len()).map(|at| Some(kind(at))).collect()
}

/// Prefix and number of every statement that a line cites.
fn in_line(line: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for part in line.split('[').skip(1) {
        let Some((inside, _)) = part.split_once(']') else { continue };
        for prefix in ["MQTT-", "MQTT3-"] {
            let Some(number) = inside.strip_prefix(prefix) else { continue };
            found.extend(expand(number).into_iter().map(|number| (prefix, number)));
        }
    }
    found
}

/// The statements of `3.3.4-2..5`, or the one that is named.
fn expand(number: &str) -> Vec<String> {
    let range = || {
        let (section, range) = number.rsplit_once('-')?;
        let (first, last) = range.split_once("..")?;
        let (first, last): (u8, u8) = (first.parse().ok()?, last.parse().ok()?);
        Some((first..=last).map(|n| format!("{section}-{n}")).collect())
    };
    range().unwrap_or_else(|| vec![number.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(file: &str, text: &str) -> Vec<(usize, Kind, String)> {
        in_file(file, text)
            .into_iter()
            .map(|c| (c.line, c.kind, format!("{}{}", c.prefix, c.number)))
            .collect()
    }

    #[test]
    fn a_line_cites_statements_of_both_standards_and_ranges() {
        let line = "// [MQTT-3.1.4-3] a[0] [MQTT3-3-8.3-4], see [MQTT-3.3.4-2..4] [MQTT5 2.2.2.2]";
        let numbers: Vec<String> =
            in_line(line).into_iter().map(|(p, n)| p.to_owned() + &n).collect();
        assert_eq!(
            numbers,
            ["MQTT-3.1.4-3", "MQTT3-3-8.3-4", "MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4"]
        );
    }

    #[test]
    fn the_module_of_tests_at_the_end_of_a_file_tests() {
        let text =
            "//! [MQTT-1.1-1]\n#[cfg(test)]\nuse a;\n#[cfg(test)]\nmod tests {\n// [MQTT-1.1-2]";
        assert_eq!(
            cited("crates/broker/src/a.rs", text),
            [(1, Kind::Code, "MQTT-1.1-1".to_owned()), (6, Kind::Test, "MQTT-1.1-2".to_owned())]
        );
    }

    #[test]
    fn tests_have_folders_and_names_of_their_own() {
        let files = [
            "tests/python/a.py",
            "crates/server/tests/a.rs",
            "crates/sim/src/world/check/a.rs",
            "crates/broker/src/session/tests.rs",
            "crates/broker/src/session_tests.rs",
        ];
        for file in files {
            let test = (1, Kind::Test, "MQTT-1.1-1".to_owned());
            assert_eq!(cited(file, "# [MQTT-1.1-1]"), [test], "{file}");
        }
    }

    #[test]
    fn a_scenario_tests_unless_it_is_expected_to_fail() {
        let text = "# [MQTT-1.1-1]\nscenario A\n# [MQTT-1.1-2]\nexpect-fail yet\n\
                    scenario B\n# [MQTT-1.1-3]";
        assert_eq!(cited("spec/scenarios/a.scn", text), [(6, Kind::Test, "MQTT-1.1-3".to_owned())]);
    }
}
