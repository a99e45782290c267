//! From the layers to a configuration: every field's default and limits.

use super::layers::{Field, Given, Layers, Number, RawConfig};
use super::{
    Anneal, Config, D_MODELS, D_STATES, DropoutMode, GrammarConfig, LAYERS, LayerList, Notes, RunConfig,
    StackConfig, TrainConfig,
};
use crate::error::{Error, Result, UserError};
use crate::models::{self, Sizes, Switches};
use crate::tasks::stored::{self, Header};
use crate::tasks::{DataSpec, Gap, GrammarSpec, Splits};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Seeds are single 32-bit words of a random stream's key.
pub(super) const MAX_WORD: u64 = u32::MAX as u64;
/// Warm-up of the paper, in updates.
const PAPER_WARMUP: u64 = 476;
/// The paper evaluates each time this many samples have been trained on.
const PAPER_EVAL_SAMPLES: u64 = 5000;

/// Reads every field from the layers, or its default, and checks each alone and all together.
pub(super) fn resolve(layers: &Layers) -> Result<Config> {
    let stored = resolve_stored(layers)?;
    let grammar = match &stored {
        Some(stored) => stored_grammar(layers, stored)?,
        None => resolve_grammar(layers)?,
    };
    let data = resolve_data(layers, stored.as_ref())?;
    let model = resolve_model(layers)?;
    let (train, notes) = resolve_train(layers, data.train)?;
    Ok(Config {
        run: resolve_run(layers, &grammar, stored.is_some())?,
        grammar,
        data,
        model,
        train,
        notes,
    })
}

fn resolve_run(layers: &Layers, grammar: &GrammarConfig, stored: bool) -> Result<Option<RunConfig>> {
    // The fingerprint is of the grammar in the file, not of one that the command line puts in its place.
    let own = matches!(grammar, GrammarConfig::File { .. })
        && layers
            .path("grammar.file", |c| &c.grammar.file, "a grammar in JSON")?
            .is_some_and(|(_, on_command_line)| !on_command_line);
    let run = RunConfig {
        task: layers.optional(|c| &c.run.task),
        model: layers.optional(|c| &c.run.model),
        grammar: layers.optional(|c| &c.run.grammar).filter(|_| own),
        data: layers.optional(|c| &c.run.data).filter(|_| stored),
        precision: layers.optional(|c| &c.run.precision),
    };
    Ok((run != RunConfig::default()).then_some(run))
}

fn resolve_grammar(layers: &Layers) -> Result<GrammarConfig> {
    let vocab = layers.given("grammar.vocab", |c| &c.grammar.vocab, Number::Is(41));
    let ambiguities = layers.given("grammar.ambiguities", |c| &c.grammar.ambiguities, Number::Is(40));
    let depth = layers.given("grammar.depth", |c| &c.grammar.depth, Number::Is(40));
    let seed = layers.given("grammar.seed", |c| &c.grammar.seed, Number::Is(1));
    if let Some((file, on_command_line)) =
        layers.path("grammar.file", |c| &c.grammar.file, "a grammar in JSON")?
    {
        // A grammar file on the command line takes the place of the numbers in the task file.
        let rival = |n: &&Given<Number<i64>>| n.is_given() && (n.is_on_command_line() || !on_command_line);
        if let Some(extra) = [&vocab, &ambiguities, &depth, &seed].into_iter().find(rival) {
            return Err(extra.refuse("left out, because grammar.file is given"));
        }
        return Ok(GrammarConfig::File { file });
    }
    let vocab = vocab.within(words(GrammarSpec::VOCABS))?;
    let letters = vocab.value - 1;
    let allowed = format!("0 to grammar.vocab - 1 = {letters}");
    let ambiguities = ambiguities.number(|a| 0 <= a && a.unsigned_abs() <= letters, &allowed)?;
    let ambiguities = ambiguities.map(i64::unsigned_abs);
    let depth = depth.within(words(GrammarSpec::DEPTHS))?;
    let spec = GrammarSpec {
        vocab: word(vocab.value),
        ambiguities: word(ambiguities.value),
        depth: word(depth.value),
        seed: seed.within(0..=MAX_WORD)?.value,
    };
    if let Err(UserError::Value { field, allowed, .. }) = spec.validate() {
        // Each number is within its limits, so together they are not: the one that was given is to blame.
        let all = [&vocab, &ambiguities, &depth];
        let culprit = all.into_iter().find(|n| n.is_given() && n.is(&field));
        let culprit = culprit.or_else(|| all.into_iter().find(|n| n.is_given()));
        return Err(culprit.unwrap_or(&vocab).refuse(&allowed));
    }
    Ok(GrammarConfig::Generated(spec))
}

