//! A sweep file as it lies: tasks, models, a grid of fields, and what is done with the runs.
//!
//! ```toml
//! tasks = ["task1.toml"]                  # beside the sweep file, or the names of built-in ones
//! models = ["mamba", "gated_delta_net"]   # left out where model.layers lists blocks
//! keep = "results"                        # "weights": the last checkpoint too; "all": all that `train` leaves
//! select = "train.lr"                     # which of its values is best: by the last validation accuracy
//! match = { params = 85e6 }               # or state_bytes: a width for each model, instead of model.d_model
//!
//! [set]                                   # fields that are the same in all runs
//! "train.batch" = 64
//!
//! [grid]                                  # every combination is a run
//! "model.d_model" = [256, 512]
//! "train.lr" = [5e-4, 1e-3]
//! "grammar.vocab, grammar.ambiguities, grammar.depth" = [[21, 20, 20], [41, 40, 40]]   # these go together
//! seed = [1, 2, 3, 4]
//!
//! [[part]]                                # any number of them, each a grid of its own: what a part does not say
//! tasks = ["task3.toml"]                  # is as above, and a grid's fields replace those of the same name
//! ```

use crate::error::{Error, Result, UserError};
use crate::files;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Spanned, Value};

/// Largest sweep file.
const MOST_BYTES: u64 = 1 << 20;

/// A sweep file, read and checked for its form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SweepFile {
    /// The file, as errors name it.
    pub(super) place: String,
    pub(super) parts: Vec<Part>,
    /// Fields whose best values are chosen.
    pub(super) select: Vec<String>,
    pub(super) keep: Keep,
}

/// One grid.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Paths, relative to the working folder; or names of built-in tasks.
    pub(super) tasks: Vec<PathBuf>,
    /// Empty where the tasks' layers say which blocks.
    pub(super) models: Vec<String>,
    /// Fields with one value, and their line.
    pub(super) set: Vec<(String, Value, usize)>,
    pub(super) axes: Vec<Axis>,
    pub(super) budget: Option<Budget>,
}

/// Fields that vary together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) fields: Vec<String>,
    /// For each point a value for each field.
    pub(super) points: Vec<Vec<Value>>,
    pub(super) line: usize,
}

/// What stays of a run that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Numbers and curves.
    #[default]
    Results,
    /// These and the last checkpoint.
    Weights,
    /// All that `train` leaves.
    All,
}

/// What a width is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Budget {
    /// Trainable values.
    Params(f64),
    /// Bytes that a sequence's state takes, token by token, at the end of the longest training sample.
    StateBytes(f64),
}

impl Budget {
    pub(super) fn wanted(self) -> f64 {
        match self {
            Self::Params(n) | Self::StateBytes(n) => n,
        }
    }
}

type Fields = BTreeMap<String, Spanned<Value>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSweep {
    tasks: Option<Vec<Spanned<String>>>,
    models: Option<Vec<Spanned<String>>>,
    select: Option<Spanned<Select>>,
    #[serde(default)]
    keep: Keep,
    #[serde(rename = "match")]
    budget: Option<Spanned<Budget>>,
    #[serde(default)]
    set: Fields,
    #[serde(default)]
    grid: Fields,
    #[serde(default)]
    part: Vec<Spanned<RawPart>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPart {
    tasks: Option<Vec<Spanned<String>>>,
    models: Option<Vec<Spanned<String>>>,
    #[serde(rename = "match")]
    budget: Option<Spanned<Budget>>,
    #[serde(default)]
    set: Fields,
    #[serde(default)]
    grid: Fields,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Select {
    One(String),
    Several(Vec<String>),
}

impl SweepFile {
    /// Reads a sweep file.
    ///
    /// # Errors
    /// [`UserError`] with file, line, field and what is allowed.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = files::read_text(path, MOST_BYTES).map_err(|e| UserError::Folder {
            path: path.to_owned(),
            reason: format!("cannot read this sweep file: {e}"),
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let line = |at: usize| {
            1 + text.as_bytes()[..at.min(text.len())]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
        };
        let raw: RawSweep = toml::from_str(text).map_err(|error| UserError::Malformed {
            place: match error.span() {
                Some(span) => format!("{place}:{}", line(span.start)),
                None => place.clone(),
            },
            message: error.to_string().trim_end().to_owned(),
        })?;
        let reader = Reader {
            place: &place,
            folder: path.parent().unwrap_or(Path::new("")),
            line: &line,
        };
        let whole = RawPart {
            tasks: raw.tasks,
            models: raw.models,
            budget: raw.budget,
            set: raw.set,
            grid: raw.grid,
        };
        let parts = if raw.part.is_empty() {
            vec![reader.part(&whole, None, 1)?]
        } else {
            let parts = raw.part.iter();
            parts
                .map(|part| reader.part(part.get_ref(), Some(&whole), line(part.span().start)))
                .collect::<Result<_>>()?
        };
        let select = match raw.select {
            None => Vec::new(),
            Some(select) => reader.select(select, &parts)?,
        };
        Ok(Self {
            place,
            parts,
            select,
            keep: raw.keep,
        })
    }
}

struct Reader<'a> {
    place: &'a str,
    folder: &'a Path,
    line: &'a dyn Fn(usize) -> usize,
}

