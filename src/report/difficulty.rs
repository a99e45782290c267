//! Where models break: accuracy against complexity, gap, and place in the string.

use super::chart::{Axis, Chart, Look, Point, Series};
use super::format;
use super::groups::{Cell, Groups};
use super::run::Run;
use super::source::Material;
use super::table::Levels;
use crate::stats::Mean;
use crate::tasks::{Gap, STEP_S};
use crate::train::explain::{Explained, Slice};
use crate::train::records::RunResult;
use std::collections::BTreeMap;

/// One of the lists that an accuracy is taken apart into.
type List = fn(&Explained) -> &Vec<Slice>;

/// One panel a task and kind of difficulty.
pub(super) fn charts(groups: &Groups, material: &Material) -> Vec<Chart> {
    let mut charts = by_complexity(groups, material);
    charts.extend(by_test_gap(groups, material));
    for (s, setting) in groups.settings.iter().enumerate() {
        let lists: [(&str, &str, Axis, List); 2] = [
            (
                "position",
                "position in the string",
                Axis::new("position in the string", "symbols"),
                |e| &e.by_position,
            ),
            (
                "distance",
                "distance from the last unambiguous symbol",
                Axis::new("symbols since the last unambiguous one", ""),
                |e| &e.by_distance,
            ),
        ];
        for (id, name, axis, list) in lists {
            let title = format!("Accuracy by {name} on {}", setting.label());
            let mut chart = empty(&format!("by-{id}-{}", s + 1), title, axis);
            for cell in groups.of_setting(s) {
                let points = sliced(cell, material, list);
                push(&mut chart, cell, groups, points);
            }
            finish(&mut charts, chart, groups, s, material);
        }
    }
    charts
}

fn empty(id: &str, title: String, x: Axis) -> Chart {
    Chart {
        id: id.to_owned(),
        title,
        alt: String::new(),
        x,
        y: Axis::new("test accuracy", "%"),
        series: Vec::new(),
        runs: Vec::new(),
        thinned: false,
    }
}

fn push(chart: &mut Chart, cell: &Cell, groups: &Groups, points: Vec<Point>) {
    if points.is_empty() {
        return;
    }
    let variant = groups.variant(cell);
    chart.runs.extend(&cell.runs);
    let look = if points.len() > 60 {
        Look::Band
    } else {
        Look::Marked
    };
    let label = variant.label();
    chart
        .series
        .push(Series::new(&label, &variant.model, variant.style, look, points));
}

/// Adds levels and the sentence, and keeps the chart if there is anything to compare: a line needs two points.
fn finish(charts: &mut Vec<Chart>, mut chart: Chart, groups: &Groups, setting: usize, material: &Material) {
    if chart.series.iter().all(|s| s.points.len() < 2) {
        return;
    }
    if let Some(levels) = Levels::of(groups, setting, material) {
        chart.y.range = Some([100.0 * levels.chance, 100.0 * levels.ceiling]);
        let xs: Vec<f64> = chart.series.iter().flat_map(|s| &s.points).map(|p| p.x).collect();
        let ends = [
            xs.iter().copied().fold(f64::MAX, f64::min),
            xs.iter().copied().fold(f64::MIN, f64::max),
        ];
        for (name, value) in [("ceiling", levels.ceiling), ("bigram", levels.bigram)] {
            let points = ends.map(|x| Point::new(x, 100.0 * value));
            chart
                .series
                .push(Series::level(&format!("{name}, all elements"), points.to_vec()));
        }
    }
    chart.alt = sentence(&chart);
    charts.push(chart);
}

fn sentence(chart: &Chart) -> String {
    let part = |s: &Series| {
        let (first, last) = (s.points.first()?, s.points.last()?);
        Some(format!("{} {:.1} to {:.1} %", s.label, first.y, last.y))
    };
    let parts: Vec<String> = chart
        .series
        .iter()
        .filter(|s| s.style.is_some())
        .filter_map(part)
        .collect();
    format!(
        "{}, from the left end to the right: {}.",
        chart.title,
        parts.join(", ")
    )
}

fn point(x: f64, mean: &Mean, label: &str, what: &str) -> Point {
    let mut point = Point::new(x, 100.0 * mean.mean);
    point.interval = mean.interval().map(|ends| ends.map(|end| 100.0 * end));
    point.note = format!(
        "{label}<br>{what}: {}, n = {}",
        format::percent_text(mean),
        mean.n
    );
    point
}

/// Means over seeds of the accuracy of elements that have a number in common.
fn sliced(cell: &Cell, material: &Material, list: List) -> Vec<Point> {
    let mut values: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for run in cell.done(material) {
        let test = run.details.as_ref().and_then(|details| details.tests.first());
        for slice in test.map_or(&[][..], |test| list(&test.explained)) {
            values.entry(slice.at).or_default().push(slice.accuracy());
        }
    }
    let point = |(at, values): (u32, Vec<f64>)| {
        let mean = Mean::of(&values)?;
        // Whiskers at every place would hide the lines: the interval is said when it is pointed at.
        let mut point = point(f64::from(at), &mean, "", &at.to_string());
        point.note = point.note.trim_start_matches("<br>").to_owned();
        point.interval = None;
        Some(point)
    };
    values.into_iter().filter_map(point).collect()
}

