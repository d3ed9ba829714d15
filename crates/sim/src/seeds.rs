//! Random worlds by seed: one or many are run, and a failure is told so that it can be repeated.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::ops::AddAssign;

/// Events shown with a failure.
const SHOWN_MAX: usize = 120;

/// A world that a seed makes; the same seed always makes the same world.
pub(crate) trait Seeded: Sized {
    /// What happened in a sound world.
    type Summary: AddAssign + Debug + Default;
    /// What the command line calls such worlds.
    const COMMAND: &'static str;

    fn of(seed: u64, trace: Trace) -> Self;

    /// Runs it to its end, or until something is wrong.
    fn run(&mut self) -> Result<Self::Summary, String>;

    fn into_trace(self) -> Trace;
}

/// The last things that happened in a world.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: VecDeque<String>,
    lines_max: usize,
}

impl Trace {
    /// Nothing is remembered.
    pub(crate) const OFF: Self = Self::of(0);

    const fn of(lines_max: usize) -> Self {
        Self { lines: VecDeque::new(), lines_max }
    }

    /// Remembers what happened in a step.
    pub(crate) fn note(&mut self, step: usize, what: impl FnOnce() -> String) {
        if self.lines_max == 0 {
            return;
        }
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{step:5} {}", what()));
    }
}

/// A world in which something was wrong.
#[derive(Debug)]
pub struct Unsound {
    command: &'static str,
    seed: u64,
    problem: String,
    /// The last things that happened.
    events: VecDeque<String>,
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, seed, problem, events } = self;
        for event in events {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "seed {seed}: {problem}")?;
        write!(f, "again: cargo run -p bitts-sim --release -- {command} --seed {seed}")
    }
}

/// Runs the world of a seed; a failing one runs again to tell what happened.
pub(crate) fn run<W: Seeded>(seed: u64) -> Result<W::Summary, Unsound> {
    W::of(seed, Trace::OFF).run().map_err(|_| {
        let (events, outcome) = told::<W>(seed, SHOWN_MAX);
        let problem = outcome.err().unwrap_or_else(|| "it is sound the second time".to_owned());
        Unsound { command: W::COMMAND, seed, problem, events }
    })
}

/// Runs the world of a seed, and tells the last things that happened in it.
fn told<W: Seeded>(seed: u64, most: usize) -> (VecDeque<String>, Result<W::Summary, String>) {
    let mut world = W::of(seed, Trace::of(most));
    let outcome = world.run();
    (world.into_trace().lines, outcome)
}

/// Runs worlds as the command line asks and prints what is wrong; whether all were sound.
pub(crate) fn command<W: Seeded>(
    arguments: &[String],
    say: &mut dyn FnMut(&str),
) -> Result<bool, String> {
    let mut seeds = 200;
    let mut first = 0;
    let mut only = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        let value = value.ok_or_else(|| format!("{argument} needs a number"))?;
        match argument.as_str() {
            "--seeds" => seeds = value,
            "--first" => first = value,
            "--seed" => only = Some(value),
            other => return Err(format!("{other}: --seeds, --first or --seed is expected")),
        }
    }
    if let Some(seed) = only {
        let (events, outcome) = told::<W>(seed, usize::MAX);
        for event in &events {
            say(event);
        }
        say(&format!("seed {seed}: {outcome:?}"));
        return Ok(outcome.is_ok());
    }
    let mut unsound = 0;
    let mut sum = W::Summary::default();
    for seed in first..first + seeds {
        match run::<W>(seed) {
            Ok(summary) => sum += summary,
            Err(failure) => {
                unsound += 1;
                say(&failure.to_string());
            }
        }
    }
    say(&format!("{seeds} worlds from seed {first}: {unsound} unsound; {sum:?}"));
    Ok(unsound == 0)
}
