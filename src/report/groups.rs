//! Runs that differ in the seed alone, together: settings of tasks as columns, variants of models as rows.

use super::run::Run;
use super::source::Material;
use super::style::Style;
use crate::stats::{Mean, Paired};
use std::collections::BTreeMap;

/// Fields that do not tell what is compared.
const NO_DIFFERENCE: [&str; 8] = [
    "train.seed",
    "train.eval_every",
    "train.checkpoint_every",
    "model.chunk",
    "data.validation",
    "data.path",
    "run.task",
    "run.model",
];

/// Fields with their values as text.
pub type Fields = Vec<(String, String)>;

/// A task with the values of its varied fields: a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The task's name.
    pub task: String,
    /// Varied fields of `[grammar]` and `[data]`.
    pub fields: Fields,
}

/// A model with the values of its varied fields: a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The model's name.
    pub model: String,
    /// Varied fields of `[model]` and `[train]`.
    pub fields: Fields,
    /// Colour and marker: those of the model.
    pub(super) style: Style,
}

/// The runs of a variant on a setting.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Place in [`Groups::settings`].
    pub setting: usize,
    /// Place in [`Groups::variants`].
    pub variant: usize,
    /// Places in [`Material::runs`], by seed.
    pub runs: Vec<usize>,
    /// Test accuracy over the seeds that are done.
    pub accuracy: Option<Mean>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// Columns.
    pub settings: Vec<Setting>,
    /// Rows, by model in the paper's order.
    pub variants: Vec<Variant>,
    /// What there is.
    pub cells: Vec<Cell>,
    /// Runs that are in no cell: their values of the selected fields are not the best ones.
    pub not_selected: usize,
}

fn short(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or(field)
}

/// Fields for reading: `vocab 13, depth 8`.
fn text(fields: &Fields) -> String {
    let part = |(field, value): &(String, String)| format!("{} {value}", short(field));
    fields.iter().map(part).collect::<Vec<_>>().join(", ")
}

impl Setting {
    /// For reading.
    pub fn label(&self) -> String {
        match text(&self.fields) {
            fields if fields.is_empty() => self.task.clone(),
            fields => format!("{}: {fields}", self.task),
        }
    }

    /// For reading, without the task.
    pub fn fields_text(&self) -> String {
        text(&self.fields)
    }
}

impl Variant {
    /// For reading.
    pub fn label(&self) -> String {
        match text(&self.fields) {
            fields if fields.is_empty() => self.model.clone(),
            fields => format!("{}, {fields}", self.model),
        }
    }
}

impl Groups {
    /// Groups all runs. Where a sweep has selected values of fields, the best ones alone count.
    pub fn new(material: &Material) -> Self {
        let all: Vec<BTreeMap<String, String>> = material.runs.iter().map(fields_of).collect();
        let varied = varied(material, &all);
        let mut keyed: Vec<(Setting, Variant, usize)> = Vec::new();
        let mut not_selected = 0;
        for (i, run) in material.runs.iter().enumerate() {
            if run.selected == Some(false) {
                not_selected += 1;
                continue;
            }
            let dropped = |field: &str| {
                run.selected == Some(true)
                    && material.sweeps.iter().any(|sweep| {
                        run.folder.starts_with(&sweep.path) && sweep.select.iter().any(|s| s == field)
                    })
            };
            let pick = |of_task: bool| -> Fields {
                let names = varied.iter().filter(|f| is_of_task(f) == of_task && !dropped(f));
                names
                    .filter_map(|f| Some((f.clone(), all[i].get(f)?.clone())))
                    .collect()
            };
            let setting = Setting {
                task: run.task.clone(),
                fields: pick(true),
            };
            let variant = Variant {
                model: run.model.clone(),
                fields: pick(false),
                style: Style::of(&run.model),
            };
            keyed.push((setting, variant, i));
        }
        let mut groups = Self {
            not_selected,
            ..Self::default()
        };
        for (setting, variant, _) in &keyed {
            if !groups.settings.contains(setting) {
                groups.settings.push(setting.clone());
            }
            if !groups.variants.contains(variant) {
                groups.variants.push(variant.clone());
            }
        }
        groups
            .settings
            .sort_by(|a, b| a.task.cmp(&b.task).then_with(|| by_fields(&a.fields, &b.fields)));
        groups.variants.sort_by(|a, b| {
            let place = |v: &Variant| (v.style.place, v.model.clone());
            place(a)
                .cmp(&place(b))
                .then_with(|| by_fields(&a.fields, &b.fields))
        });
        let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (setting, variant, run) in keyed {
            let place = |found: Option<usize>| found.expect("it was put there");
            let s = place(groups.settings.iter().position(|s| *s == setting));
            let v = place(groups.variants.iter().position(|v| *v == variant));
            cells.entry((s, v)).or_default().push(run);
        }
        for ((setting, variant), mut runs) in cells {
            runs.sort_by_key(|&i| material.runs[i].config.train.seed);
            let accuracy: Vec<f64> = runs
                .iter()
                .filter_map(|&i| Some(material.runs[i].done()?.accuracy))
                .collect();
            groups.cells.push(Cell {
                setting,
                variant,
                runs,
                accuracy: Mean::of(&accuracy),
            });
        }
        groups
    }

