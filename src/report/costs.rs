//! What accuracy costs: parameters, bytes of state, seconds, device memory, with the Pareto front.

use super::chart::{Axis, Chart, Look, Point, Series};
use super::format;
use super::groups::Groups;
use super::run::Run;
use super::source::Material;
use super::table::Levels;
use std::time::Duration;

/// A cost of a run.
struct Cost {
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    of: fn(&Run) -> Option<f64>,
    /// A value for reading.
    text: fn(f64) -> String,
}

const COSTS: [Cost; 4] = [
    Cost {
        id: "params",
        name: "parameters",
        unit: "",
        of: |run| run.params.map(|n| n as f64),
        text: format::count,
    },
    Cost {
        id: "state",
        name: "state of a sequence, token by token",
        unit: "bytes",
        of: |run| run.state_bytes.map(|n| n as f64),
        text: format::bytes,
    },
    Cost {
        id: "seconds",
        name: "training time",
        unit: "s",
        of: |run| run.done().map(|result| result.wall_s),
        text: |s| format::time(Duration::from_secs_f64(s.max(0.0))),
    },
    Cost {
        id: "memory",
        name: "most memory held on the device",
        unit: "bytes",
        of: |run| run.done().map(|result| result.peak_bytes as f64),
        text: format::bytes,
    },
];

/// A chart a setting and cost.
pub(super) fn charts(groups: &Groups, material: &Material) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (s, setting) in groups.settings.iter().enumerate() {
        for cost in &COSTS {
            let mut chart = Chart {
                id: format!("cost-{}-{}", cost.id, s + 1),
                title: format!("Accuracy by {} on {}", cost.name, setting.label()),
                alt: String::new(),
                x: Axis::log(cost.name, cost.unit),
                y: Axis::new("test accuracy", "%"),
                series: Vec::new(),
                runs: Vec::new(),
                thinned: false,
            };
            for cell in groups.of_setting(s) {
                let variant = groups.variant(cell);
                let (Some(x), Some(mean)) = (cell.mean(material, cost.of), &cell.accuracy) else {
                    continue;
                };
                let mut point = Point::new(x.mean, 100.0 * mean.mean);
                point.interval = mean.interval().map(|ends| ends.map(|end| 100.0 * end));
                let label = variant.label();
                point.note = format!(
                    "{label}<br>{}, n = {}<br>{}: {}",
                    format::percent_text(mean),
                    mean.n,
                    cost.name,
                    (cost.text)(x.mean)
                );
                chart.runs.extend(&cell.runs);
                let points = vec![point];
                chart.series.push(Series::new(
                    &label,
                    &variant.model,
                    variant.style,
                    Look::Points,
                    points,
                ));
            }
            if chart.series.len() < 2 {
                continue;
            }
            if let Some(levels) = Levels::of(groups, s, material) {
                chart.y.range = Some([100.0 * levels.chance, 100.0 * levels.ceiling]);
            }
            let front = mark_front(&mut chart);
            chart.alt = sentence(&chart, &front, cost.text);
            if front.len() > 1 {
                chart.series.push(Series::level("", front));
            }
            charts.push(chart);
        }
    }
    charts
}

/// Marks the points that no other one beats in both, and returns them by cost.
fn mark_front(chart: &mut Chart) -> Vec<Point> {
    let all: Vec<(f64, f64)> = chart
        .series
        .iter()
        .flat_map(|s| &s.points)
        .map(|p| (p.x, p.y))
        .collect();
    let beaten = |x: f64, y: f64| all.iter().any(|&(a, b)| a <= x && b >= y && (a < x || b > y));
    let mut front = Vec::new();
    for point in chart.series.iter_mut().flat_map(|s| &mut s.points) {
        point.marked = !beaten(point.x, point.y);
        if point.marked {
            front.push(Point::new(point.x, point.y));
        }
    }
    front.sort_by(|a, b| a.x.total_cmp(&b.x));
    front
}

fn sentence(chart: &Chart, front: &[Point], text: fn(f64) -> String) -> String {
    let named = |point: &Point| {
        let series = chart
            .series
            .iter()
            .find(|s| s.points.iter().any(|p| p.x == point.x && p.y == point.y))?;
        Some(format!("{} ({}, {:.1} %)", series.label, text(point.x), point.y))
    };
    let names: Vec<String> = front.iter().filter_map(named).collect();
    format!(
        "{}; nothing is better in both than {}.",
        chart.title,
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn the_front_is_what_nothing_beats() {
        let mut material = material();
        for run in &mut material.runs {
            let params = match run.model.as_str() {
                "transformer" => 5_000,
                "gla" => 20_000,
                _ => 15_000,
            };
            run.params = Some(params);
        }
        let charts = charts(&Groups::new(&material), &material);
        let marked: Vec<&str> = charts[0]
            .series
            .iter()
            .filter(|s| s.points.iter().any(|p| p.marked))
            .map(|s| s.label.as_str())
            .collect();
        assert_eq!(marked, ["transformer", "gated_delta_net"]);
        assert!(
            charts[0].alt.contains("gated_delta_net (15.0 k, 90.0 %)"),
            "{}",
            charts[0].alt
        );
        assert_eq!(charts.len(), 8);
        // Every cost in its own unit.
        let state = charts.iter().find(|c| c.id == "cost-state-1").unwrap();
        assert!(state.alt.contains("KiB, 90.0 %"), "{}", state.alt);
        let seconds = charts.iter().find(|c| c.id == "cost-seconds-1").unwrap();
        assert!(seconds.alt.contains(" s, 90.0 %"), "{}", seconds.alt);
    }
}
