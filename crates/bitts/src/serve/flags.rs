//! The flags of `bitts serve`, one for each setting of the server.

use bitts_server::config::{Key, keys};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// The flags that were given, by the names of their settings.
#[derive(Debug)]
pub(super) struct Flags(pub(super) Vec<(&'static str, String)>);

fn flags() -> impl Iterator<Item = &'static Key> {
    keys().filter(|key| key.is_flag())
}

fn arg(key: &'static Key) -> Arg {
    let default = match key.default_text() {
        none if none.is_empty() || key.is_switch() => String::new(),
        default => format!(" [default: {default}]"),
    };
    let arg = Arg::new(key.name)
        .long(key.name)
        .help(format!("{}{default}", key.about))
        .value_name(key.value_name())
        .allow_hyphen_values(false)
        .action(ArgAction::Set);
    if key.is_switch() {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(flags().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &Key| Some((key.name, matches.get_one::<String>(key.name)?.clone()));
        Ok(Self(flags().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
