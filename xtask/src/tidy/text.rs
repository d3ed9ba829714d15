//! Text that does not belong into the repository: machine paths, registry hosts, marks without a
//! sentence.

/// Beginnings of absolute paths of one machine. Split, so that this file does not hold them.
const MACHINE_PATHS: [(&str, &str); 4] =
    [("/wo", "rk/"), ("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/")];
/// Hosts of package registries.
const REGISTRIES: [(&str, &str); 6] = [
    ("registry.npm", "js.org"),
    ("pypi", ".org"),
    ("files.python", "hosted.org"),
    ("static.crates", ".io"),
    ("index.crates", ".io"),
    ("deb.deb", "ian.org"),
];
/// Marks of unfinished work; each needs a sentence of what is missing.
const MARKS: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")];
/// Shortest sentence after a mark, in characters.
const SENTENCE_CHARS_MIN: usize = 12;

pub(crate) fn check(file: &str, content: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, number) in content.lines().zip(1..) {
        let mut found = |what: String| findings.push(format!("{file}:{number}: {what}"));
        for (head, tail) in MACHINE_PATHS {
            if names_path(line, &[head, tail].concat()) {
                found(format!("a path of one machine: {head}{tail}"));
            }
        }
        for (head, tail) in REGISTRIES {
            if line.contains(&[head, tail].concat()) {
                found(format!("the host of a registry: {head}{tail}"));
            }
        }
        for (head, tail) in MARKS {
            if bare_mark(line, &[head, tail].concat()) {
                found(format!("{head}{tail} without a sentence of what is missing"));
            }
        }
    }
    findings
}

/// Whether the line holds `path` as the beginning of a path, not as the middle of one.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        line[..at].chars().next_back().is_none_or(|before| " \t\"'`(=:".contains(before))
    })
}

/// Whether the line holds `mark` as a word with (almost) nothing after it.
fn bare_mark(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let rest = &line[at + mark.len()..];
        let whole = !line[..at].ends_with(word) && !rest.starts_with(word);
        whole && rest.trim_start_matches([':', ' ', '(', ')']).chars().count() < SENTENCE_CHARS_MIN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_path_is_found_and_the_middle_of_another_is_not() {
        let path = ["/ho", "me/"].concat();
        assert!(names_path(&format!("see {path}me"), &path));
        assert!(names_path(&format!("`{path}me`"), &path));
        assert!(!names_path(&format!("console{path}me"), &path));
    }

    #[test]
    fn a_mark_needs_a_sentence() {
        let mark = ["TO", "DO"].concat();
        assert!(bare_mark(&format!("// {mark}"), &mark));
        assert!(bare_mark(&format!("// {mark}: later"), &mark));
        assert!(!bare_mark(&format!("// {mark}: refuse a second key"), &mark));
        assert!(!bare_mark(&format!("let {mark}_LIST = 1;"), &mark));
    }
}
