//! Charts as SVG: on the page, which gives colours through its style sheet, or as a file that stands alone.

use super::chart::{Axis, Chart, Look, Point, Series, tick_text, ticks};
use super::style::{COLORS, Style};
use std::fmt::Write as _;

/// Width of a character of the labels, in pixels.
const CHARACTER: f64 = 6.3;
/// Least distance of two labels.
const LABEL_STEP: f64 = 14.0;
const LEFT: f64 = 58.0;
const BOTTOM: f64 = 46.0;

/// Where a picture stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the page.
    Page,
    /// In a file of its own: title and colours are in it.
    Alone,
}

/// Text in an XML document.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// The style sheet of a picture that stands alone.
pub(super) fn style_sheet() -> String {
    let mut css = "svg{background:#fff;font-family:Ubuntu,Helvetica,Arial,sans-serif;font-size:12px}\
         .tx{fill:#222}.ti{fill:#222;font-size:14px}.ax{stroke:#444;fill:none}.gr{stroke:#e4e4e4;fill:none}\
         .lv{stroke:#777;fill:none;stroke-dasharray:5 4}.lt{color:#666}.heat{fill:#0072b2}\
         .bad{fill:#d55e00}.bx{stroke:#fff;stroke-width:2;fill:none}.none{fill:none;stroke:#bbb}"
        .to_owned();
    for (i, color) in COLORS.iter().enumerate() {
        write!(css, ".k{i}{{color:{color}}}").expect("writing to a string");
    }
    css
}

/// The opening of a picture: `role`, a sentence that says what it shows, and where it stands alone its style sheet and a
/// white ground.
pub(super) fn open(width: f64, height: f64, alt: &str, place: Place) -> String {
    let alt = escaped(alt);
    let head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{alt}\""
    );
    match place {
        Place::Page => format!("{head}><title>{alt}</title>"),
        Place::Alone => format!(
            "{head} width=\"{width:.0}\" height=\"{height:.0}\"><title>{alt}</title><style>{}</style>\
             <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>",
            style_sheet()
        ),
    }
}

/// From values to pixels.
struct Scale {
    log: bool,
    from: [f64; 2],
    to: [f64; 2],
}

impl Scale {
    fn new(axis: &Axis, from: [f64; 2], to: [f64; 2]) -> Self {
        let log = axis.log;
        Self {
            log,
            from: if log { from.map(f64::ln) } else { from },
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.ln() } else { value };
        let share = (value - self.from[0]) / (self.from[1] - self.from[0]);
        self.to[0] + share * (self.to[1] - self.to[0])
    }
}

/// Draws a chart. The height is what is asked for, or what its labels need.
pub(super) fn chart(chart: &Chart, width: f64, height: f64, place: Place) -> String {
    let drawn: Vec<&Series> = chart.series.iter().filter(|s| s.look != Look::Thin).collect();
    let labels: Vec<&Series> = drawn.iter().copied().filter(|s| !s.label.is_empty()).collect();
    let longest = labels.iter().map(|s| s.label.chars().count()).max().unwrap_or(0);
    let top = if place == Place::Alone { 34.0 } else { 12.0 };
    let right = (longest as f64 * CHARACTER + 26.0).clamp(24.0, 0.42 * width);
    let height = height.max(labels.len() as f64 * LABEL_STEP + top + BOTTOM);
    let [x_span, y_span] = chart.extent();
    let x = Scale::new(&chart.x, x_span, [LEFT, width - right]);
    let y = Scale::new(&chart.y, y_span, [height - BOTTOM, top]);

    let mut out = open(width, height, &chart.alt, place);
    if place == Place::Alone {
        text(&mut out, LEFT, 20.0, "ti", "start", &chart.title);
    }
    axes(&mut out, chart, &x, &y, x_span, y_span);
    let order = |s: &&&Series| match s.look {
        Look::Level => 0,
        Look::Band => 1,
        _ => 2,
    };
    let mut sorted: Vec<&&Series> = drawn.iter().collect();
    sorted.sort_by_key(order);
    for series in sorted {
        draw(&mut out, chart, series, &x, &y);
    }
    ends(&mut out, chart, &labels, &x, &y, height);
    out.push_str("</svg>");
    out
}

fn text(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
    write!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(text)
    )
    .expect("writing to a string");
}

fn line(out: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    write!(
        out,
        "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"
    )
    .expect("writing to a string");
}

