//! `selectiv completions` and `selectiv man`: what shells and `man` know of the program, from its own arguments.

use super::Cli;
use super::print;
use crate::error::{Error, Result, UserError};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Arguments of `selectiv completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Shell to complete in
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `selectiv man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The page of one command; the program's own if left out
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
    /// Write all pages into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub out: Option<PathBuf>,
}

/// Prints a completion script.
///
/// # Errors
/// [`Error::Io`] if it cannot be printed.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "selectiv", &mut script);
    print::result(String::from_utf8_lossy(&script).trim_end())
}

/// Prints a page of the manual, or writes them all.
///
/// # Errors
/// [`UserError::Unknown`] for a command that there is not; [`Error::Io`].
pub fn man(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let failed = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| Error::Io {
            action: "write",
            path,
            source,
        }
    };
    if let Some(folder) = &args.out {
        if folder.exists() && !folder.is_dir() {
            return Err(UserError::Folder {
                path: folder.clone(),
                reason: "is no folder; --out needs one".to_owned(),
            }
            .into());
        }
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        return clap_mangen::generate_to(program, folder).map_err(failed(folder));
    }
    let command = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
                return Err(UserError::Unknown {
                    what: "command",
                    name: name.clone(),
                    allowed: names.join(", "),
                }
                .into());
            }
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(print::failed)?;
    print::result(String::from_utf8_lossy(&page).trim_end())
}
