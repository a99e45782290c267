//! How runs learned: curves over updates, time steps or seconds, with bands over seeds.

use super::chart::{Axis, Chart, Look, Point, Series};
use super::groups::{Cell, Groups};
use super::run::Run;
use super::source::Material;
use super::table::Levels;
use super::thin;
use crate::train::records::Metrics;
use std::collections::BTreeMap;

/// A line of metrics with the seconds of training until then.
struct Logged {
    step: f64,
    tokens: f64,
    seconds: f64,
    value: f64,
}

/// Values of a run that are there, with updates, time steps and seconds: these follow from the logged rates.
fn logged(run: &Run, value: fn(&Metrics) -> Option<f64>) -> Vec<Logged> {
    let mut seconds = 0.0;
    let mut before = 0;
    let mut found = Vec::new();
    for line in &run.metrics {
        let tokens = line.tokens.unwrap_or(0);
        if line.tokens_per_s > 0.0 {
            seconds += tokens.saturating_sub(before) as f64 / line.tokens_per_s;
        }
        before = tokens;
        if let Some(value) = value(line).filter(|v| v.is_finite()) {
            found.push(Logged {
                step: line.step as f64,
                tokens: tokens as f64,
                seconds,
                value,
            });
        }
    }
    found
}

/// What is shown of a curve, and how.
struct Quantity {
    id: &'static str,
    title: &'static str,
    axis: fn() -> Axis,
    value: fn(&Metrics) -> Option<f64>,
    /// A value for reading.
    text: fn(f64) -> String,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity {
        id: "accuracy",
        title: "Validation accuracy",
        axis: || Axis::new("validation accuracy", "%"),
        value: |line| line.accuracy.map(|a| 100.0 * a),
        text: |value| format!("{value:.1} %"),
    },
    Quantity {
        id: "loss",
        title: "Training loss",
        axis: || Axis::log("training loss", "nats a step"),
        value: |line| Some(line.loss),
        text: |value| format!("{value:.3}"),
    },
];

/// Two charts a setting.
pub(super) fn charts(groups: &Groups, material: &Material) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (s, setting) in groups.settings.iter().enumerate() {
        for quantity in &QUANTITIES {
            let mut chart = Chart {
                id: format!("learning-{}-{}", quantity.id, s + 1),
                title: format!("{} on {}", quantity.title, setting.label()),
                alt: String::new(),
                x: Axis::new("updates", ""),
                y: (quantity.axis)(),
                series: Vec::new(),
                runs: Vec::new(),
                thinned: false,
            };
            for cell in groups.of_setting(s) {
                add(&mut chart, cell, groups, material, quantity.value);
            }
            if chart.series.is_empty() {
                continue;
            }
            if quantity.id == "accuracy" {
                chart.y = chart.y.at_least(0.0, 100.0);
                if let Some(levels) = Levels::of(groups, s, material) {
                    chart.y.range = Some([100.0 * levels.chance, 100.0 * levels.ceiling]);
                    let [[low, high], _] = chart.extent();
                    let ends = [low.max(0.0), high];
                    for (name, value) in [("ceiling", levels.ceiling), ("bigram", levels.bigram)] {
                        let points = ends.map(|x| Point::new(x, 100.0 * value));
                        chart.series.push(Series::level(name, points.to_vec()));
                    }
                }
            }
            chart.alt = sentence(&chart, quantity.text);
            charts.push(chart);
        }
    }
    charts
}