/// The folder of stored samples, and what their file says of them.
fn resolve_stored(layers: &Layers) -> Result<Option<(PathBuf, Header)>> {
    let what = "a folder that `selectiv data import` has made";
    let Some((path, on_command_line)) = layers.path("data.path", |c| &c.data.path, what)? else {
        return Ok(None);
    };
    let header = stored::read_header(&path)?;
    let begun_with = layers.optional(|c| &c.run.data).filter(|_| !on_command_line);
    if begun_with.is_some_and(|begun| begun != header.checksum) {
        let reason = "holds other samples than when the run began".to_owned();
        return Err(UserError::Folder { path, reason }.into());
    }
    Ok(Some((path, header)))
}

/// The grammar of stored samples lies beside them. Numbers of a generated one may stand in the task file too, if they are
/// the same.
fn stored_grammar(layers: &Layers, (path, header): &(PathBuf, Header)) -> Result<GrammarConfig> {
    let file = path.join(stored::GRAMMAR_FILE);
    let stored: serde_json::Value = serde_json::from_str(&header.grammar).unwrap_or_default();
    let numbers = [
        layers.given("grammar.vocab", |c| &c.grammar.vocab, Number::Is(0)),
        layers.given("grammar.ambiguities", |c| &c.grammar.ambiguities, Number::Is(0)),
        layers.given("grammar.depth", |c| &c.grammar.depth, Number::Is(0)),
        layers.given("grammar.seed", |c| &c.grammar.seed, Number::Is(0)),
    ];
    for (given, key) in numbers.into_iter().zip(["vocab", "ambiguities", "depth", "seed"]) {
        if given.is_given() {
            let allowed = format!("{}, as in data.path, or left out", stored[key]);
            given.number(|n| stored[key].as_i64() == Some(n), &allowed)?;
        }
    }
    match layers.path("grammar.file", |c| &c.grammar.file, "a grammar in JSON")? {
        Some((other, _)) if other != file => {
            let given = layers.given("grammar.file", |c| &c.grammar.file, String::new());
            Err(given.refuse("left out, because data.path is given"))
        }
        _ => Ok(GrammarConfig::File { file }),
    }
}

fn resolve_data(layers: &Layers, stored: Option<&(PathBuf, Header)>) -> Result<DataSpec> {
    // What is not given is as in the stored samples, else as in the paper's task 1.
    let base = match stored {
        Some((path, header)) => DataSpec {
            path: Some(path.clone()),
            ..header.spec.clone()
        },
        None => DataSpec::plain(200, Splits::Disjoint, [200_000, 1000, 1000], Gap::Fixed(1)),
    };
    let most = |there: u64| {
        if stored.is_some() {
            there
        } else {
            DataSpec::MAX_SAMPLES
        }
    };
    let samples = |field, pick: fn(&RawConfig) -> &Field<Number<i64>>, default| {
        // A run needs samples of every kind.
        Ok::<_, Error>(layers.integer(field, pick, default, 1..=most(default))?.value)
    };
    let lengths = *DataSpec::LENGTHS.start() as u64..=*DataSpec::LENGTHS.end() as u64;
    let length = layers
        .integer("data.length", |c| &c.data.length, base.length as u64, lengths)?
        .value;
    let gap = layers.parsed("data.gap", |c| &c.data.gap, base.gap)?;
    let test_gap = if stored.is_some() {
        base.test_gap.clone()
    } else {
        gap.into()
    };
    let fraction = |field, pick: fn(&RawConfig) -> &Field<Number<f64>>, default| {
        let given = layers.given(field, pick, Number::Is(default));
        Ok::<_, Error>(given.number(|v| (0.0..=1.0).contains(&v), "0 to 1")?.value)
    };
    let start = layers.integer(
        "data.gap_start",
        |c| &c.data.gap_start,
        base.gap_start as u64,
        0..=length,
    )?;
    let spec = DataSpec {
        length: size(length),
        splits: layers.given("data.splits", |c| &c.data.splits, base.splits).value,
        train: samples("data.train", |c| &c.data.train, base.train)?,
        validation: samples("data.validation", |c| &c.data.validation, base.validation)?,
        test: samples("data.test", |c| &c.data.test, base.test)?,
        targets: layers
            .given("data.targets", |c| &c.data.targets, base.targets)
            .value,
        gap,
        test_gap: layers.parsed("data.test_gap", |c| &c.data.test_gap, test_gap)?,
        noise: fraction("data.noise", |c| &c.data.noise, base.noise)?,
        nongrammatical: layers
            .given(
                "data.nongrammatical",
                |c| &c.data.nongrammatical,
                base.nongrammatical,
            )
            .value,
        gap_start: size(start.value),
        gap_prob: fraction("data.gap_prob", |c| &c.data.gap_prob, base.gap_prob)?,
        path: base.path.clone(),
    };
    if stored.is_some() {
        // Fewer samples may be used, and a model tested at other gaps and noise; the rest is what it is.
        let wanted = DataSpec {
            train: base.train,
            validation: base.validation,
            test: base.test,
            test_gap: base.test_gap.clone(),
            noise: base.noise,
            ..spec.clone()
        };
        if wanted != base {
            let given = layers.given("data.path", |c| &c.data.path, String::new());
            let found = format!("{wanted:?}");
            let differs = format!(
                "length, splits, targets, gap, nongrammatical, gap_start and gap_prob as the samples there have them, or \
                 left out; not {found}"
            );
            return Err(given.refuse(&differs));
        }
    }
    if let Err(UserError::Value { field, allowed, .. }) = spec.validate() {
        // Each number is within its limits, so a gap is too long for the length: the one that was given is to blame.
        let tested = layers.has(|c| &c.data.test_gap) && field == "data.test_gap";
        return Err(match tested {
            true => layers.given("data.test_gap", |c| &c.data.test_gap, toml::Value::Boolean(false)),
            false => layers.given("data.gap", |c| &c.data.gap, toml::Value::Boolean(false)),
        }
        .refuse(&allowed));
    }
    Ok(spec)
}