fn axes(out: &mut String, chart: &Chart, x: &Scale, y: &Scale, x_span: [f64; 2], y_span: [f64; 2]) {
    let ([left, right], [bottom, top]) = (x.to, y.to);
    for value in ticks(y_span, chart.y.log) {
        let at = y.at(value);
        line(out, "gr", [left, at], [right, at]);
        text(out, left - 6.0, at + 4.0, "tx", "end", &tick_text(value));
    }
    for value in ticks(x_span, chart.x.log) {
        let at = x.at(value);
        line(out, "ax", [at, bottom], [at, bottom + 4.0]);
        text(out, at, bottom + 17.0, "tx", "middle", &tick_text(value));
    }
    line(out, "ax", [left, bottom], [right, bottom]);
    line(out, "ax", [left, bottom], [left, top]);
    text(
        out,
        (left + right) / 2.0,
        bottom + 36.0,
        "tx",
        "middle",
        &chart.x.title(),
    );
    let middle = (top + bottom) / 2.0;
    write!(
        out,
        "<text class=\"tx\" text-anchor=\"middle\" transform=\"translate(14 {middle:.1}) rotate(-90)\">{}</text>",
        escaped(&chart.y.title())
    )
    .expect("writing to a string");
}

/// Points that have a place, in pixels.
fn placed<'a>(
    chart: &'a Chart,
    series: &'a Series,
    x: &'a Scale,
    y: &'a Scale,
) -> impl Iterator<Item = (&'a Point, [f64; 2])> {
    series
        .points
        .iter()
        .filter(|p| chart.x.has(p.x) && chart.y.has(p.y))
        .map(|p| (p, [x.at(p.x), y.at(p.y)]))
}

fn path(points: impl Iterator<Item = [f64; 2]>) -> String {
    let mut d = String::new();
    for (i, [x, y]) in points.enumerate() {
        let step = if i == 0 { 'M' } else { 'L' };
        write!(d, "{step}{x:.1} {y:.1}").expect("writing to a string");
    }
    d
}

fn draw(out: &mut String, chart: &Chart, series: &Series, x: &Scale, y: &Scale) {
    let Some(style) = series.style else {
        let d = path(placed(chart, series, x, y).map(|(_, at)| at));
        write!(out, "<path class=\"lv\" d=\"{d}\"/>").expect("writing to a string");
        return;
    };
    let [bottom, top] = y.to;
    let inside = |v: f64| {
        if chart.y.has(v) {
            y.at(v).clamp(top, bottom)
        } else {
            bottom
        }
    };
    write!(
        out,
        "<g class=\"k{}\" data-model=\"{}\">",
        style.color,
        escaped(&series.model)
    )
    .expect("writing to a string");
    if series.look == Look::Band {
        let ends = |i: usize| {
            placed(chart, series, x, y).filter_map(move |(p, [at, _])| Some([at, inside(p.interval?[i])]))
        };
        let mut outline: Vec<[f64; 2]> = ends(1).collect();
        let mut lower: Vec<[f64; 2]> = ends(0).collect();
        lower.reverse();
        outline.extend(lower);
        if !outline.is_empty() {
            let d = path(outline.into_iter());
            write!(
                out,
                "<path d=\"{d}Z\" fill=\"currentColor\" fill-opacity=\"0.15\"/>"
            )
            .expect("writing to a string");
        }
    }
    if series.look != Look::Points {
        let d = path(placed(chart, series, x, y).map(|(_, at)| at));
        write!(
            out,
            "<path d=\"{d}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\"/>"
        )
        .expect("writing to a string");
    }
    if series.look != Look::Band {
        for (point, [px, py]) in placed(chart, series, x, y) {
            if let Some([low, high]) = point.interval {
                write!(
                    out,
                    "<path d=\"M{px:.1} {:.1}V{:.1}\" stroke=\"currentColor\" stroke-width=\"1\"/>",
                    inside(low),
                    inside(high)
                )
                .expect("writing to a string");
            }
            let note = if point.note.is_empty() {
                format!("{}, {}", tick_text(point.x), tick_text(point.y))
            } else {
                point.note.clone()
            };
            marker(out, style, [px, py], point.marked, &note);
        }
    }
    out.push_str("</g>");
}

