//! Options that know whether the user typed them: what the command line says goes before what the
//! environment says, also where the two are different options.

use std::ops::Deref;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id};

/// Options, and which of them stand on the command line.
#[derive(Debug, Clone)]
pub(super) struct Given<A> {
    args: A,
    typed: Vec<Id>,
}

impl<A> Given<A> {
    /// Whether the option with this field's name stands on the command line.
    pub(super) fn is_typed(&self, field: &str) -> bool {
        self.typed.iter().any(|id| id == field)
    }
}

impl<A> Deref for Given<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.args
    }
}

impl<A: Args> Args for Given<A> {
    fn group_id() -> Option<Id> {
        A::group_id()
    }

    fn augment_args(command: Command) -> Command {
        A::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        A::augment_args_for_update(command)
    }
}

impl<A: FromArgMatches> FromArgMatches for Given<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        // Reading a value takes it out of the matches.
        let typed = typed(matches);
        let args = A::from_arg_matches_mut(matches)?;
        Ok(Self { args, typed })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.update_from_arg_matches_mut(&mut matches.clone())
    }

    fn update_from_arg_matches_mut(&mut self, matches: &mut ArgMatches) -> Result<(), Error> {
        self.typed.extend(typed(matches));
        self.args.update_from_arg_matches_mut(matches)
    }
}

fn typed(matches: &ArgMatches) -> Vec<Id> {
    let is_typed = |id: &&Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    matches.ids().filter(is_typed).cloned().collect()
}
