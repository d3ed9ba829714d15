//! Bugs of the kind that storage could have, planted one by one in a copy of the tree: a test must
//! fail with each, and pass without.
//!
//! A bug is `spec/planted/NAME.patch`: what it is, a line `Test: ` with arguments of `cargo test`,
//! and the change. A copy that does not compile is a finding too.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::{cargo, say};

/// Where the patches are.
const PATCHES: &str = "spec/planted";
/// The copy of the tree, and what is built of it.
const TREE: &str = "target/planted/tree";
const BUILD: &str = "target/planted/build";

struct Bug {
    name: String,
    patch: PathBuf,
    test: Vec<String>,
}

/// Plants every bug; what stays unseen is a finding.
pub(crate) fn run(root: &Path) -> Vec<String> {
    match plant_all(root) {
        Ok(findings) => findings,
        Err(error) => vec![format!("{PATCHES}: {error}")],
    }
}

fn plant_all(root: &Path) -> io::Result<Vec<String>> {
    let bugs = bugs(root)?;
    let mut findings = Vec::new();
    copy_tree(root)?;
    let tests: BTreeSet<&Vec<String>> = bugs.iter().map(|bug| &bug.test).collect();
    for test in tests {
        if !passes(root, test)? {
            findings.push(format!("cargo test {}: fails without a bug", test.join(" ")));
        }
    }
    for bug in &bugs {
        if !apply(root, &bug.patch, false)? {
            findings.push(format!("{}: the patch does not fit", bug.name));
            continue;
        }
        let finding = if !compiles(root, &bug.test)? {
            Some("does not compile")
        } else if passes(root, &bug.test)? {
            Some("is not seen")
        } else {
            None
        };
        say(&format!("{:28} {}\n", bug.name, finding.unwrap_or("is seen")));
        findings.extend(finding.map(|finding| format!("{} {finding}", bug.name)));
        if !apply(root, &bug.patch, true)? {
            return Err(io::Error::other(format!("{} cannot be taken out again", bug.name)));
        }
    }
    Ok(findings)
}

fn bugs(root: &Path) -> io::Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for file in fs::read_dir(root.join(PATCHES))? {
        let patch = file?.path();
        let text = fs::read_to_string(&patch)?;
        let test = text.lines().find_map(|line| line.strip_prefix("Test: "));
        let test = test
            .ok_or_else(|| io::Error::other(format!("{}: no line \"Test: \"", patch.display())))?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        bugs.push(Bug { name, patch, test: test.split(' ').map(str::to_owned).collect() });
    }
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(bugs)
}

/// Copies what is tracked; files that are the same already keep their time, so that little is built
/// again.
fn copy_tree(root: &Path) -> io::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|it| !it.is_empty()) {
        let (from, to) = (root.join(name), root.join(TREE).join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|held| held == bytes) {
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(to, bytes)?;
    }
    Ok(())
}

fn apply(root: &Path, patch: &Path, takes_out: bool) -> io::Result<bool> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["apply", "--unidiff-zero"]).arg(format!("--directory={TREE}"));
    if takes_out {
        git.arg("--reverse");
    }
    Ok(git.arg(patch).status()?.success())
}

fn compiles(root: &Path, test: &[String]) -> io::Result<bool> {
    Ok(test_command(root, test).arg("--no-run").status()?.success())
}

fn passes(root: &Path, test: &[String]) -> io::Result<bool> {
    Ok(test_command(root, test).status()?.success())
}

fn test_command(root: &Path, test: &[String]) -> Command {
    let mut command = cargo(&root.join(TREE));
    command.env("CARGO_TARGET_DIR", root.join(BUILD)).args(["test", "--quiet", "--locked"]);
    command.args(test).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
