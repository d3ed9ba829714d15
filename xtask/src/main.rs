//! What a developer runs: `cargo xtask COMMAND`.
//!
//! A command is a list of steps. Every step runs, whatever became of the ones before it; the end is
//! a list of failures and one line that counts all tests, and the exit status is 1 if any failed.

mod clients;
mod planted;
mod spec;
mod steps;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use steps::{Counting, Steps, cargo};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                        everything that must pass
  test                      all tests in Rust
  tidy                      imports, clocks and IO in the core, sizes, names
  spec [--write]            statements of the standards without a test; the page that lists them
  clients [PYTEST ARGS]     tests with real clients; installs what they need below tests/.deps
  sim --seeds N             the simulator; a failure prints its seed
  fuzz TARGET --seconds N   one fuzz target (needs cargo-fuzz)
  planted                   a test fails with each bug that spec/planted has (two minutes)
  deny                      licences, bans and sources of dependencies (installs cargo-deny)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut steps = Steps::new(root());
    match words.as_slice() {
        ["ci"] => ci(&mut steps),
        ["test"] => rust_tests(&mut steps),
        ["tidy"] => tidy_step(&mut steps),
        ["spec"] => spec_step(&mut steps),
        ["spec", "--write"] => {
            steps.check("spec", spec::write);
        }
        ["clients", rest @ ..] => clients::run(&mut steps, rest),
        ["sim", "--seeds", seeds] => tools::sim(&mut steps, seeds),
        ["sim"] => tools::sim(&mut steps, "200"),
        ["fuzz", target, "--seconds", seconds] => tools::fuzz(&mut steps, target, seconds),
        ["fuzz", target] => tools::fuzz(&mut steps, target, "60"),
        ["planted"] => {
            steps.check("planted bugs", planted::run);
        }
        ["deny"] => tools::deny(&mut steps),
        _ => {
            steps::say(USAGE);
            return ExitCode::from(2);
        }
    }
    steps.finish()
}

/// The folder of the workspace, whatever folder the command was given in.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.to_path_buf(), Path::to_path_buf)
}

fn ci(steps: &mut Steps) {
    let root = steps.root().to_path_buf();
    steps.command("format", cargo(&root).args(["fmt", "--all", "--", "--check"]), Counting::Step);
    let mut clippy = cargo(&root);
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    steps.command("lints", &mut clippy, Counting::Step);
    let mut doc = cargo(&root);
    doc.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
        "--quiet",
    ]);
    steps.command("docs", doc.env("RUSTDOCFLAGS", "-D warnings"), Counting::Step);
    tidy_step(steps);
    spec_step(steps);
    tools::deny(steps);
    rust_tests(steps);
    clients::run(steps, &[]);
}

fn rust_tests(steps: &mut Steps) {
    let root = steps.root().to_path_buf();
    let mut test = cargo(&root);
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    steps.command("tests in Rust", &mut test, Counting::Cargo);
}

fn tidy_step(steps: &mut Steps) {
    steps.check("tidy", tidy::run);
}

fn spec_step(steps: &mut Steps) {
    steps.check("spec", spec::check);
}