impl Reader<'_> {
    fn refuse(&self, line: usize, field: &str, found: impl ToString, allowed: &str) -> Error {
        UserError::Value {
            place: format!("{}:{line}", self.place),
            field: field.to_owned(),
            found: found.to_string(),
            allowed: allowed.to_owned(),
        }
        .into()
    }

    /// A part, with what it leaves out taken from `whole`.
    fn part(&self, part: &RawPart, whole: Option<&RawPart>, line: usize) -> Result<Part> {
        let whole = whole.unwrap_or(part);
        let names = |own: &Option<Vec<Spanned<String>>>, other: &Option<Vec<Spanned<String>>>| {
            own.clone().or_else(|| other.clone())
        };
        let tasks = names(&part.tasks, &whole.tasks).unwrap_or_default();
        if tasks.is_empty() {
            return Err(self.refuse(line, "tasks", "[]", "at least one task file or built-in task"));
        }
        let models = names(&part.models, &whole.models);
        if models.as_ref().is_some_and(Vec::is_empty) {
            let allowed = "at least one model; left out where model.layers lists blocks";
            return Err(self.refuse(line, "models", "[]", allowed));
        }
        let mut set = Vec::new();
        for (field, value, line) in self.fields(&whole.set, &part.set) {
            set.push((field, value, line));
        }
        let mut axes = Vec::new();
        for (fields, value, line) in self.fields(&whole.grid, &part.grid) {
            axes.push(self.axis(&fields, value, line)?);
        }
        if axes.is_empty() {
            let allowed = "at least one field with a list of values, such as seed = [1, 2, 3]";
            return Err(self.refuse(line, "grid", "empty", allowed));
        }
        let varied: Vec<(&String, usize)> = axes
            .iter()
            .flat_map(|axis| axis.fields.iter().map(|field| (field, axis.line)))
            .collect();
        for (i, (field, line)) in varied.iter().enumerate() {
            if varied[..i].iter().any(|(other, _)| other == field) {
                return Err(self.refuse(*line, field, "twice in the grid", "once"));
            }
        }
        let constant = |(field, _, line): &&(String, Value, usize)| {
            varied
                .iter()
                .any(|(other, _)| *other == field)
                .then_some((field.clone(), *line))
        };
        if let Some((field, line)) = set.iter().find_map(|given| constant(&given)) {
            return Err(self.refuse(line, &field, "in [set] and in [grid]", "one of the two"));
        }
        let budget = part.budget.clone().or_else(|| whole.budget.clone());
        if let Some(budget) = &budget {
            let line = (self.line)(budget.span().start);
            let wanted = budget.get_ref().wanted();
            if !(wanted.is_finite() && wanted >= 1.0) {
                return Err(self.refuse(line, "match", wanted, "1 or more"));
            }
            let given = varied
                .iter()
                .map(|(field, _)| field.as_str())
                .chain(set.iter().map(|(f, ..)| f.as_str()));
            if given.into_iter().any(|field| field == "model.d_model") {
                let allowed = "left out, because match chooses the widths";
                return Err(self.refuse(line, "model.d_model", "given beside match", allowed));
            }
        }
        Ok(Part {
            tasks: tasks.iter().map(|task| self.task(task.get_ref())).collect(),
            models: models
                .unwrap_or_default()
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
            set,
            axes,
            budget: budget.map(Spanned::into_inner),
        })
    }

    /// A task file beside the sweep file; what is not there is looked for from the working folder, or built in.
    fn task(&self, name: &str) -> PathBuf {
        let beside = self.folder.join(name);
        if beside.is_file() {
            beside
        } else {
            PathBuf::from(name)
        }
    }

    /// The fields of two tables in the order of the file, with their lines; the second replaces those of the same name.
    fn fields(&self, first: &Fields, second: &Fields) -> Vec<(String, Value, usize)> {
        let mut found: Vec<(String, Value, usize)> = Vec::new();
        for table in [first, second] {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(_, value)| value.span().start);
            for (name, value) in entries {
                let line = (self.line)(value.span().start);
                for (name, value) in flatten(name, value.get_ref()) {
                    match found.iter_mut().find(|(other, ..)| *other == name) {
                        Some(old) => *old = (name, value, line),
                        None => found.push((name, value, line)),
                    }
                }
            }
        }
        found
    }

    fn axis(&self, names: &str, value: Value, line: usize) -> Result<Axis> {
        let fields: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        let Value::Array(values) = value else {
            let allowed = "a list of values; what is the same in all runs stands in [set]";
            return Err(self.refuse(line, names, value, allowed));
        };
        if values.is_empty() {
            return Err(self.refuse(line, names, "[]", "at least one value"));
        }
        let mut points = Vec::new();
        for value in values {
            let point = match value {
                value if fields.len() == 1 => vec![value],
                Value::Array(point) if point.len() == fields.len() => point,
                other => {
                    let allowed = format!("lists of {} values, one for each field", fields.len());
                    return Err(self.refuse(line, names, other, &allowed));
                }
            };
            points.push(point);
        }
        Ok(Axis { fields, points, line })
    }

    fn select(&self, select: Spanned<Select>, parts: &[Part]) -> Result<Vec<String>> {
        let line = (self.line)(select.span().start);
        let fields = match select.into_inner() {
            Select::One(field) => vec![field],
            Select::Several(fields) => fields,
        };
        let varied: Vec<&str> = parts
            .iter()
            .flat_map(|part| &part.axes)
            .flat_map(|axis| &axis.fields)
            .map(String::as_str)
            .filter(|field| *field != "seed")
            .collect();
        match fields.iter().find(|field| !varied.contains(&field.as_str())) {
            Some(field) => {
                let mut allowed = varied.clone();
                allowed.sort_unstable();
                allowed.dedup();
                let allowed = format!("a field of the grid: {}", allowed.join(", "));
                Err(self.refuse(line, "select", field, &allowed))
            }
            None => Ok(fields),
        }
    }
}

