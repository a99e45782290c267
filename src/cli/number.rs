//! Numbers on the command line: what is out of range, too large for any type or no number at all gets one answer, which
//! says what is allowed.

use crate::tasks::Gap;
use std::ops::RangeInclusive;

/// Most of what is counted.
pub(super) const MOST: u64 = u32::MAX as u64;

/// Parses whole numbers of a range.
pub(super) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number: u64| T::try_from(number).ok());
        number.ok_or_else(|| format!("allowed: an integer from {} to {}", range.start(), range.end()))
    }
}

/// Parses a share of a whole.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "allowed: 0 to 1".to_owned())
}

/// Parses a gap in seconds.
pub(super) fn gap(text: &str) -> Result<Gap, String> {
    let gap = text.parse().ok().and_then(Gap::fixed);
    gap.ok_or_else(|| "allowed: multiples of 0.1 from 0 to 100 (seconds)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{Arg, Command, CommandFactory};

    #[test]
    fn ends_of_a_range_are_in_it() {
        let layers = whole::<u32>(1..=1024);
        assert_eq!((layers("1"), layers("1024")), (Ok(1), Ok(1024)));
        assert_eq!(whole::<u64>(0..=u64::MAX)("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(gap("0.3"), Ok(Gap::Fixed(3)));
        assert_eq!(fraction("0.5"), Ok(0.5));
    }

    /// Every flag that reads a number, by command.
    fn numeric(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let texts = ["18446744073709551616", "1.05", "abc"];
        let takes = |arg: &&Arg| {
            arg.get_action().takes_values()
                && arg.get_long().is_some()
                && arg.get_possible_values().is_empty()
        };
        for arg in command.get_arguments().filter(takes) {
            let long = arg.get_long().unwrap_or_default();
            let refused = |text: &&str| {
                let line = path.iter().cloned().chain([format!("--{long}={text}")]);
                let matched = Cli::command().try_get_matches_from(line);
                matched.is_err_and(|e| e.kind() == clap::error::ErrorKind::ValueValidation)
            };
            // A flag that takes any text fails only because others are missing.
            if texts.iter().any(refused) {
                found.push((path.to_vec(), long.to_owned()));
            }
        }
        for sub in command.get_subcommands() {
            let path: Vec<String> = path.iter().cloned().chain([sub.get_name().to_owned()]).collect();
            numeric(sub, &path, found);
        }
    }

    #[test]
    fn every_refusal_of_a_number_says_what_is_allowed() {
        let mut program = Cli::command();
        program.build();
        let mut found = Vec::new();
        numeric(&program, &["selectiv".to_owned()], &mut found);
        assert!(found.len() >= 20, "{found:?}");
        for (path, long) in found {
            for text in [
                "18446744073709551616",
                "-1",
                "-18446744073709551616",
                "abc",
                "",
                "nan",
                "1e400",
            ] {
                // As an argument of its own: what begins with a minus is a number too.
                let line = path.iter().cloned().chain([format!("--{long}"), text.to_owned()]);
                let error = Cli::command().try_get_matches_from(line).unwrap_err();
                let said = error.to_string();
                assert!(
                    said.contains("allowed: ") && said.contains(&format!("--{long}")),
                    "{path:?} --{long} {text}: {said}"
                );
            }
        }
    }
}
