//! Runs steps one after the other, shows their output as it comes, and counts what passed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How a step's tests are counted: by its runner's summary, or the step itself as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Counting {
    /// The step is one check.
    Step,
    /// `test result: ok. 3 passed; 0 failed; …`, once per test binary.
    Cargo,
    /// `3 passed, 1 failed, 1 error in 2.5s`, anywhere between `=` signs.
    Pytest,
    /// `# pass 3` and `# fail 0`.
    Node,
    /// Preparation: counts only when it fails.
    Silent,
}

/// Tests passed and failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

struct Step {
    name: String,
    took: Duration,
    tally: Tally,
    failure: Option<String>,
}

/// The steps of one run, and what became of them.
pub(crate) struct Steps {
    root: PathBuf,
    done: Vec<Step>,
}

impl Steps {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, done: Vec::new() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs a program in the workspace's folder; true if it ended with status 0.
    pub(crate) fn command(
        &mut self,
        name: &str,
        command: &mut Command,
        counting: Counting,
    ) -> bool {
        header(name);
        let began = Instant::now();
        let (tally, failure) = match watch(command, counting) {
            Ok((tally, true)) => (tally, None),
            Ok((tally, false)) => (tally, Some(describe(command))),
            Err(error) => (Tally::default(), Some(format!("{}: {error}", describe(command)))),
        };
        self.end(name, began, counting, tally, failure)
    }

    /// Runs a check of our own, which gives one line for each finding.
    pub(crate) fn check(&mut self, name: &str, check: fn(&Path) -> Vec<String>) -> bool {
        header(name);
        let began = Instant::now();
        let findings = check(&self.root);
        for finding in &findings {
            say(&format!("{finding}\n"));
        }
        let failure = (!findings.is_empty()).then(|| format!("{} findings", findings.len()));
        self.end(name, began, Counting::Step, Tally::default(), failure)
    }

    /// Notes a failure that needs no program: something is missing.
    pub(crate) fn refuse(&mut self, name: &str, why: &str) {
        header(name);
        say(&format!("{why}\n"));
        self.end(name, Instant::now(), Counting::Silent, Tally::default(), Some(why.to_owned()));
    }

    fn end(
        &mut self,
        name: &str,
        began: Instant,
        counting: Counting,
        mut tally: Tally,
        failure: Option<String>,
    ) -> bool {
        let passed = failure.is_none();
        if passed && counting == Counting::Step {
            tally.passed = 1;
        }
        if !passed && tally.failed == 0 {
            tally.failed = 1;
        }
        let took = began.elapsed();
        let word = if passed { "ok" } else { "FAILED" };
        say(&format!("-- {name}: {word} in {:.1} s\n", took.as_secs_f64()));
        self.done.push(Step { name: name.to_owned(), took, tally, failure });
        passed
    }

    /// The summary. The last line is `N passed, N failed` over everything.
    pub(crate) fn finish(&self) -> ExitCode {
        header("summary");
        let mut all = Tally::default();
        for step in &self.done {
            let word = if step.failure.is_none() { "ok" } else { "FAILED" };
            let Tally { passed, failed } = step.tally;
            let took = step.took.as_secs_f64();
            say(&format!(
                "{word:6} {took:7.1} s  {:<28} {passed} passed, {failed} failed\n",
                step.name
            ));
            all.passed += passed;
            all.failed += failed;
        }
        for step in &self.done {
            if let Some(failure) = &step.failure {
                say(&format!("failed: {}: {failure}\n", step.name));
            }
        }
        say(&format!("\n{} passed, {} failed\n", all.passed, all.failed));
        if self.done.iter().all(|step| step.failure.is_none()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Cargo, as it was called, in the workspace's folder.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Writes to standard output at once, so that our lines and the steps' keep their order.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads: there is nobody to tell either.
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn header(name: &str) {
    say(&format!("\n== {name}\n"));
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs a command, passes its standard output on line by line, and reads the counts in it.
fn watch(command: &mut Command, counting: Counting) -> std::io::Result<(Tally, bool)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line).into_owned();
            say(&text);
            count(counting, text.trim(), &mut tally);
            line.clear();
        }
    }
    Ok((tally, child.wait()?.success()))
}

/// Adds what a line of a test runner says.
fn count(counting: Counting, line: &str, tally: &mut Tally) {
    match counting {
        Counting::Step | Counting::Silent => {}
        Counting::Cargo => {
            if let Some(result) = line.strip_prefix("test result:") {
                tally.passed += number_before(result, " passed");
                tally.failed += number_before(result, " failed");
            }
        }
        Counting::Pytest => {
            let summary = line.trim_matches(['=', ' ']);
            if summary.contains(" in ") && summary.starts_with(|c: char| c.is_ascii_digit()) {
                tally.passed += number_before(summary, " passed");
                tally.failed += number_before(summary, " failed");
                tally.failed += number_before(summary, " error");
            }
        }
        Counting::Node => {
            let number = |prefix: &str| line.strip_prefix(prefix).and_then(|n| n.parse().ok());
            tally.passed += number("# pass ").unwrap_or(0);
            tally.failed += number("# fail ").unwrap_or(0);
        }
    }
}

/// The number that stands right before `word`, or 0.
fn number_before(text: &str, word: &str) -> u64 {
    let Some(end) = text.find(word) else { return 0 };
    let head = &text[..end];
    let start = head.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    head[start..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(counting: Counting, lines: &[&str]) -> (u64, u64) {
        let mut tally = Tally::default();
        for line in lines {
            count(counting, line, &mut tally);
        }
        (tally.passed, tally.failed)
    }

    #[test]
    fn every_binary_of_cargo_test_is_added() {
        let lines = [
            "running 2 tests",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured",
            "test result: FAILED. 10 passed; 3 failed; 0 ignored",
        ];
        assert_eq!(counted(Counting::Cargo, &lines), (12, 3));
    }

    #[test]
    fn the_last_line_of_pytest_is_counted_with_and_without_its_frame() {
        let framed = ["== 1 failed, 41 passed, 2 errors in 3.21s ==", "12 passed tests"];
        assert_eq!(counted(Counting::Pytest, &framed), (41, 3));
        assert_eq!(counted(Counting::Pytest, &["7 passed in 0.51s"]), (7, 0));
    }

    #[test]
    fn nodes_summary_is_counted() {
        assert_eq!(counted(Counting::Node, &["# tests 5", "# pass 4", "# fail 1"]), (4, 1));
    }

    #[test]
    fn a_line_that_only_resembles_a_summary_counts_nothing() {
        assert_eq!(counted(Counting::Pytest, &["E   3 failed", "passed in 3s"]), (0, 0));
    }
}