fn resolve_model(layers: &Layers) -> Result<StackConfig> {
    let d_model = layers.integer("model.d_model", |c| &c.model.d_model, 256, D_MODELS)?;
    let width = d_model.value;
    let heads = if layers.has(|c| &c.model.heads) {
        let heads = layers.integer("model.heads", |c| &c.model.heads, 1, 1..=width)?;
        let allowed = format!("a divisor of model.d_model = {width}");
        heads.check(|&h| width.is_multiple_of(h), &allowed)?.value
    } else {
        let rule = "a multiple of 4 up to 512, above that one that 8, 16, 32, .. divides into heads of at most 128; \
                    or give model.heads";
        let heads = models::head_count(size(width)).ok_or_else(|| d_model.refuse(rule))?;
        heads as u64
    };
    let chunk = layers.given("model.chunk", |c| &c.model.chunk, Number::Is(64));
    let chunk = chunk.number(|c| [16, 32, 64].contains(&c), "16, 32 or 64")?;
    let conv = layers.given("model.conv", |c| &c.model.conv, Number::Is(4));
    let d_state = layers.optional_integer("model.d_state", |c| &c.model.d_state, D_STATES)?;
    let conv = conv.number(|c| [0, 4].contains(&c), "4 (four taps) or 0 (none)")?;
    let sizes = Sizes {
        d_model: size(width),
        heads: size(heads),
        householder: size(
            layers
                .integer(
                    "model.householder",
                    |c| &c.model.householder,
                    models::HOUSEHOLDER as u64,
                    1..=8,
                )?
                .value,
        ),
        chunk: size(chunk.value.unsigned_abs()),
        d_state: d_state.map(size),
        expand: size(
            layers
                .integer("model.expand", |c| &c.model.expand, models::EXPAND as u64, 1..=8)?
                .value,
        ),
        switches: Switches {
            decay: layers.optional(|c| &c.model.decay),
            data_dependent_decay: layers.optional(|c| &c.model.data_dependent_decay),
            input_gate: layers.optional(|c| &c.model.input_gate),
            readout_gate: layers.optional(|c| &c.model.readout_gate),
            channel_mixing: layers.optional(|c| &c.model.channel_mixing),
            conv: (conv.value == 0).then_some(false),
        },
    };
    Ok(StackConfig {
        layers: resolve_layers(layers)?,
        sizes,
    })
}

fn resolve_layers(layers: &Layers) -> Result<LayerList> {
    let given = layers.given("model.layers", |c| &c.model.layers, toml::Value::Integer(8));
    let names: Vec<&str> = models::BLOCKS.iter().map(|b| b.name()).collect();
    let allowed = format!(
        "an integer from 1 to {0}, or a list of at most {0} of {1}",
        LAYERS.end(),
        names.join(", ")
    );
    let list = match &given.value {
        toml::Value::Integer(n) if u64::try_from(*n).is_ok_and(|n| LAYERS.contains(&n)) => {
            Some(LayerList::Count(size(n.unsigned_abs())))
        }
        toml::Value::Array(list) if LAYERS.contains(&(list.len() as u64)) => {
            let known = |v: &toml::Value| v.as_str().filter(|name| names.contains(name)).map(str::to_owned);
            list.iter()
                .map(known)
                .collect::<Option<_>>()
                .map(LayerList::Blocks)
        }
        _ => None,
    };
    list.ok_or_else(|| given.refuse(&allowed))
}