/// A model's marker; a ring around it where it is marked.
pub(super) fn marker(out: &mut String, style: Style, [x, y]: [f64; 2], marked: bool, note: &str) {
    let shape = match style.marker {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"currentColor\">"),
        1 => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"6.4\" height=\"6.4\" fill=\"currentColor\">",
            x - 3.2,
            y - 3.2
        ),
        2 => format!(
            "<path d=\"M{x:.1} {:.1}l4.4 4.4l-4.4 4.4l-4.4 -4.4Z\" fill=\"currentColor\">",
            y - 4.4
        ),
        _ => format!(
            "<path d=\"M{x:.1} {:.1}l4.2 7.2h-8.4Z\" fill=\"currentColor\">",
            y - 4.6
        ),
    };
    let end = match shape.split_once(' ') {
        Some((name, _)) => name.trim_start_matches('<'),
        None => "path",
    };
    write!(out, "{shape}<title>{}</title></{end}>", escaped(note)).expect("writing to a string");
    if marked {
        write!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.2\"/>"
        )
        .expect("writing to a string");
    }
}

/// Names at the ends of lines, moved apart where they would overlap.
fn ends(out: &mut String, chart: &Chart, labels: &[&Series], x: &Scale, y: &Scale, height: f64) {
    let mut wanted: Vec<(f64, [f64; 2], &Series)> = labels
        .iter()
        .filter_map(|series| {
            let last = placed(chart, series, x, y).last()?.1;
            Some((last[1], last, *series))
        })
        .collect();
    wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let heights = spread(
        &wanted.iter().map(|w| w.0).collect::<Vec<_>>(),
        y.to[1] + 4.0,
        height - 8.0,
    );
    let right = x.to[1];
    for ((_, [from_x, from_y], series), at) in wanted.into_iter().zip(heights) {
        let class = series
            .style
            .map_or_else(|| "lt".to_owned(), |style| format!("k{}", style.color));
        write!(
            out,
            "<g class=\"{class}\" data-model=\"{}\"><path d=\"M{:.1} {from_y:.1}L{:.1} {at:.1}\" fill=\"none\" \
             stroke=\"currentColor\" stroke-opacity=\"0.5\"/>",
            escaped(&series.model),
            from_x + 5.0,
            right + 14.0
        )
        .expect("writing to a string");
        write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"currentColor\">{}</text></g>",
            right + 17.0,
            at + 4.0,
            escaped(&series.label)
        )
        .expect("writing to a string");
    }
}

/// Heights for labels that want to stand at these, sorted ones.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut heights = wanted.to_vec();
    let mut limit = top;
    for height in &mut heights {
        *height = height.max(limit);
        limit = *height + LABEL_STEP;
    }
    let mut limit = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(limit);
        limit = *height - LABEL_STEP;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Chart {
        let style = Style::of("gla");
        let mut point = Point::new(2.0, 60.0);
        point.interval = Some([50.0, 70.0]);
        point.note = "gla <seed 1>".to_owned();
        let points = vec![Point::new(1.0, 40.0), point, Point::new(f64::NAN, 1.0)];
        Chart {
            id: "a".to_owned(),
            title: "Accuracy & more".to_owned(),
            alt: "Best is gla with 60 %".to_owned(),
            x: Axis::log("parameters", ""),
            y: Axis::new("test accuracy", "%").at_least(0.0, 100.0),
            series: vec![
                Series::new("gla", "gla", style, Look::Marked, points.clone()),
                Series::new("", "gla", style, Look::Band, points.clone()),
                Series::level("ceiling", vec![Point::new(1.0, 99.0), Point::new(2.0, 99.0)]),
                Series::new("seed 1", "gla", style, Look::Thin, points),
            ],
            runs: Vec::new(),
            thinned: false,
        }
    }

    #[test]
    fn names_units_and_notes_are_there() {
        let alone = chart(&example(), 480.0, 300.0, Place::Alone);
        for part in [
            "test accuracy [%]",
            ">parameters<",
            "Accuracy &amp; more",
            "gla &lt;seed 1&gt;",
            ">ceiling<",
            "Best is gla with 60 %",
            "<style>",
        ] {
            assert!(alone.contains(part), "no {part} in {alone}");
        }
        assert!(!alone.contains("NaN") && !alone.contains("seed 1<"), "{alone}");
        let on_page = chart(&example(), 480.0, 300.0, Place::Page);
        assert!(!on_page.contains("<style>") && on_page.contains("data-model=\"gla\""));
    }

    #[test]
    fn labels_stand_apart_and_inside() {
        assert_eq!(spread(&[10.0, 100.0], 0.0, 300.0), [10.0, 100.0]);
        assert_eq!(spread(&[100.0, 101.0, 102.0], 0.0, 300.0), [100.0, 114.0, 128.0]);
        assert_eq!(spread(&[299.0, 300.0], 0.0, 300.0), [286.0, 300.0]);
    }
}