/// `train.lr = [..]` without quotes is a table in a table. A value that is a table, such as a gap, stays one.
fn flatten(name: &str, value: &Value) -> Vec<(String, Value)> {
    const SECTIONS: [&str; 4] = ["grammar", "data", "model", "train"];
    match value {
        Value::Table(table) if SECTIONS.contains(&name) => {
            let field = |(key, value): (&String, &Value)| (format!("{name}.{key}"), value.clone());
            table.iter().map(field).collect()
        }
        _ => vec![(name.to_owned(), value.clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SweepFile> {
        SweepFile::parse(text, Path::new("grids/a.toml"))
    }

    fn refusal(text: &str) -> String {
        let error = parse(text).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    const HEAD: &str = "tasks = [\"task1\"]\nmodels = [\"mamba\"]\n";

    #[test]
    fn fields_keep_the_order_of_the_file() {
        let file = parse(&format!(
            "{HEAD}select = \"train.lr\"\nkeep = \"all\"\n[grid]\n\"train.lr\" = [1e-3, 2e-3]\n\"grammar.vocab, grammar.depth\" = \
             [[3, 4], [5, 6]]\nmodel.d_model = [8]\nseed = [1, 2]\n[set]\n\"data.gap\" = {{ uniform = [0.1, 1.0] }}\n"
        ))
        .unwrap();
        let [part] = &file.parts[..] else {
            panic!("one part")
        };
        let fields: Vec<_> = part.axes.iter().map(|axis| axis.fields.join("&")).collect();
        assert_eq!(
            fields,
            ["train.lr", "grammar.vocab&grammar.depth", "model.d_model", "seed"]
        );
        assert_eq!(part.axes[1].points[1], [Value::Integer(5), Value::Integer(6)]);
        assert_eq!((part.set[0].0.as_str(), part.set[0].2), ("data.gap", 11));
        assert_eq!((file.select, file.keep), (vec!["train.lr".to_owned()], Keep::All));
    }

    #[test]
    fn parts_inherit_and_replace() {
        let file = parse(&format!(
            "{HEAD}[grid]\n\"model.d_model\" = [8, 16]\nseed = [1]\n[[part]]\n[[part]]\ntasks = [\"task3\"]\n[part.grid]\n\
             \"model.d_model\" = [32]\n\"train.lr\" = [1e-3]\n"
        ))
        .unwrap();
        assert_eq!(file.parts[0].axes.len(), 2);
        assert_eq!(file.parts[1].tasks, [PathBuf::from("task3")]);
        let fields: Vec<_> = file.parts[1]
            .axes
            .iter()
            .map(|axis| axis.fields[0].as_str())
            .collect();
        assert_eq!(fields, ["model.d_model", "seed", "train.lr"]);
        assert_eq!(file.parts[1].axes[0].points, [[Value::Integer(32)]]);
        assert_eq!(file.parts[1].models, ["mamba"]);
    }

    #[test]
    fn refusals_name_line_field_and_what_is_allowed() {
        for (text, expected) in [
            (
                "models = [\"mamba\"]\n[grid]\nseed = [1]\n".to_owned(),
                "tasks = []",
            ),
            (
                "tasks = [\"a\"]\nmodels = []\n[grid]\nseed = [1]\n".to_owned(),
                "at least one model",
            ),
            (HEAD.to_owned(), "grid = empty"),
            (format!("{HEAD}[grid]\n"), "grid = empty"),
            (
                format!("{HEAD}[grid]\nseed = []\n"),
                "a.toml:4: seed = []: allowed: at least one value",
            ),
            (
                format!("{HEAD}[grid]\nseed = 3\n"),
                "a.toml:4: seed = 3: allowed: a list",
            ),
            (format!("{HEAD}[grid]\n\"a, b\" = [[1]]\n"), "lists of 2 values"),
            (
                format!("{HEAD}[grid]\n\"a, a\" = [[1, 2]]\n"),
                "a = twice in the grid",
            ),
            (
                format!("{HEAD}[set]\nseed = 1\n[grid]\nseed = [1]\n"),
                "a.toml:4: seed = in [set] and in [grid]",
            ),
            (format!("{HEAD}[grids]\nseed = [1]\n"), "unknown field `grids`"),
            (format!("{HEAD}keep = \"some\"\n[grid]\nseed = [1]\n"), "a.toml:3"),
            (
                format!("{HEAD}select = \"train.lr\"\n[grid]\nseed = [1]\n"),
                "a field of the grid",
            ),
            (
                format!("{HEAD}match = {{ params = 1e6 }}\n[grid]\n\"model.d_model\" = [8]\n"),
                "a.toml:3: model.d_model = given beside match",
            ),
            (
                format!("{HEAD}match = {{ params = -1 }}\n[grid]\nseed = [1]\n"),
                "match = -1",
            ),
            (
                format!("{HEAD}match = {{ flops = 1 }}\n[grid]\nseed = [1]\n"),
                "params",
            ),
        ] {
            let message = refusal(&text);
            assert!(message.contains(expected), "{text}\n{message}");
        }
    }
}
