//! `selectiv grammar`: a grammar and sequences from it, by the reference's streams.

use super::print::{self, failed};
use crate::error::Result;
use crate::tasks::sequence::Sampler;
use crate::tasks::streams::Pcg64;
use crate::tasks::{Grammar, GrammarSpec};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::{self, Write};

pub use crate::tasks::golden::check_grammar;

/// Arguments of `selectiv grammar`.
#[derive(Debug, Clone, Args)]
pub struct GrammarArgs {
    /// Number of symbols, the terminator included (2 to 53)
    #[arg(long)]
    pub vocab: u32,
    /// Number of letters that stand for several states each (0 to vocab - 1)
    #[arg(long)]
    pub ambiguities: u32,
    /// Number of states of an ambiguous letter (1 to 100)
    #[arg(long)]
    pub depth: u32,
    /// Seed of the grammar and of the sequences
    #[arg(long)]
    pub seed: u64,
    /// Number of sequences to make
    #[arg(long, default_value_t = 0)]
    pub sequences: u64,
    /// Elements of a sequence, and most entries of a string
    #[arg(long, default_value_t = 200)]
    pub length: usize,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
}

/// What `selectiv grammar` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One object, the layout of the golden files
    Json,
    /// For reading
    Text,
    /// For Graphviz; sequences as comments
    Dot,
}

#[derive(Serialize)]
struct Sequence {
    idx: u64,
    symbols: Vec<u8>,
    targets: Vec<u32>,
}

/// Prints a grammar and its sequences to standard output. A reader that has closed its end is no error.
///
/// # Errors
/// [`crate::error::UserError::Value`] for values outside their limits, before anything is printed;
/// [`Error::Io`] if writing fails.
pub fn run(args: &GrammarArgs) -> Result<()> {
    print::stream(|out| write(args, out))
}

fn write(args: &GrammarArgs, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let spec = GrammarSpec {
        vocab: args.vocab,
        ambiguities: args.ambiguities,
        depth: args.depth,
        seed: args.seed,
    };
    spec.validate_as("command line", "--")?;
    if !(2..=10_000).contains(&args.length) {
        return Err(crate::error::UserError::Value {
            place: "command line".to_owned(),
            field: "--length".to_owned(),
            found: args.length.to_string(),
            allowed: "2 to 10000".to_owned(),
        }
        .into());
    }
    let grammar = Grammar::generate(&spec)?;
    let mut source = Source::new(&grammar, args);
    // Whether strings end within the length shows with the first sequence, so it is made before anything is
    // printed.
    let first = (args.sequences > 0).then(|| source.states(0)).transpose()?;
    match args.format {
        Format::Json => {
            let head = grammar.to_json(args.length).to_string();
            let open = head.strip_suffix('}').expect("a JSON object ends with a brace");
            write!(out, "{open},\"sequences\":[").map_err(failed)?;
        }
        Format::Text => write_text(&grammar, out).map_err(failed)?,
        Format::Dot => out.write_all(grammar.to_dot().as_bytes()).map_err(failed)?,
    }
    let mut ready = first;
    for idx in 0..args.sequences {
        let states = match ready.take() {
            Some(states) => states,
            None => source.states(idx)?,
        };
        write_sequence(&grammar, args.format, idx, &states, out).map_err(failed)?;
    }
    if args.format == Format::Json {
        out.write_all(b"]}\n").map_err(failed)?;
    }
    Ok(())
}

/// The sequences of the reference's stream.
struct Source<'a> {
    grammar: &'a Grammar,
    seed: u64,
    length: usize,
    sampler: Sampler,
}

impl<'a> Source<'a> {
    fn new(grammar: &'a Grammar, args: &GrammarArgs) -> Self {
        Self {
            grammar,
            seed: args.seed,
            length: args.length,
            sampler: Sampler::new(args.length),
        }
    }

    fn states(&mut self, idx: u64) -> Result<Vec<u16>> {
        let mut states = vec![0; self.length];
        let mut rng = Pcg64::new(u128::from(self.seed) * u128::from(idx));
        self.sampler.draw(self.grammar, &mut rng, &mut states)?;
        Ok(states)
    }
}