    /// The cells of a setting, by variant.
    pub fn of_setting(&self, setting: usize) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.setting == setting)
    }

    /// The cell of a variant on a setting.
    pub fn cell(&self, setting: usize, variant: usize) -> Option<&Cell> {
        self.of_setting(setting).find(|cell| cell.variant == variant)
    }

    /// The variant that a cell is of.
    pub fn variant(&self, cell: &Cell) -> &Variant {
        &self.variants[cell.variant]
    }
}

impl Cell {
    /// Those of its runs that are done.
    pub fn done<'a>(&'a self, material: &'a Material) -> impl Iterator<Item = &'a Run> {
        self.runs
            .iter()
            .map(|&i| &material.runs[i])
            .filter(|run| run.done().is_some())
    }

    /// Seed and accuracy of what is done.
    pub fn seeds(&self, material: &Material) -> Vec<(u64, f64)> {
        self.done(material)
            .filter_map(|run| Some((run.config.train.seed, run.done()?.accuracy)))
            .collect()
    }

    /// The mean over seeds of a number of a result.
    pub fn mean(&self, material: &Material, value: impl Fn(&Run) -> Option<f64>) -> Option<Mean> {
        let values: Vec<f64> = self
            .done(material)
            .filter_map(value)
            .filter(|v| v.is_finite())
            .collect();
        Mean::of(&values)
    }
}

/// Whether two cells of a setting are apart: their difference, paired by seed, with an interval that leaves out 0.
/// `None` where there are too few seeds to tell.
pub(super) fn apart(first: &Cell, second: &Cell, material: &Material) -> Option<bool> {
    let paired = Paired::of(&first.seeds(material), &second.seeds(material))?;
    let [low, high] = paired.difference.interval()?;
    Some(low > 0.0 || high < 0.0)
}

fn is_of_task(field: &str) -> bool {
    field.starts_with("grammar.") || field.starts_with("data.")
}

fn by_fields(a: &Fields, b: &Fields) -> std::cmp::Ordering {
    let number = |text: &str| text.parse::<f64>().ok();
    for ((_, a), (_, b)) in a.iter().zip(b) {
        let order = match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Every field with its value as text.
fn fields_of(run: &Run) -> BTreeMap<String, String> {
    let text = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        toml::Value::Float(x) => x.to_string(),
        other => other.to_string(),
    };
    let fields = run.config.fields().into_iter();
    fields.map(|(name, value)| (name, text(value))).collect()
}

/// Fields that tell runs of one task and model apart besides the seed, in the order of a task file.
fn varied(material: &Material, all: &[BTreeMap<String, String>]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut first: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    // What differs with the model alone, such as a width of equal budget, is no field of the comparison: so each task and
    // model is looked at by itself. The grammar's seed goes with the seed unless it differs where that does not.
    let grammar_follows = all.iter().all(|f| f.get("grammar.seed") == f.get("train.seed"));
    for (i, run) in material.runs.iter().enumerate() {
        let other = *first.entry((&run.task, &run.model)).or_insert(i);
        for field in all[i].keys().chain(all[other].keys()) {
            let ignored =
                NO_DIFFERENCE.contains(&field.as_str()) || field == "grammar.seed" && grammar_follows;
            let differs = all[i].get(field) != all[other].get(field);
            if differs && !ignored && !found.contains(field) {
                found.push(field.clone());
            }
        }
    }
    const SECTIONS: [&str; 4] = ["grammar.", "data.", "model.", "train."];
    let place = |field: &str| SECTIONS.iter().position(|s| field.starts_with(s));
    const FIRST: [&str; 4] = ["vocab", "ambiguities", "depth", "d_model"];
    let rank = |field: &str| {
        FIRST
            .iter()
            .position(|f| *f == short(field))
            .unwrap_or(FIRST.len())
    };
    found.sort_by(|a, b| (place(a), rank(a), a).cmp(&(place(b), rank(b), b)));
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn seeds_are_together_and_fields_are_where_they_belong() {
        let material = material();
        let groups = Groups::new(&material);
        let settings: Vec<String> = groups.settings.iter().map(Setting::label).collect();
        assert_eq!(
            settings,
            [
                "tiny: vocab 9, ambiguities 6, depth 4",
                "tiny: vocab 13, ambiguities 12, depth 8"
            ]
        );
        let variants: Vec<String> = groups.variants.iter().map(Variant::label).collect();
        assert_eq!(variants, ["transformer", "gla", "gated_delta_net"]);
        assert_eq!(groups.cells.len(), 6);
        for cell in &groups.cells {
            let seeds: Vec<u64> = cell.seeds(&material).iter().map(|(seed, _)| *seed).collect();
            assert_eq!(seeds, [1, 2, 3]);
        }
    }

    #[test]
    fn variants_are_apart_only_beyond_their_paired_interval() {
        let material = material();
        let groups = Groups::new(&material);
        let [a, b, c] = [0, 1, 2].map(|variant| groups.cell(0, variant).unwrap());
        assert_eq!(apart(a, c, &material), Some(true));
        assert_eq!(apart(a, a, &material), Some(false));
        let one = Cell {
            runs: b.runs[..1].to_vec(),
            ..b.clone()
        };
        assert_eq!(apart(&one, c, &material), None);
    }
}