fn resolve_train(layers: &Layers, samples: u64) -> Result<(TrainConfig, Notes)> {
    let batch = layers.integer("train.batch", |c| &c.train.batch, 64, 1..=MAX_WORD)?;
    let batch = batch
        .check(|&b| b <= samples, &format!("1 to data.train = {samples}"))?
        .value;
    let updates = 1..=MAX_WORD;
    let steps = layers
        .integer(
            "train.steps",
            |c| &c.train.steps,
            samples / batch,
            updates.clone(),
        )?
        .value;
    let (warmup, notes) = resolve_warmup(layers, steps, samples / batch)?;
    let eval = (PAPER_EVAL_SAMPLES / batch).max(1);
    let eval_every = layers
        .integer("train.eval_every", |c| &c.train.eval_every, eval, updates.clone())?
        .value;
    let positive = |v: f64| v.is_finite() && v > 0.0;
    let lr = layers.given("train.lr", |c| &c.train.lr, Number::Is(1e-3));
    let clip = layers.given("train.clip", |c| &c.train.clip, Number::Is(1.0));
    let dropout = layers.given("train.dropout", |c| &c.train.dropout, Number::Is(0.2));
    let train = TrainConfig {
        seed: layers
            .integer("train.seed", |c| &c.train.seed, 1, 0..=MAX_WORD)?
            .value,
        batch: size(batch),
        steps,
        lr: lr.number(positive, "a finite number above 0")?.value,
        warmup,
        schedule: layers
            .given("train.schedule", |c| &c.train.schedule, Anneal::Cosine)
            .value,
        clip: clip.number(positive, "a finite number above 0")?.value,
        dropout: dropout
            .number(|p| (0.0..1.0).contains(&p), "0 or more, below 1")?
            .value,
        dropout_mode: layers
            .given(
                "train.dropout_mode",
                |c| &c.train.dropout_mode,
                DropoutMode::Always,
            )
            .value,
        eval_every,
        checkpoint_every: layers
            .integer(
                "train.checkpoint_every",
                |c| &c.train.checkpoint_every,
                eval_every,
                updates,
            )?
            .value,
    };
    Ok((train, notes))
}

/// The warm-up of so many updates. One that the file gives for a run of its own length shrinks and grows with the run
/// where the command line changes that length alone.
fn resolve_warmup(layers: &Layers, steps: u64, default_steps: u64) -> Result<(u64, Notes)> {
    let default = default_warmup(steps);
    let given = layers.integer("train.warmup", |c| &c.train.warmup, default, 0..=MAX_WORD)?;
    let steps_given = layers.given("train.steps", |c| &c.train.steps, Number::Is(0));
    if !given.is_given() || given.is_on_command_line() || !steps_given.is_on_command_line() {
        return Ok((given.value, Notes::default()));
    }
    let own_steps = layers.in_file(|c| &c.train.steps).and_then(|steps| match steps {
        Number::Is(steps) => u64::try_from(steps).ok(),
        Number::Not(_) => None,
    });
    let own_steps = own_steps.unwrap_or(default_steps).max(1);
    let scaled = given.value as f64 * (steps as f64 / own_steps as f64);
    let warmup = (scaled.round() as u64).min(MAX_WORD);
    let mut notes = Notes::default();
    if warmup != given.value {
        notes.0.push(format!(
            "warm-up of {warmup} updates: {} of {own_steps} in the task file, scaled to {steps}; --warmup sets it",
            given.value
        ));
    }
    Ok((warmup, notes))
}

/// The updates of the warm-up where none is given: the paper's, or half of a run that is shorter.
pub fn default_warmup(steps: u64) -> u64 {
    PAPER_WARMUP.min(steps / 2)
}

fn size(value: u64) -> usize {
    usize::try_from(value).expect("every count is checked to be below 2^32")
}

fn word(value: u64) -> u32 {
    u32::try_from(value).expect("every count is checked to be below 2^32")
}

fn words(range: RangeInclusive<u32>) -> RangeInclusive<u64> {
    u64::from(*range.start())..=u64::from(*range.end())
}
