//! `selectiv models`: every model, its place in the taxonomy and its size.

use super::common::{Common, Verbosity};
use super::inspect::{bytes, counted, keep_words, ruled_table};
use super::number::whole;
use super::print;
use crate::config::{D_MODELS, D_STATES, LAYERS};
use crate::error::{Result, UserError};
use crate::models::{BLOCKS, BlockRef, ModelConfig};
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `models`.
#[derive(Debug, Clone, Args)]
pub struct ModelsArgs {
    /// Width of the model
    #[arg(long, default_value_t = 256, value_parser = whole::<u32>(D_MODELS), allow_negative_numbers = true)]
    pub d_model: u32,
    /// Number of layers
    #[arg(long, default_value_t = 8, value_parser = whole::<u32>(LAYERS), allow_negative_numbers = true)]
    pub layers: u32,
    /// Symbols of the input
    #[arg(long, default_value_t = 41, value_parser = whole::<u32>(1..=65_536), allow_negative_numbers = true)]
    pub vocab: u32,
    /// Classes of the output
    #[arg(long, default_value_t = 1601, value_parser = whole::<u32>(1..=65_536), allow_negative_numbers = true)]
    pub classes: u32,
    /// States of a channel (Mamba, S4D) or of a head (Mamba2) [default: as published, 64; Mamba2 128]
    #[arg(long, value_parser = whole::<u32>(D_STATES), allow_negative_numbers = true)]
    pub d_state: Option<u32>,
    /// Print a JSON list instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Prints the table. A model that cannot have the width is listed with the reason.
///
/// # Errors
/// [`UserError::Value`] for a width that no model can have.
pub fn run(args: &ModelsArgs, common: &Common) -> Result<()> {
    let list: Vec<Value> = BLOCKS.iter().map(|block| describe(*block, args)).collect();
    if args.json {
        return print::result(&Value::from(list).to_string());
    }
    let all = common.verbosity() == Verbosity::Verbose;
    let refused = |m: &Value| m["params"].is_null();
    if let Some(first) = list.iter().find(|m| refused(m))
        && list.iter().all(refused)
    {
        return Err(UserError::Value {
            place: "command line".to_owned(),
            field: "--d-model".to_owned(),
            found: args.d_model.to_string(),
            allowed: format!(
                "what some model can have ({})",
                first["refused"].as_str().unwrap_or_default()
            ),
        }
        .into());
    }
    let columns: &[(&str, &str)] = if all { &ALL_COLUMNS } else { &COLUMNS };
    let mut table = ruled_table(all);
    table.set_header(columns.iter().map(|(name, _)| *name));
    for m in &list {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        table.add_row(columns.iter().map(|(_, key)| match *key {
            "params" if refused(m) => "-".to_owned(),
            "state" => state_text(&m["state"]),
            // The taxonomy has a formula under the name of the count.
            "taxonomy_gate_params" => text(&m["taxonomy"]["gate_params"]),
            key => m.get(key).map_or_else(|| text(&m["taxonomy"][key]), text),
        }));
    }
    if !all {
        keep_words(&mut table);
    }
    let reasons = list.iter().filter_map(|m| m["refused"].as_str());
    let reasons: String = reasons.map(|reason| format!("\n{reason}")).collect();
    let more = if all {
        ""
    } else {
        "\nH heads, N states, R rank of the step size, E expand\n-v or --json shows all columns"
    };
    print::result(&format!(
        "{table}{reasons}\nd_model {}, {}, {}, {} classes{more}",
        args.d_model,
        counted(args.layers, "layer"),
        counted(args.vocab, "symbol"),
        args.classes
    ))
}

/// Columns that fit a terminal: title and key.
const COLUMNS: [(&str, &str); 6] = [
    ("model", "name"),
    ("parameters", "params"),
    ("decay", "decay"),
    ("write gate", "write_gate"),
    ("read-out", "readout"),
    ("state", "state"),
];

/// All there is.
const ALL_COLUMNS: [(&str, &str); 13] = [
    ("model", "name"),
    ("parameters", "params"),
    ("gates a layer", "gate_params"),
    ("which are", "taxonomy_gate_params"),
    ("the paper's count", "paper_gate_params"),
    ("A_t", "transition"),
    ("decay", "decay"),
    ("write gate", "write_gate"),
    ("tied to decay", "complementary"),
    ("read-out", "readout"),
    ("output gate", "output_gate"),
    ("mixes channels", "channel_mixing"),
    ("state a layer", "state"),
];

fn describe(block: BlockRef, args: &ModelsArgs) -> Value {
    let [layers, d_model, vocab, classes] =
        [args.layers, args.d_model, args.vocab, args.classes].map(|n| n as usize);
    let mut config = ModelConfig::new(block, layers, d_model, vocab, classes);
    config.d_state = args.d_state.map(|n| n as usize);
    let mut model = json!({
        "name": block.name(),
        "what": block.describe(),
        "d_model": args.d_model,
        "layers": args.layers,
        "heads": config.heads,
        "params": null,
        "gate_params": block.gate_params(&config),
        "taxonomy": block.taxonomy(),
    });
    match config.param_count().and_then(|n| Ok((n, state(&config, block)?))) {
        Ok((n, [fixed, per_token])) => {
            model["params"] = n.into();
            model["state"] = json!({ "bytes": fixed, "bytes_per_token": per_token });
        }
        Err(e) => model["refused"] = e.to_string().into(),
    }
    model
}

/// Bytes of state of a layer and sequence when decoding: those that are always there, and those that each token adds.
fn state(config: &ModelConfig, block: BlockRef) -> Result<[usize; 2]> {
    let one = ModelConfig {
        blocks: vec![block],
        ..config.clone()
    };
    let bytes = |tokens| -> Result<usize> {
        let net = one.decode_net(1, tokens)?;
        Ok(net.graph.states().map(|(_, state)| state.bytes()).sum())
    };
    let (first, second) = (bytes(1)?, bytes(2)?);
    let per_token = second - first;
    Ok([first - per_token, per_token])
}

fn state_text(state: &Value) -> String {
    let [fixed, per_token] = ["bytes", "bytes_per_token"].map(|key| state[key].as_u64());
    match (fixed, per_token) {
        (Some(fixed), Some(0)) => bytes(fixed as f64),
        (Some(_), Some(token)) => format!("{} a token", bytes(token as f64)),
        _ => String::new(),
    }
}
