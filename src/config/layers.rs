//! The file and the command line as layers of half-filled configurations, each value with its place.

use super::{Anneal, DropoutMode};
use crate::error::{Error, Result, UserError};
use crate::models::{DecayKind, InputGate};
use crate::tasks::{Splits, Targets};
use crate::tensor::Precision;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;

const COMMAND_LINE: &str = "command line";

/// A field that may be missing.
pub(super) type Field<T> = Option<Spanned<T>>;

/// A number, or what was given in its place: -1, 2^64 and `abc` are all refused by us, with what is allowed.
#[derive(Debug, Clone)]
pub(super) enum Number<T> {
    Is(T),
    Not(String),
}

impl<T: Display> Display for Number<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(number) => number.fmt(f),
            Self::Not(text) => text.fmt(f),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor(PhantomData))
    }
}

struct NumberVisitor<T>(PhantomData<T>);

impl<T: DeserializeOwned> NumberVisitor<T> {
    fn of(value: toml::Value) -> Number<T> {
        let text = value.to_string();
        T::deserialize(value).map_or(Number::Not(text), Number::Is)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for NumberVisitor<T> {
    type Value = Number<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Self::Value, E> {
        Ok(Self::of(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Self::Value, E> {
        Ok(Self::of(value.into()))
    }

    /// No TOML value holds it.
    fn visit_i128<E>(self, value: i128) -> std::result::Result<Self::Value, E> {
        Ok(Number::Not(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Self::Value, E> {
        Ok(Self::of(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Self::Value, E> {
        Ok(Self::of(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<Self::Value, A::Error> {
        toml::Value::deserialize(SeqAccessDeserializer::new(list)).map(Self::of)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> std::result::Result<Self::Value, A::Error> {
        toml::Value::deserialize(MapAccessDeserializer::new(table)).map(Self::of)
    }
}

/// A task file as it lies.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) run: RawRun,
    pub(super) grammar: RawGrammar,
    pub(super) data: RawData,
    pub(super) model: RawModel,
    pub(super) train: RawTrain,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRun {
    pub(super) task: Field<String>,
    pub(super) model: Field<String>,
    pub(super) grammar: Field<String>,
    pub(super) data: Field<String>,
    pub(super) precision: Field<Precision>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGrammar {
    pub(super) vocab: Field<Number<i64>>,
    pub(super) ambiguities: Field<Number<i64>>,
    pub(super) depth: Field<Number<i64>>,
    pub(super) seed: Field<Number<i64>>,
    pub(super) file: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawData {
    pub(super) length: Field<Number<i64>>,
    pub(super) splits: Field<Splits>,
    pub(super) train: Field<Number<i64>>,
    pub(super) validation: Field<Number<i64>>,
    pub(super) test: Field<Number<i64>>,
    pub(super) targets: Field<Targets>,
    pub(super) gap: Field<toml::Value>,
    pub(super) test_gap: Field<toml::Value>,
    pub(super) noise: Field<Number<f64>>,
    pub(super) nongrammatical: Field<bool>,
    pub(super) gap_start: Field<Number<i64>>,
    pub(super) gap_prob: Field<Number<f64>>,
    pub(super) path: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawModel {
    pub(super) d_model: Field<Number<i64>>,
    pub(super) layers: Field<toml::Value>,
    pub(super) heads: Field<Number<i64>>,
    pub(super) householder: Field<Number<i64>>,
    pub(super) chunk: Field<Number<i64>>,
    pub(super) d_state: Field<Number<i64>>,
    pub(super) expand: Field<Number<i64>>,
    pub(super) conv: Field<Number<i64>>,
    pub(super) decay: Field<DecayKind>,
    pub(super) data_dependent_decay: Field<bool>,
    pub(super) input_gate: Field<InputGate>,
    pub(super) readout_gate: Field<bool>,
    pub(super) channel_mixing: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTrain {
    pub(super) seed: Field<Number<i64>>,
    pub(super) batch: Field<Number<i64>>,
    pub(super) steps: Field<Number<i64>>,
    pub(super) lr: Field<Number<f64>>,
    pub(super) warmup: Field<Number<i64>>,
    pub(super) schedule: Field<Anneal>,
    pub(super) clip: Field<Number<f64>>,
    pub(super) dropout: Field<Number<f64>>,
    pub(super) dropout_mode: Field<DropoutMode>,
    pub(super) eval_every: Field<Number<i64>>,
    pub(super) checkpoint_every: Field<Number<i64>>,
}

/// A value with the field's full name and where it stands.
pub(super) struct Given<T> {
    pub(super) value: T,
    field: &'static str,
    place: Option<String>,
    /// For the default's error: the file.
    file: String,
}

impl<T> Given<T> {
    pub(super) fn is_given(&self) -> bool {
        self.place.is_some()
    }

    /// Whether the field has this name.
    pub(super) fn is(&self, field: &str) -> bool {
        self.field == field
    }

    pub(super) fn is_on_command_line(&self) -> bool {
        self.place.as_deref() == Some(COMMAND_LINE)
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Given<U> {
        Given {
            value: f(self.value),
            field: self.field,
            place: self.place,
            file: self.file,
        }
    }
}

impl<T: Display> Given<T> {
    /// The error for this value.
    pub(super) fn refuse(&self, allowed: &str) -> Error {
        let (place, found) = match &self.place {
            // On the command line what is no TOML is a string without quotes.
            Some(place) if place == COMMAND_LINE => {
                (place.clone(), self.value.to_string().trim_matches('"').to_owned())
            }
            Some(place) => (place.clone(), self.value.to_string()),
            None => (self.file.clone(), format!("{} (the default)", self.value)),
        };
        UserError::Value {
            place,
            field: self.field.to_owned(),
            found,
            allowed: allowed.to_owned(),
        }
        .into()
    }

    pub(super) fn check(self, is_allowed: impl FnOnce(&T) -> bool, allowed: &str) -> Result<Self> {
        if is_allowed(&self.value) {
            Ok(self)
        } else {
            Err(self.refuse(allowed))
        }
    }
}

impl<T: Display + Copy> Given<Number<T>> {
    /// Refuses what is not allowed and what is no number, the default included.
    pub(super) fn number(self, is_allowed: impl FnOnce(T) -> bool, allowed: &str) -> Result<Given<T>> {
        match self.value {
            Number::Is(number) if is_allowed(number) => Ok(self.map(|_| number)),
            _ => Err(self.refuse(allowed)),
        }
    }
}

impl Given<Number<i64>> {
    /// Refuses what is not in the range, the default included.
    pub(super) fn within(self, range: RangeInclusive<u64>) -> Result<Given<u64>> {
        let allowed = format!("an integer from {} to {}", range.start(), range.end());
        let given = self.number(|v| u64::try_from(v).is_ok_and(|v| range.contains(&v)), &allowed)?;
        Ok(given.map(i64::unsigned_abs))
    }
}

enum Source {
    /// Start of each line, in bytes.
    File {
        lines: Vec<usize>,
    },
    CommandLine,
}

/// What was given, the file first; later layers win.
pub(super) struct Layers {
    file: String,
    folder: PathBuf,
    layers: Vec<(Source, RawConfig)>,
}

impl Layers {
    /// The file's layer. `place` is its name in errors, `folder` what its paths are relative to.
    pub(super) fn from_file(place: String, folder: &Path, text: &str) -> Result<Self> {
        let lines: Vec<usize> = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let raw = toml::from_str(text).map_err(|error| {
            let place = match error.span() {
                Some(span) => format!("{place}:{}", line_of(&lines, span.start)),
                None => place.clone(),
            };
            // The caret and the text of the line are in the error's own form.
            let message = error.to_string().trim_end().to_owned();
            UserError::Malformed { place, message }
        })?;
        Ok(Self {
            file: place,
            folder: folder.to_owned(),
            layers: vec![(Source::File { lines }, raw)],
        })
    }

    /// Adds a layer of one field from the command line.
    pub(super) fn override_field(&mut self, key: &str, value: &str) -> Result<()> {
        let malformed = |message: &str| UserError::Malformed {
            place: COMMAND_LINE.to_owned(),
            message: format!("{key} = {value}: {message}"),
        };
        let Some((section, name)) = key.split_once('.') else {
            return Err(malformed("a field is named section.key, such as train.lr").into());
        };
        let text = toml::Table::from_iter([(
            section.to_owned(),
            toml::Table::from_iter([(name.to_owned(), parse_value(value))]).into(),
        )])
        .to_string();
        let raw = toml::from_str(&text).map_err(|error| malformed(error.message()))?;
        self.layers.push((Source::CommandLine, raw));
        Ok(())
    }

    /// The last layer's value, with its place and the folder that a path in it is relative to.
    fn find<T>(&self, pick: impl Fn(&RawConfig) -> &Field<T>) -> Option<(&T, String, &Path)> {
        self.layers.iter().rev().find_map(|(source, raw)| {
            let spanned = pick(raw).as_ref()?;
            let (place, folder) = match source {
                Source::File { lines } => {
                    let line = line_of(lines, spanned.span().start);
                    (format!("{}:{line}", self.file), self.folder.as_path())
                }
                Source::CommandLine => (COMMAND_LINE.to_owned(), Path::new("")),
            };
            Some((spanned.get_ref(), place, folder))
        })
    }

    /// Whether any layer has the field.
    pub(super) fn has<T>(&self, pick: impl Fn(&RawConfig) -> &Field<T>) -> bool {
        self.find(pick).is_some()
    }

    /// A field, or its default.
    pub(super) fn given<T: Clone>(
        &self,
        field: &'static str,
        pick: impl Fn(&RawConfig) -> &Field<T>,
        default: T,
    ) -> Given<T> {
        let found = self.find(pick);
        Given {
            field,
            file: self.file.clone(),
            place: found.as_ref().map(|(_, place, _)| place.clone()),
            value: found.map_or(default, |(value, ..)| value.clone()),
        }
    }

    /// A field that has no default.
    pub(super) fn optional<T: Clone>(&self, pick: impl Fn(&RawConfig) -> &Field<T>) -> Option<T> {
        self.find(pick).map(|(value, ..)| value.clone())
    }

    /// What the file alone has, if it has the field.
    pub(super) fn in_file<T: Clone>(&self, pick: impl Fn(&RawConfig) -> &Field<T>) -> Option<T> {
        let (_, raw) = self.layers.first()?;
        Some(pick(raw).as_ref()?.get_ref().clone())
    }

    /// An integer in a range, or its default.
    pub(super) fn integer(
        &self,
        field: &'static str,
        pick: impl Fn(&RawConfig) -> &Field<Number<i64>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<Given<u64>> {
        let default = i64::try_from(default).expect("defaults are below 2^32");
        self.given(field, pick, Number::Is(default)).within(range)
    }

    /// An integer in a range that has no default.
    pub(super) fn optional_integer(
        &self,
        field: &'static str,
        pick: impl Fn(&RawConfig) -> &Field<Number<i64>>,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>> {
        if !self.has(&pick) {
            return Ok(None);
        }
        Ok(Some(self.integer(field, pick, *range.start(), range)?.value))
    }

    /// A field with several forms, or its default. The type's own refusal says what is allowed.
    pub(super) fn parsed<T: DeserializeOwned>(
        &self,
        field: &'static str,
        pick: impl Fn(&RawConfig) -> &Field<toml::Value>,
        default: T,
    ) -> Result<T> {
        if !self.has(&pick) {
            return Ok(default);
        }
        let given = self.given(field, pick, toml::Value::Boolean(false));
        let parsed = T::deserialize(given.value.clone());
        parsed.map_err(|error| given.refuse(error.message()))
    }

    /// Whether the file names a grammar file, or stored samples that have their grammar with them.
    pub(super) fn has_grammar_file(&self) -> bool {
        self.has(|c| &c.grammar.file) || self.has(|c| &c.data.path)
    }

    /// A path as an absolute one, and whether it was given on the command line. `what` is what it should lead to.
    pub(super) fn path(
        &self,
        field: &'static str,
        pick: impl Fn(&RawConfig) -> &Field<String>,
        what: &str,
    ) -> Result<Option<(PathBuf, bool)>> {
        let Some((path, place, folder)) = self.find(pick) else {
            return Ok(None);
        };
        let refuse = |allowed: String| UserError::Value {
            place: place.clone(),
            field: field.to_owned(),
            found: format!("{path:?}"),
            allowed,
        };
        if path.is_empty() {
            return Err(refuse(format!("the path of {what}")).into());
        }
        let path = std::path::absolute(folder.join(path)).map_err(|e| refuse(format!("a path ({e})")))?;
        if path.to_str().is_none() {
            return Err(refuse("a path in UTF-8, the folder of the task file included".to_owned()).into());
        }
        Ok(Some((path, place == COMMAND_LINE)))
    }
}

/// Replaces the key `seed` by the fields that it stands for.
pub(super) fn expand_seed(overrides: &[(String, String)], grammar_file: bool) -> Vec<(String, String)> {
    let names = |key: &str| overrides.iter().any(|(k, _)| k == key);
    let keep_grammar = grammar_file || names("grammar.seed") || names("grammar.file") || names("data.path");
    let mut fields = Vec::new();
    for (key, value) in overrides {
        if key == "seed" {
            fields.push(("train.seed".to_owned(), value.clone()));
            if !keep_grammar {
                fields.push(("grammar.seed".to_owned(), value.clone()));
            }
        } else {
            fields.push((key.clone(), value.clone()));
        }
    }
    fields
}

/// A value in TOML; what is none is a string, so that `--set train.schedule=cosine` needs no quotes.
fn parse_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"));
    match parsed.map(|mut table| (table.remove("value"), table.is_empty())) {
        Ok((Some(value), true)) => value,
        _ => toml::Value::String(text.to_owned()),
    }
}

/// Line number, from 1, of a byte.
fn line_of(lines: &[usize], at: usize) -> usize {
    lines.partition_point(|&start| start <= at)
}