fn write_text(grammar: &Grammar, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let names = grammar.names();
    let list =
        |states: &[u16]| -> Vec<&str> { states.iter().map(|&s| names[usize::from(s)].as_str()).collect() };
    writeln!(out, "symbols  {}", grammar.vocab())?;
    writeln!(out, "classes  {}", grammar.classes())?;
    writeln!(
        out,
        "topological entropy  {:.6} nats",
        grammar.topological_entropy()
    )?;
    if let Some(origin) = grammar.origin() {
        writeln!(out, "attempts  {}", origin.attempts)?;
    }
    writeln!(out, "initial  {}", list(grammar.initial()).join(" "))?;
    writeln!(out, "\nstate  class  successors (equally likely)")?;
    for (state, name) in names.iter().enumerate() {
        let successors = list(grammar.successors(state as u16));
        writeln!(
            out,
            "{name:<5}  {:>5}  {}",
            grammar.ids()[state],
            successors.join(" ")
        )?;
    }
    Ok(())
}

fn write_sequence(
    grammar: &Grammar,
    format: Format,
    idx: u64,
    states: &[u16],
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    if format == Format::Json {
        if idx > 0 {
            out.write_all(b",")?;
        }
        let symbols = states
            .iter()
            .map(|&s| grammar.symbols()[usize::from(s)])
            .collect();
        let targets = states.iter().map(|&s| grammar.ids()[usize::from(s)]).collect();
        return serde_json::to_writer(
            out,
            &Sequence {
                idx,
                symbols,
                targets,
            },
        )
        .map_err(io::Error::from);
    }
    let start = if format == Format::Dot { "// " } else { "\n" };
    write!(out, "{start}idx {idx}:")?;
    for &state in states {
        write!(out, " {}", grammar.names()[usize::from(state)])?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, UserError};
    use serde_json::Value;

    fn args(format: Format) -> GrammarArgs {
        GrammarArgs {
            vocab: 9,
            ambiguities: 6,
            depth: 4,
            seed: 2,
            sequences: 20,
            length: 200,
            format,
        }
    }

    fn printed(args: &GrammarArgs) -> String {
        let mut out = Vec::new();
        write(args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_the_golden_file() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/grammars/grammar-9-6-4-s2.json"
        );
        let mut golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut ours: Value = serde_json::from_str(&printed(&args(Format::Json))).unwrap();
        let entropy = |value: &mut Value| value["topological_entropy"].take().as_f64().unwrap();
        let (a, b) = (entropy(&mut golden), entropy(&mut ours));
        assert!((a - b).abs() <= 1e-9 * a);
        assert_eq!(ours, golden);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&golden));
    }

    #[test]
    fn no_sequences_are_an_empty_list() {
        let json = printed(&GrammarArgs {
            sequences: 0,
            ..args(Format::Json)
        });
        assert_eq!(
            serde_json::from_str::<Value>(&json).unwrap()["sequences"],
            serde_json::json!([])
        );
    }

    #[test]
    fn text_and_dot_name_states() {
        let short = |format| GrammarArgs {
            sequences: 1,
            length: 20,
            ..args(format)
        };
        let text = printed(&short(Format::Text));
        assert!(
            text.contains("classes  27\n") && text.contains("\nidx 0: "),
            "{text}"
        );
        let dot = printed(&short(Format::Dot));
        assert!(
            dot.starts_with("digraph") && dot.ends_with('\n') && dot.contains("}\n// idx 0: "),
            "{dot}"
        );
    }

    #[test]
    fn refusals_name_the_flag_and_print_nothing() {
        let good = args(Format::Json);
        for (bad, flag) in [
            (
                GrammarArgs {
                    vocab: 54,
                    ..good.clone()
                },
                "--vocab",
            ),
            (
                GrammarArgs {
                    ambiguities: 9,
                    ..good.clone()
                },
                "--ambiguities",
            ),
            (
                GrammarArgs {
                    depth: 0,
                    ..good.clone()
                },
                "--depth",
            ),
            (
                GrammarArgs {
                    length: 1,
                    ..good.clone()
                },
                "--length",
            ),
        ] {
            let mut out = Vec::new();
            match write(&bad, &mut out) {
                Err(Error::User(UserError::Value { field, .. })) => assert_eq!(field, flag),
                other => panic!("{flag}: {other:?}"),
            }
            assert!(out.is_empty());
        }
    }
}
