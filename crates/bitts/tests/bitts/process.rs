//! A `bitts` that runs, in an environment without settings of this machine.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// For anything to happen on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with these arguments, no `AWS_…` variables, and of the `BITTS_…` ones only those that
/// leave the listeners with TLS off where no flag turns them on.
pub(crate) fn bitts(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitts"));
    for (name, _) in std::env::vars_os() {
        if ["BITTS_", "AWS_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("BITTS_MQTTS", "off").env("BITTS_HTTPS", "off");
    command.args(arguments).env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Calls `wait` on a thread and gives its result, or panics when nothing happens.
pub(crate) fn in_time<T: Send + 'static>(
    what: &str,
    wait: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(wait()));
    receive.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Ended {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    in_time("the command ends", move || child.wait_with_output()).expect("it is waited for").into()
}

/// Runs `bitts` with these arguments to its end.
pub(crate) fn run_bitts(arguments: &[&str]) -> Ended {
    run(bitts(arguments))
}

/// A `bitts serve` on free ports, ready; killed when it is dropped.
pub(crate) struct Served {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<BufReader<std::process::ChildStderr>>,
    /// What it printed until it was ready.
    pub(crate) announced: String,
    pub(crate) directory: TempDir,
    /// Where it keeps what is durable, unless a flag says otherwise.
    pub(crate) data: TempDir,
}

impl Served {
    /// With these flags besides free ports, a ready file and a data directory of its own.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = tempfile::tempdir().expect("a directory");
        let ready_file = directory.path().join("ready.json");
        let mut command = bitts(&["serve", "--http=127.0.0.1:0", "--ready-file"]);
        command.arg(ready_file).args(flags).env("BITTS_DATA_DIR", data.path());
        if !flags.iter().any(|flag| flag.starts_with("--mqtt=")) {
            command.arg("--mqtt=127.0.0.1:0");
        }
        if !flags.iter().any(|flag| flag.starts_with("--threads=")) {
            command.arg("--threads=2");
        }
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = Some(BufReader::new(child.stderr.take().expect("piped")));
        let (stdout, announced) = in_time("the server is ready", move || {
            let mut announced = String::new();
            while !announced.contains("\nTry: ") {
                assert_ne!(stdout.read_line(&mut announced).expect("readable"), 0, "{announced}");
            }
            (stdout, announced)
        });
        Self { child, stdout: Some(stdout), stderr, announced, directory, data }
    }

    pub(crate) fn ready_file(&self) -> PathBuf {
        self.directory.path().join("ready.json")
    }

    /// A listener's address, from the ready file.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let text = std::fs::read_to_string(self.ready_file()).expect("the ready file");
        let ready: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        ready[listener].as_str().expect(listener).parse().expect("an address")
    }

    pub(crate) fn endpoint_url(&self) -> String {
        format!("http://{}", self.address("http"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Reads the log up to a line that has `text`.
    pub(crate) fn log_line(&mut self, text: &'static str) -> String {
        let mut stderr = self.stderr.take().expect("not being read");
        let (stderr, line) = in_time(text, move || {
            let mut line = String::new();
            while !line.contains(text) {
                line.clear();
                assert_ne!(stderr.read_line(&mut line).expect("readable"), 0, "no {text:?}");
            }
            (stderr, line)
        });
        self.stderr = Some(stderr);
        line
    }

    /// Waits for its end; what else it printed is in the answer.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut stdout = self.stdout.take().expect("not being read");
        let rest = in_time("the server ends", move || {
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).expect("readable");
            rest
        });
        (self.child.wait().expect("it is waited for"), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
