//! Charts for Plotly, through its crate: what can be pointed at, zoomed and hidden on the page.

use super::chart::{Chart, Look, Point, Series};
use super::style::{COLORS, MARKERS};
use plotly::color::Rgba;
use plotly::common::{
    DashType, ErrorData, ErrorType, Fill, HoverInfo, Line, Marker, MarkerSymbol, Mode, Title,
};
use plotly::layout::{Axis, AxisRange, AxisType, HoverMode, Layout, Margin};
use plotly::{Plot, Scatter};
use serde_json::{Value, json};

/// The script of Plotly that the crate carries.
pub(super) fn script() -> String {
    let sources = Plot::offline_js_sources();
    // Each script stands between its tags; Plotly's is the first.
    let script = sources
        .split_once('>')
        .and_then(|(_, rest)| rest.split_once("</script>"));
    script.map_or_else(String::new, |(script, _)| script.to_owned())
}

/// What the page's script hands to Plotly, with the other values of x of each trace: `[{name: [x, ..]}, ..]`.
pub(super) fn chart(chart: &Chart) -> Value {
    let mut plot = Plot::new();
    let mut others = Vec::new();
    for series in &chart.series {
        let has_place = |p: &Point| chart.x.has(p.x) && chart.y.has(p.y);
        let kept: Vec<usize> = (0..series.points.len())
            .filter(|&i| has_place(&series.points[i]))
            .collect();
        let points: Vec<&Point> = kept.iter().map(|&i| &series.points[i]).collect();
        let other = series.other_x.iter().map(|(name, xs)| {
            let xs: Vec<f64> = kept.iter().map(|&i| rounded(xs[i])).collect();
            ((*name).to_owned(), json!(xs))
        });
        let other: serde_json::Map<String, Value> = other.collect();
        for trace in traces(series, &points) {
            plot.add_trace(Box::new(trace));
            others.push(Value::Object(other.clone()));
        }
    }
    plot.set_layout(layout(chart));
    let mut value: Value = serde_json::from_str(&plot.to_json()).unwrap_or_default();
    value["other_x"] = Value::Array(others);
    value
}