/// Tasks of which a sweep has several grammars: accuracy against their number of states.
fn by_complexity(groups: &Groups, material: &Material) -> Vec<Chart> {
    let mut charts = Vec::new();
    // Settings that differ in the grammar alone.
    let mut families: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (s, setting) in groups.settings.iter().enumerate() {
        let others = setting
            .fields
            .iter()
            .filter(|(field, _)| !field.starts_with("grammar."));
        let key: Vec<String> = others.map(|(field, value)| format!("{field} {value}")).collect();
        families
            .entry([setting.task.clone(), key.join(", ")].join(" ").trim().to_owned())
            .or_default()
            .push(s);
    }
    for (i, (name, settings)) in families.into_iter().enumerate() {
        if settings.len() < 2 {
            continue;
        }
        let classes = |result: &RunResult| (1.0 / result.chance).round();
        let title = format!("Accuracy by complexity on {name}");
        let axis = Axis::log("states of the grammar, which are the classes", "");
        let mut chart = empty(&format!("by-complexity-{}", i + 1), title, axis);
        for (v, variant) in groups.variants.iter().enumerate() {
            let mut points = Vec::new();
            for cell in settings.iter().filter_map(|&s| groups.cell(s, v)) {
                let x = cell.mean(material, |run| run.done().map(classes));
                if let (Some(x), Some(mean)) = (x, &cell.accuracy) {
                    points.push(point(
                        x.mean,
                        mean,
                        &variant.label(),
                        &format!("{:.0} states", x.mean),
                    ));
                    chart.runs.extend(&cell.runs);
                }
            }
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            if !points.is_empty() {
                let label = variant.label();
                chart.series.push(Series::new(
                    &label,
                    &variant.model,
                    variant.style,
                    Look::Marked,
                    points,
                ));
            }
        }
        if chart.series.iter().all(|s| s.points.len() < 2) {
            continue;
        }
        let level = |name: &str, value: fn(&Levels) -> f64| {
            let mut points: Vec<Point> = settings
                .iter()
                .filter_map(|&s| {
                    let levels = Levels::of(groups, s, material)?;
                    Some(Point::new((1.0 / levels.chance).round(), 100.0 * value(&levels)))
                })
                .collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            Series::level(name, points)
        };
        chart.series.push(level("ceiling", |l| l.ceiling));
        chart.series.push(level("bigram", |l| l.bigram));
        chart.series.push(level("unigram", |l| l.unigram));
        chart.y = chart.y.at_least(0.0, 100.0);
        chart.alt = sentence(&chart);
        charts.push(chart);
    }
    charts
}

/// Mean seconds of a gap.
fn seconds(gap: &Gap) -> f64 {
    let probabilities = gap.probabilities();
    let steps = probabilities
        .iter()
        .enumerate()
        .map(|(steps, p)| steps as f64 * p);
    STEP_S * steps.sum::<f64>()
}

/// Tasks that are tested at several gaps.
fn by_test_gap(groups: &Groups, material: &Material) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (s, setting) in groups.settings.iter().enumerate() {
        let title = format!("Accuracy by test gap on {}", setting.label());
        let axis = Axis::log("gap in the test, mean", "s");
        let mut chart = empty(&format!("by-test-gap-{}", s + 1), title, axis);
        for cell in groups.of_setting(s) {
            let label = groups.variant(cell).label();
            let mut values: Vec<(f64, String, Vec<f64>)> = Vec::new();
            let tests = |run: &Run| run.details.as_ref().map_or_else(Vec::new, |d| d.tests.clone());
            for test in cell.done(material).flat_map(tests) {
                let (x, name) = (seconds(&test.gap), test.gap.to_string());
                match values.iter_mut().find(|(_, known, _)| *known == name) {
                    Some((.., values)) => values.push(test.tested.accuracy),
                    None => values.push((x, name, vec![test.tested.accuracy])),
                }
            }
            values.sort_by(|a, b| a.0.total_cmp(&b.0));
            let points = values.iter().filter_map(|(x, name, values)| {
                Some(point(*x, &Mean::of(values)?, &label, &format!("gap {name} s")))
            });
            push(&mut chart, cell, groups, points.collect());
        }
        finish(&mut charts, chart, groups, s, material);
    }
    charts
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn panels_are_those_that_compare_something() {
        let material = material();
        let charts = charts(&Groups::new(&material), &material);
        let ids: Vec<&str> = charts.iter().map(|chart| chart.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "by-complexity-1",
                "by-position-1",
                "by-distance-1",
                "by-position-2",
                "by-distance-2"
            ]
        );
        let complexity = &charts[0];
        let xs: Vec<f64> = complexity.series[0].points.iter().map(|p| p.x).collect();
        assert_eq!(xs, [27.0, 97.0]);
        assert!(
            complexity.alt.contains("transformer 70.0 to 50.0 %"),
            "{}",
            complexity.alt
        );
        assert_eq!(complexity.runs.len(), 18);
        assert_eq!(charts[1].series[0].points.len(), 8);
    }

    #[test]
    fn gaps_are_in_seconds() {
        assert!((seconds(&Gap::Fixed(5)) - 0.5).abs() < 1e-12);
        assert!((seconds(&Gap::Uniform([0.1, 0.3])) - 0.2).abs() < 1e-9);
    }
}
