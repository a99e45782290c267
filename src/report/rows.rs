//! The table of all runs: what it shows, and the same in full for download.

use super::format;
use super::groups::Groups;
use super::run::Run;
use super::source::Material;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// Its name, as `results.csv` has it.
    pub(super) key: String,
    /// Its unit; empty for counts and text.
    pub(super) unit: &'static str,
    /// Whether it holds numbers.
    pub(super) number: bool,
    /// Whether it is shown before somebody chooses.
    pub(super) shown: bool,
}

/// A value of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    /// For sorting and copying: the number, or the text.
    pub(super) raw: String,
    /// For reading.
    pub(super) text: String,
    /// What stands below it.
    pub(super) below: String,
    /// Whether it is the best of its setting.
    pub(super) best: bool,
}

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The model, for the legend.
    pub(super) model: String,
    /// In the order of the columns.
    pub(super) values: Vec<Shown>,
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Columns.
    pub(super) columns: Vec<Column>,
    /// Runs.
    pub(super) rows: Vec<Row>,
}

impl Rows {
    /// Of all runs.
    pub(super) fn new(groups: &Groups, material: &Material) -> Self {
        let fields = varied(groups);
        let mut columns = Vec::new();
        let mut add = |key: &str, unit, number, shown| {
            columns.push(Column {
                key: key.to_owned(),
                unit,
                number,
                shown,
            });
        };
        add("run_id", "", false, true);
        add("task", "", false, true);
        add("model", "", false, true);
        for field in &fields {
            add(field, "", true, true);
        }
        add("seed", "", true, true);
        add("status", "", false, true);
        add("accuracy", "%", true, true);
        add("loss", "nats", true, true);
        for key in ["chance", "baseline_n1", "baseline_n2", "ceiling"] {
            add(key, "%", true, key == "ceiling");
        }
        add("d_model", "", true, false);
        add("layers", "", true, false);
        add("lr", "", true, false);
        add("steps", "updates", true, false);
        add("params", "", true, true);
        add("state_bytes", "bytes", true, true);
        add("wall_s", "s", true, true);
        add("tokens_per_s", "1/s", true, false);
        add("peak_bytes", "bytes", true, false);
        add("adapter", "", false, false);
        add("precision", "", false, false);
        add("commit", "", false, false);
        add("selected", "", false, false);
        let best = best_runs(groups, material);
        let rows = material.runs.iter().enumerate().map(|(i, run)| {
            let values = columns
                .iter()
                .map(|column| value(run, &column.key, best.contains(&i), groups, i));
            Row {
                model: run.model.clone(),
                values: values.collect(),
            }
        });
        let rows = rows.collect();
        Self { columns, rows }
    }
}

/// Varied fields of settings and variants.
fn varied(groups: &Groups) -> Vec<String> {
    let settings = groups.settings.iter().flat_map(|s| &s.fields);
    let variants = groups.variants.iter().flat_map(|v| &v.fields);
    super::head::unique(settings.chain(variants).map(|(field, _)| field.clone()))
}

/// The run with the highest accuracy of each setting.
fn best_runs(groups: &Groups, material: &Material) -> Vec<usize> {
    let best = |setting: usize| {
        let runs = groups.of_setting(setting).flat_map(|cell| &cell.runs);
        let done = runs.filter_map(|&i| Some((i, material.runs[i].done()?.accuracy)));
        done.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
    };
    (0..groups.settings.len()).filter_map(best).collect()
}

fn value(run: &Run, key: &str, best: bool, groups: &Groups, place: usize) -> Shown {
    let text = |text: String| Shown {
        raw: text.clone(),
        text,
        below: String::new(),
        best: false,
    };
    let none = || text(String::new());
    let number = |x: Option<f64>, shown: &dyn Fn(f64) -> String| match x.filter(|x| x.is_finite()) {
        Some(x) => Shown {
            text: shown(x),
            ..text(x.to_string())
        },
        None => none(),
    };
    let result = run.done();
    let percent = |x: Option<f64>| {
        number(x.map(|x| 1e4 * x).map(|x| x.round() / 100.0), &|x| {
            format!("{x:.2}")
        })
    };
    let count = |x: Option<f64>| number(x, &format::count);
    let plain = |x: Option<f64>| number(x, &|x| x.to_string());
    match key {
        "run_id" => text(run.id.clone()),
        "task" => text(run.task.clone()),
        "model" => text(run.model.clone()),
        "seed" => plain(Some(run.config.train.seed as f64)),
        "status" => text(run.state.name().to_owned()),
        "accuracy" => {
            let cell = groups.cells.iter().find(|cell| cell.runs.contains(&place));
            let mean = cell.and_then(|cell| cell.accuracy).filter(|mean| mean.n > 1);
            Shown {
                below: match (mean, result) {
                    (Some(mean), Some(_)) => format!("{}, n = {}", format::percent_text(&mean), mean.n),
                    _ => String::new(),
                },
                best,
                ..percent(result.map(|r| r.accuracy))
            }
        }
        "loss" => number(result.map(|r| r.loss), &|x| format!("{x:.4}")),
        "chance" => percent(result.map(|r| r.chance)),
        "baseline_n1" => percent(result.map(|r| r.baseline_n1)),
        "baseline_n2" => percent(result.map(|r| r.baseline_n2)),
        "ceiling" => percent(result.map(|r| r.ceiling)),
        "d_model" => plain(Some(run.config.model.sizes.d_model as f64)),
        "layers" => plain(Some(layers(run) as f64)),
        "lr" => plain(Some(run.config.train.lr)),
        "steps" => plain(Some(run.config.train.steps as f64)),
        "params" => count(run.params.map(|n| n as f64)),
        "state_bytes" => number(run.state_bytes.map(|n| n as f64), &format::bytes),
        "wall_s" => number(result.map(|r| r.wall_s), &|s| {
            format::time(Duration::from_secs_f64(s.max(0.0)))
        }),
        "tokens_per_s" => count(result.map(|r| r.tokens_per_s)),
        "peak_bytes" => number(result.map(|r| r.peak_bytes as f64), &format::bytes),
        "adapter" => text(run.device().unwrap_or_default()),
        "precision" => text(result.map_or_else(String::new, |r| r.precision.clone())),
        "commit" => text(run.commit.clone().unwrap_or_default()),
        "selected" => text(run.selected.map_or_else(String::new, |s| s.to_string())),
        field => {
            let mut fields = run.config.fields().into_iter();
            let found = fields.find(|(name, _)| name == field);
            text(found.map_or_else(String::new, |(_, value)| match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            }))
        }
    }
}

