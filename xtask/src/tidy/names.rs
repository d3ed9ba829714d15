//! A file is named after what it decides.

use std::path::Path;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "common", "helpers", "types", "manager", "impls", "misc"];

pub(crate) fn check(file: &str) -> Option<String> {
    let path = Path::new(file);
    let code = path.extension().is_some_and(|e| ["rs", "py", "mjs", "js"].iter().any(|c| e == *c));
    let empty = |name: &std::ffi::OsStr| EMPTY_NAMES.iter().any(|banned| name == *banned);
    let named = path.file_stem().is_some_and(empty)
        || path.parent().is_some_and(|folder| folder.iter().any(empty));
    (code && named).then(|| format!("{file}:1: the name says nothing about what is decided here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_is_refused_as_file_and_as_folder() {
        assert!(check("crates/mqtt/src/utils.rs").is_some());
        assert!(check("crates/mqtt/src/common/topic.rs").is_some());
        assert!(check("crates/mqtt/src/topic.rs").is_none());
        assert!(check("docs/types.md").is_none());
    }
}
