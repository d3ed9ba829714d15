//! What the compiler and clippy do not check: who may import whom, what the core may touch, sizes,
//! names, and text that does not belong into a public repository.
//!
//! A finding is one line, `FILE:LINE: what`, and there is no way to allow one.

mod core_rules;
mod imports;
mod names;
mod sizes;
mod source;
mod text;

use std::path::Path;
use std::process::Command;

use source::Source;

/// Every finding in the files that are tracked or about to be.
pub(crate) fn run(root: &Path) -> Vec<String> {
    let mut findings = imports::check(root);
    let files = match files(root) {
        Ok(files) => files,
        Err(why) => return vec![why],
    };
    for file in &files {
        findings.extend(names::check(file));
        // A file that is gone or is not text has nothing to scan.
        let Ok(content) = std::fs::read_to_string(root.join(file)) else { continue };
        findings.extend(text::check(file, &content));
        if Path::new(file).extension().is_some_and(|e| e == "rs") {
            let source = Source::new(file, &content);
            findings.extend(sizes::check(&source));
            findings.extend(core_rules::check(&source));
        }
    }
    findings
}

/// Paths, relative to the root, that git tracks or would add.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let mut names: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
