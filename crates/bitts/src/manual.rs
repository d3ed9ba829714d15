//! What goes beside the binary: completions for shells, and man pages.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bitts", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// Writes `bitts.1` and a page for each command into `dir`, which is made if it is missing.
pub(crate) fn man_pages(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::Refused(format!("{}: {error}", dir.display())))
}
