//! `selectiv grammar`: a grammar and sequences from it, by the reference's streams.

use super::inspect::counted;
use super::number::{MOST, whole};
use super::print::{self, failed};
use crate::error::{Result, UserError};
use crate::files;
use crate::memory;
use crate::tasks::measures::Measures;
use crate::tasks::sequence::Sampler;
use crate::tasks::streams::Pcg64;
use crate::tasks::{Grammar, GrammarSpec};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub use crate::tasks::golden::check_grammar;

/// Arguments of `selectiv grammar`.
#[derive(Debug, Clone, Args)]
pub struct GrammarArgs {
    /// Number of symbols, the terminator included (2 to 53)
    #[arg(long, required_unless_present = "file", value_parser = whole::<u32>(range(GrammarSpec::VOCABS)),
          allow_negative_numbers = true)]
    pub vocab: Option<u32>,
    /// Number of letters that stand for several states each (0 to vocab - 1)
    #[arg(long, required_unless_present = "file", value_parser = whole::<u32>(0..=u64::from(*GrammarSpec::VOCABS.end()) - 1),
          allow_negative_numbers = true)]
    pub ambiguities: Option<u32>,
    /// Number of states of an ambiguous letter (1 to 100)
    #[arg(long, required_unless_present = "file", value_parser = whole::<u32>(range(GrammarSpec::DEPTHS)),
          allow_negative_numbers = true)]
    pub depth: Option<u32>,
    /// Seed of the grammar and of the sequences
    #[arg(long, required_unless_present = "file", value_parser = whole::<u64>(0..=MOST), allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// A grammar in JSON instead of a generated one; --seed is that of the sequences, 1 unless given
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vocab", "ambiguities", "depth"])]
    pub file: Option<PathBuf>,
    /// Print measures of complexity instead, of 1000 sequences unless --sequences says how many
    #[arg(long)]
    pub stats: bool,
    /// Print measures as one JSON object
    #[arg(long, requires = "stats")]
    pub json: bool,
    /// Number of sequences to make
    #[arg(long, default_value_t = 0, value_parser = whole::<u64>(0..=MOST), allow_negative_numbers = true)]
    pub sequences: u64,
    /// Elements of a sequence, and most entries of a string
    #[arg(long, default_value_t = 200, value_parser = whole::<usize>(2..=10_000), allow_negative_numbers = true)]
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

fn range(of: RangeInclusive<u32>) -> RangeInclusive<u64> {
    u64::from(*of.start())..=u64::from(*of.end())
}

/// How many times the sequences are in memory while they are measured, at worst.
const COPIES: u64 = 4;

/// Sequences that are measured unless told otherwise.
const STATS_SEQUENCES: u64 = 1000;

impl GrammarArgs {
    fn sequence_seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    fn grammar(&self) -> Result<Grammar> {
        if let Some(file) = &self.file {
            let text = files::read_text(file, MOST_OF_A_GRAMMAR).map_err(|e| UserError::Folder {
                path: file.clone(),
                reason: format!("cannot read this grammar: {e}"),
            })?;
            return Ok(Grammar::from_json(&text, &file.display().to_string())?);
        }
        let spec = GrammarSpec {
            vocab: self.vocab.unwrap_or_default(),
            ambiguities: self.ambiguities.unwrap_or_default(),
            depth: self.depth.unwrap_or_default(),
            seed: self.sequence_seed(),
        };
        spec.validate_as("command line", "--")?;
        Ok(Grammar::generate(&spec)?)
    }
}

/// Most bytes of a grammar's file.
const MOST_OF_A_GRAMMAR: u64 = 256 << 20;

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
/// [`Io`](crate::error::Error::Io) if writing fails.
pub fn run(args: &GrammarArgs) -> Result<()> {
    print::stream(|out| write(args, out))
}

fn write(args: &GrammarArgs, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let grammar = args.grammar()?;
    if args.stats {
        let sequences = if args.sequences > 0 {
            args.sequences
        } else {
            STATS_SEQUENCES
        };
        let bytes = sequences.saturating_mul(COPIES * args.length as u64);
        memory::ask("the sequences that are measured", bytes)?;
        let measures = grammar.measures(args.sequence_seed(), sequences, args.length)?;
        return write_measures(&grammar, &measures, args.json, out).map_err(failed);
    }
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
            seed: args.sequence_seed(),
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

fn write_measures(
    grammar: &Grammar,
    m: &Measures,
    json: bool,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, m)?;
        writeln!(out)?;
        return out.flush();
    }
    for (name, value) in [
        ("symbols", m.vocab.to_string()),
        ("states (classes)", m.classes.to_string()),
        ("rules", m.rules.to_string()),
        ("branching factor", format!("{:.4}", m.branching_factor)),
        (
            "topological entropy",
            format!("{:.6} nats", m.topological_entropy),
        ),
        ("symbol entropy", format!("{:.4} bits", m.symbol_entropy)),
        ("entropy rate", format!("{:.4} bits", m.entropy_rate)),
        ("gzip ratio", format!("{:.4} bytes a symbol", m.gzip_ratio)),
    ] {
        writeln!(out, "{name:<20}  {value}")?;
    }
    let blocks: Vec<String> = m.block_entropies.iter().map(|h| format!("{h:.4}")).collect();
    writeln!(
        out,
        "{:<20}  {} bits, of 1, 2, .. symbols",
        "block entropies",
        blocks.join(" ")
    )?;
    writeln!(
        out,
        "\n{} of {}; shares of the symbols, per cent:",
        counted(m.sequences, "sequence"),
        m.length
    )?;
    for (symbol, share) in (0..=u8::MAX).zip(&m.symbol_shares) {
        writeln!(out, "{:<8}  {:.3}", grammar.symbol_name(symbol), 100.0 * share)?;
    }
    out.flush()
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
    use crate::error::Error;
    use serde_json::Value;

    fn args(format: Format) -> GrammarArgs {
        GrammarArgs {
            vocab: Some(9),
            ambiguities: Some(6),
            depth: Some(4),
            seed: Some(2),
            file: None,
            stats: false,
            json: false,
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
    fn stats_are_text_or_json() {
        let stats = |json| GrammarArgs {
            stats: true,
            json,
            ..args(Format::Json)
        };
        let text = printed(&stats(false));
        assert!(
            text.contains("\nrules ") && text.contains("entropy rate"),
            "{text}"
        );
        let measures: Value = serde_json::from_str(&printed(&stats(true))).unwrap();
        assert_eq!(measures["classes"], 27);
        assert_eq!(measures["sequences"], 20);
    }

    #[test]
    fn refusals_name_the_flag_and_print_nothing() {
        let good = args(Format::Json);
        for (bad, flag) in [
            (
                GrammarArgs {
                    vocab: Some(54),
                    ..good.clone()
                },
                "--vocab",
            ),
            (
                GrammarArgs {
                    ambiguities: Some(9),
                    ..good.clone()
                },
                "--ambiguities",
            ),
            (
                GrammarArgs {
                    depth: Some(0),
                    ..good.clone()
                },
                "--depth",
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