/// The mean over seeds with a band from the lowest to the highest, and each seed as a thin line.
fn add(
    chart: &mut Chart,
    cell: &Cell,
    groups: &Groups,
    material: &Material,
    value: fn(&Metrics) -> Option<f64>,
) {
    let variant = groups.variant(cell);
    let curves: Vec<(usize, Vec<Logged>)> = cell
        .runs
        .iter()
        .map(|&i| (i, logged(&material.runs[i], value)))
        .filter(|(_, curve)| !curve.is_empty())
        .collect();
    if curves.is_empty() {
        return;
    }
    chart.runs.extend(curves.iter().map(|(i, _)| *i));
    let mut at: BTreeMap<u64, Vec<&Logged>> = BTreeMap::new();
    for line in curves.iter().flat_map(|(_, curve)| curve) {
        at.entry(line.step as u64).or_default().push(line);
    }
    // Where a seed is missing the mean would jump.
    let whole: Vec<&Vec<&Logged>> = at.values().filter(|lines| lines.len() == curves.len()).collect();
    let mean = |lines: &[&Logged], of: fn(&Logged) -> f64| {
        lines.iter().map(|line| of(line)).sum::<f64>() / lines.len() as f64
    };
    let values: Vec<f64> = whole.iter().map(|lines| mean(lines, |l| l.value)).collect();
    let kept = thin::kept(&values, thin::MOST_POINTS);
    chart.thinned |= kept.len() < values.len();
    let points = kept.iter().map(|&i| {
        let values = || whole[i].iter().map(|line| line.value);
        let mut point = Point::new(mean(whole[i], |l| l.step), mean_of(values()));
        point.interval = Some([
            values().fold(f64::MAX, f64::min),
            values().fold(f64::MIN, f64::max),
        ]);
        point
    });
    let label = variant.label();
    let mut series = Series::new(
        &label,
        &variant.model,
        variant.style,
        Look::Band,
        points.collect(),
    );
    let other = |of: fn(&Logged) -> f64| kept.iter().map(|&i| mean(whole[i], of)).collect::<Vec<f64>>();
    series.other_x = vec![
        ("time steps", other(|l| l.tokens)),
        ("seconds", other(|l| l.seconds)),
    ];
    if !series.points.is_empty() {
        chart.series.push(series);
    }
    for (i, curve) in &curves {
        let values: Vec<f64> = curve.iter().map(|line| line.value).collect();
        let kept = thin::kept(&values, thin::MOST_POINTS);
        chart.thinned |= kept.len() < values.len();
        let run = &material.runs[*i];
        let commit = run.commit.as_deref().unwrap_or("unknown");
        let name = format!("{}, seed {}, commit {commit}", run.id, run.config.train.seed);
        let points = kept.iter().map(|&k| Point::new(curve[k].step, curve[k].value));
        let mut series = Series::new(&name, &variant.model, variant.style, Look::Thin, points.collect());
        let other = |of: fn(&Logged) -> f64| kept.iter().map(|&k| of(&curve[k])).collect::<Vec<f64>>();
        series.other_x = vec![
            ("time steps", other(|l| l.tokens)),
            ("seconds", other(|l| l.seconds)),
        ];
        chart.series.push(series);
    }
}

fn mean_of(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Where each line ends.
fn sentence(chart: &Chart, text: fn(f64) -> String) -> String {
    let ends: Vec<String> = chart
        .series
        .iter()
        .filter(|s| s.look == Look::Band)
        .filter_map(|s| Some(format!("{} {}", s.label, text(s.points.last()?.y))))
        .collect();
    let unit = match chart.y.unit.as_str() {
        "%" => "",
        unit => unit,
    };
    let what = [chart.y.name.as_str(), unit].join(" in ");
    format!(
        "{}; {} at the end: {}.",
        chart.title,
        what.trim_end_matches(" in "),
        ends.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn means_have_bands_and_seeds_their_own_lines() {
        let material = material();
        let charts = charts(&Groups::new(&material), &material);
        assert_eq!(charts.len(), 4);
        let chart = &charts[0];
        assert_eq!(chart.id, "learning-accuracy-1");
        let count = |look| chart.series.iter().filter(|s| s.look == look).count();
        assert_eq!(
            (count(Look::Band), count(Look::Thin), count(Look::Level)),
            (3, 9, 2)
        );
        let band = &chart.series.iter().find(|s| s.look == Look::Band).unwrap();
        let last = band.points.last().unwrap();
        assert_eq!((last.x, band.label.as_str()), (50.0, "transformer"));
        assert!((last.y - 70.0).abs() < 1e-9, "{last:?}");
        let [low, high] = last.interval.unwrap();
        assert!((low - 69.5).abs() < 1e-9 && (high - 70.5).abs() < 1e-9);
        // 1200 time steps at 1200 a second.
        let (name, seconds) = &band.other_x[1];
        assert!(*name == "seconds" && (seconds.last().unwrap() - 1.0).abs() < 1e-9);
        assert!(chart.alt.contains("gated_delta_net 90.0 %"), "{}", chart.alt);
    }

    #[test]
    fn a_long_curve_is_thinned_and_says_so() {
        let mut material = material();
        let line = material.runs[0].metrics[0].clone();
        material.runs[0].metrics = (1..=5000).map(|step| Metrics { step, ..line.clone() }).collect();
        material.runs.truncate(1);
        let charts = charts(&Groups::new(&material), &material);
        assert!(charts.iter().all(|chart| chart.thinned));
        let longest = charts
            .iter()
            .flat_map(|c| &c.series)
            .map(|s| s.points.len())
            .max();
        assert!(longest.unwrap() <= thin::MOST_POINTS);
    }
}