fn layers(run: &Run) -> usize {
    match &run.config.model.layers {
        crate::config::LayerList::Count(n) => *n,
        crate::config::LayerList::Blocks(list) => list.len(),
    }
}

/// Everything about all runs, for download: configuration, result, what its accuracy is made of.
pub(super) fn json(material: &Material) -> Value {
    let run = |run: &Run| {
        let mut object = Map::new();
        object.insert("run_id".to_owned(), run.id.as_str().into());
        object.insert("folder".to_owned(), run.folder.display().to_string().into());
        object.insert("task".to_owned(), run.task.as_str().into());
        object.insert("model".to_owned(), run.model.as_str().into());
        object.insert("status".to_owned(), run.state.name().into());
        object.insert("reason".to_owned(), run.state.reason().into());
        object.insert("commit".to_owned(), run.commit.clone().into());
        object.insert("adapter".to_owned(), run.device().into());
        object.insert("params".to_owned(), run.params.into());
        object.insert("state_bytes".to_owned(), run.state_bytes.into());
        object.insert("selected".to_owned(), run.selected.into());
        object.insert("config".to_owned(), run.config.to_toml("").into());
        object.insert("result".to_owned(), json!(run.result));
        object.insert("explained".to_owned(), json!(run.details));
        Value::Object(object)
    };
    let benches: Vec<Value> = material.benches.iter().map(|file| json!(file.report)).collect();
    let checks: Vec<Value> = material.checks.iter().map(|file| json!(file.report)).collect();
    json!({
        "runs": material.runs.iter().map(run).collect::<Vec<Value>>(),
        "benches": benches,
        "checks": checks,
    })
}

/// Every logged number of every `stride`th logged line, as `metrics.csv` has it; the last line is always there.
///
/// # Panics
/// Never: it is written to memory.
pub(super) fn metrics_csv(material: &Material, stride: usize) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut write = |record: [String; 6]| {
        table.write_record(record).expect("writing to memory cannot fail");
    };
    write(["run_id", "step", "tokens", "split", "metric", "value"].map(str::to_owned));
    for run in &material.runs {
        let last = run.metrics.len().saturating_sub(1);
        let kept = run
            .metrics
            .iter()
            .enumerate()
            .filter(|(i, _)| (last - i).is_multiple_of(stride));
        for (_, line) in kept {
            for (split, metric, value) in line.numbers() {
                if let Some(value) = value.filter(|v| v.is_finite()) {
                    let tokens = line.tokens.map_or_else(String::new, |n| n.to_string());
                    let step = line.step.to_string();
                    let value = value.to_string();
                    write([
                        run.id.clone(),
                        step,
                        tokens,
                        split.to_owned(),
                        metric.to_owned(),
                        value,
                    ]);
                }
            }
        }
    }
    table.into_inner().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn every_row_has_every_column() {
        let material = material();
        let rows = Rows::new(&Groups::new(&material), &material);
        assert_eq!(rows.rows.len(), 18);
        assert!(rows.rows.iter().all(|row| row.values.len() == rows.columns.len()));
        let at = |key: &str| rows.columns.iter().position(|c| c.key == key).unwrap();
        let accuracy = &rows.rows[2].values[at("accuracy")];
        assert_eq!(
            (
                accuracy.raw.as_str(),
                accuracy.text.as_str(),
                accuracy.below.as_str()
            ),
            ("90.5", "90.50", "90.0 ± 1.2 %, n = 3")
        );
        assert!(accuracy.best && !rows.rows[1].values[at("accuracy")].best);
        assert_eq!(rows.rows[2].values[at("grammar.depth")].raw, "4");
        assert_eq!(rows.rows[2].values[at("state_bytes")].text, "2.0 KiB");
    }

    #[test]
    fn downloads_hold_everything() {
        let material = material();
        let all = json(&material);
        assert_eq!(all["runs"].as_array().unwrap().len(), 18);
        assert_eq!(all["runs"][0]["result"]["seed"], 1);
        let csv = String::from_utf8(metrics_csv(&material, 1)).unwrap();
        // 18 runs, 10 lines, 7 numbers.
        assert_eq!(csv.lines().count(), 1 + 18 * 10 * 7);
    }
}
