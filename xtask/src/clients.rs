//! Tests with real clients, unmodified, over real sockets, against the real binary.
//!
//! Installs what they need below `tests/.deps`, in the versions that `tests/` pins: Python packages
//! into a virtual environment, npm packages, and Debian's mosquitto clients, curl and openssl on
//! the system. What is there already is not installed again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::{Counting, Steps, cargo};

/// Processes that run Python's tests at a time. They wait more than they compute.
const PYTEST_PROCESSES: &str = "4";

/// Builds, installs, runs. With arguments, runs pytest alone, with these arguments.
pub(crate) fn run(steps: &mut Steps, pytest_args: &[&str]) {
    let place = Place::new(steps.root());
    if !build(steps) || !install_python(steps, &place) {
        return;
    }
    install_tools(steps);
    if !pytest_args.is_empty() {
        pytest(steps, &place, pytest_args);
        return;
    }
    pytest(steps, &place, &["-n", PYTEST_PROCESSES, "--dist", "worksteal"]);
    if install_npm(steps, &place) {
        node(steps, &place);
    }
    rust_clients(steps, &place);
}

/// Where things are.
struct Place {
    tests: PathBuf,
    deps: PathBuf,
    bitts: PathBuf,
}

impl Place {
    fn new(root: &Path) -> Self {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
        let tests = root.join("tests");
        Self { deps: tests.join(".deps"), tests, bitts: target.join("release/bitts") }
    }

    fn python(&self, program: &str) -> PathBuf {
        self.deps.join("python/bin").join(program)
    }

    /// Whether `stamp` says that the contents of `wanted` are installed.
    fn is_installed(&self, stamp: &str, wanted: &Path) -> bool {
        let read = |path: &Path| std::fs::read(path).ok();
        read(&self.deps.join(stamp)).is_some_and(|have| Some(have) == read(wanted))
    }

    fn note_installed(&self, steps: &mut Steps, stamp: &str, wanted: &Path) {
        if let Err(error) = std::fs::copy(wanted, self.deps.join(stamp)) {
            steps.refuse("install", &format!("{stamp}: {error}"));
        }
    }
}

fn build(steps: &mut Steps) -> bool {
    let mut build = cargo(steps.root());
    build.args(["build", "--release", "--locked", "--package", "bitts"]);
    steps.command("build bitts", &mut build, Counting::Silent)
}

fn install_python(steps: &mut Steps, place: &Place) -> bool {
    let wanted = place.tests.join("requirements.txt");
    if place.is_installed("python.stamp", &wanted) {
        return true;
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(place.deps.join("python"));
    let mut pip = Command::new(place.python("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    pip.arg("--requirement").arg(&wanted);
    let installed = steps.command("create the Python environment", &mut venv, Counting::Silent)
        && steps.command("install Python packages (network)", &mut pip, Counting::Silent);
    if installed {
        place.note_installed(steps, "python.stamp", &wanted);
    }
    installed
}

/// Debian's packages of command-line clients. Without them their tests fail and say what is
/// missing.
fn install_tools(steps: &mut Steps) {
    let tools = [("mosquitto_pub", "mosquitto-clients"), ("curl", "curl"), ("openssl", "openssl")];
    let missing: Vec<_> = tools.iter().filter(|tool| !runs(tool.0, "--help")).collect();
    if missing.is_empty() {
        return;
    }
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "Dpkg::Use-Pty=0"]).args(args);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let mut update = apt(&["update"]);
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    install.args(missing.iter().map(|tool| tool.1));
    if steps.command("update the package list (network, root)", &mut update, Counting::Silent) {
        steps.command("install Debian's clients (network, root)", &mut install, Counting::Silent);
    }
}

fn install_npm(steps: &mut Steps, place: &Place) -> bool {
    let wanted = place.tests.join("js/package-lock.json");
    if place.is_installed("js.stamp", &wanted) {
        return true;
    }
    let folder = place.deps.join("js");
    if let Err(error) = copy_packages(&place.tests.join("js"), &folder) {
        steps.refuse("install npm packages", &format!("{}: {error}", folder.display()));
        return false;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
    let installed = steps.command("install npm packages (network)", &mut npm, Counting::Silent);
    if installed {
        place.note_installed(steps, "js.stamp", &wanted);
    }
    installed
}

fn copy_packages(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(from.join(name), to.join(name))?;
    }
    Ok(())
}

fn pytest(steps: &mut Steps, place: &Place, args: &[&str]) {
    let mut pytest = Command::new(place.python("python"));
    pytest.args(["-m", "pytest"]).args(args).current_dir(&place.tests);
    pytest.env("BITTS", &place.bitts).env("PYTHONDONTWRITEBYTECODE", "1");
    steps.command("clients: Python, AWS CLI, mosquitto, sockets", &mut pytest, Counting::Pytest);
}

fn node(steps: &mut Steps, place: &Place) {
    let mut node = Command::new("node");
    let files = ["clients", "tls", "enforce", "shadows", "operations", "device_sdk"];
    node.args(["--test", "--test-reporter=tap"]).current_dir(&place.tests);
    node.args(files.map(|it| format!("js/{it}.test.cjs")));
    node.env("BITTS", &place.bitts).env("NODE_PATH", place.deps.join("js/node_modules"));
    steps.command("clients: JavaScript", &mut node, Counting::Node);
}

fn rust_clients(steps: &mut Steps, place: &Place) {
    let mut test = cargo(steps.root());
    test.args(["test", "--locked", "--no-fail-fast", "--manifest-path"]);
    test.arg(place.tests.join("rust-clients/Cargo.toml"));
    // The workspace's target folder, so that what both use is compiled once.
    test.arg("--target-dir").arg(steps.root().join("target"));
    test.env("BITTS", &place.bitts);
    steps.command("clients: Rust", &mut test, Counting::Cargo);
}

fn runs(program: &str, argument: &str) -> bool {
    let mut probe = Command::new(program);
    probe.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok()
}