/// With six digits: what is drawn needs no more.
fn rounded(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

fn traces(series: &Series, points: &[&Point]) -> Vec<Scatter<f64, f64>> {
    let xs: Vec<f64> = points.iter().map(|p| rounded(p.x)).collect();
    let ys: Vec<f64> = points.iter().map(|p| rounded(p.y)).collect();
    let notes: Vec<String> = points.iter().map(|p| p.note.clone()).collect();
    let Some(style) = series.style else {
        let line = Line::new().color("#777777").width(1.0).dash(DashType::Dash);
        return vec![
            *Scatter::new(xs, ys)
                .name(&series.label)
                .mode(Mode::Lines)
                .meta("level")
                .hover_template(format!("{}: %{{y:.4g}}<extra></extra>", series.label))
                .line(line),
        ];
    };
    let color = COLORS[style.color];
    let meta = format!("k{}", style.color);
    let symbol = match MARKERS[style.marker] {
        "square" => MarkerSymbol::Square,
        "diamond" => MarkerSymbol::Diamond,
        "triangle-up" => MarkerSymbol::TriangleUp,
        _ => MarkerSymbol::Circle,
    };
    let base = |ys: Vec<f64>| {
        Scatter::new(xs.clone(), ys)
            .name(&series.label)
            .legend_group(&series.model)
            .meta(meta.as_str())
    };
    let template = |label: &str| format!("{label}<br>%{{x:.5g}}, %{{y:.4g}}<extra></extra>");
    let noted = notes.iter().any(|note| !note.is_empty());
    let told = |trace: Box<Scatter<f64, f64>>| match noted {
        true => trace
            .hover_text_array(notes.clone())
            .hover_template("%{hovertext}<extra></extra>"),
        false => trace.hover_template(template(&series.label)),
    };
    let width = if series.look == Look::Thin { 0.8 } else { 2.0 };
    let line = Line::new().color(color).width(width);
    match series.look {
        Look::Thin => vec![*told(base(ys)).mode(Mode::Lines).opacity(0.55).line(line)],
        Look::Band => {
            let end = |i: usize| -> Vec<f64> {
                points
                    .iter()
                    .map(|p| rounded(p.interval.map_or(p.y, |interval| interval[i])))
                    .collect()
            };
            let edge = |ys| {
                base(ys)
                    .mode(Mode::Lines)
                    .line(Line::new().color(color).width(0.0))
                    .hover_info(HoverInfo::Skip)
            };
            vec![
                *edge(end(0)),
                *edge(end(1)).fill(Fill::ToNextY).fill_color(pale(color)),
                *told(base(ys)).mode(Mode::Lines).line(line),
            ]
        }
        Look::Marked | Look::Points | Look::Level => {
            let mode = if series.look == Look::Points {
                Mode::Markers
            } else {
                Mode::LinesMarkers
            };
            let sizes: Vec<usize> = points.iter().map(|p| if p.marked { 13 } else { 8 }).collect();
            let mut trace = told(base(ys))
                .mode(mode)
                .line(line)
                .marker(Marker::new().color(color).symbol(symbol).size_array(sizes));
            if points.iter().any(|p| p.interval.is_some()) {
                let reach = |i: usize| -> Vec<f64> {
                    points
                        .iter()
                        .map(|p| rounded(p.interval.map_or(0.0, |interval| (interval[i] - p.y).abs())))
                        .collect()
                };
                trace = trace.error_y(
                    ErrorData::new(ErrorType::Data)
                        .symmetric(false)
                        .array(reach(1))
                        .array_minus(reach(0))
                        .thickness(1.0)
                        .width(0),
                );
            }
            vec![*trace]
        }
    }
}

/// The colour of a band.
fn pale(color: &str) -> Rgba {
    let part = |i: usize| u8::from_str_radix(&color[i..i + 2], 16).unwrap_or(0);
    Rgba::new(part(1), part(3), part(5), 0.16)
}

fn layout(chart: &Chart) -> Layout {
    let [x, y] = chart.extent();
    let axis = |axis: &super::chart::Axis, [low, high]: [f64; 2]| {
        let made = Axis::new().title(Title::with_text(axis.title()));
        match axis.log {
            true => made
                .type_(AxisType::Log)
                .range(AxisRange::new(low.log10(), high.log10())),
            false => made.range(AxisRange::new(low, high)),
        }
    };
    Layout::new()
        .x_axis(axis(&chart.x, x))
        .y_axis(axis(&chart.y, y))
        .margin(Margin::new().left(60).right(14).top(30).bottom(48))
        .show_legend(false)
        .hover_mode(HoverMode::Closest)
        .auto_size(true)
}

#[cfg(test)]
mod tests {
    use super::super::chart::Axis;
    use super::super::style::Style;
    use super::*;

    #[test]
    fn the_crates_script_is_plotly_alone() {
        let script = script();
        assert!(
            script.trim_start().starts_with("/**\n* plotly.js v"),
            "{}",
            &script[..80]
        );
        assert!(
            script.len() > 3 << 20 && script.len() < 6 << 20,
            "{}",
            script.len()
        );
    }

    #[test]
    fn traces_have_points_that_have_a_place() {
        let mut points: Vec<Point> = (0..3).map(|i| Point::new(f64::from(i), 50.0)).collect();
        points[1].interval = Some([40.0, 55.0]);
        let mut series = Series::new("gla", "gla", Style::of("gla"), Look::Band, points);
        series.other_x.push(("seconds", vec![1.0, 2.5, 1.0 / 3.0]));
        let made = Chart {
            id: "a".to_owned(),
            title: String::new(),
            alt: String::new(),
            x: Axis::log("parameters", ""),
            y: Axis::new("accuracy", "%"),
            series: vec![series],
            runs: Vec::new(),
            thinned: false,
        };
        let value = chart(&made);
        let traces = value["data"].as_array().unwrap();
        assert_eq!(traces.len(), 3);
        assert_eq!(traces[0]["x"], json!([1.0, 2.0]));
        assert_eq!(
            (&traces[0]["y"], &traces[1]["y"]),
            (&json!([40.0, 50.0]), &json!([55.0, 50.0]))
        );
        assert_eq!(traces[2]["meta"], "k4");
        assert_eq!(traces[2]["legendgroup"], "gla");
        assert_eq!(value["other_x"][2]["seconds"], json!([2.5, 0.333333]));
        assert_eq!(value["layout"]["yaxis"]["title"]["text"], "accuracy [%]");
        assert_eq!(value["layout"]["xaxis"]["type"], "log");
    }
}
