//! The learning curve of a run as an SVG picture: accuracy between chance and ceiling, and the loss below it.

use super::{CURVE_FILE, Metrics, RunResult, atomic, metrics};
use crate::error::Result;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// Size of the picture, in pixels.
const SIZE: (u32, u32) = (960, 680);
const TITLE_HEIGHT: u32 = 50;
const ACCURACY_HEIGHT: u32 = 350;
/// Width of the column at the right where lines are named.
const LABELS_WIDTH: u32 = 190;
/// Least distance of two labels.
const LABEL_STEP: i32 = 19;
/// Evaluations up to which each is marked by a point.
const MOST_POINTS: usize = 60;
const FONT: &str = "Helvetica, Arial, sans-serif";

const TEXT: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);
const VALIDATION: RGBColor = RGBColor(0x1f, 0x5f, 0xbf);
const TRAINING: RGBColor = RGBColor(0xd9, 0x7a, 0x1e);
const CEILING: RGBColor = RGBColor(0x2a, 0x85, 0x4a);
const BIGRAM: RGBColor = RGBColor(0x84, 0x4f, 0xa8);
const CHANCE: RGBColor = RGBColor(0x77, 0x77, 0x77);

/// Accuracies to compare a model with, as fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// 1 / classes.
    pub chance: f64,
    /// The bigram predictor's.
    pub bigram: f64,
    /// The ideal observer's.
    pub ceiling: f64,
}

/// Draws the curve of a run whose metrics are in its folder.
///
/// # Errors
/// [`crate::error::Error::Io`].
pub fn of_run(folder: &Path, result: &RunResult) -> Result<()> {
    let levels = Levels {
        chance: result.chance,
        bigram: result.baseline_n2,
        ceiling: result.ceiling,
    };
    let title = format!("{} on {}", result.model_text(), result.task);
    write_svg(&folder.join(CURVE_FILE), &metrics::read(folder)?, levels, &title)
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// A level.
    Dashed,
    /// Logged often.
    Thin,
    /// Evaluated now and then: each point is marked where there are few.
    Marked,
}

/// A curve or a horizontal line, with the name that stands at its right end.
struct Line {
    name: &'static str,
    color: RGBColor,
    style: Style,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn training(points: impl Iterator<Item = (u64, Option<f64>)>) -> Self {
        Self {
            name: "training",
            color: TRAINING,
            style: Style::Thin,
            points: finite(points),
        }
    }

    fn validation(points: impl Iterator<Item = (u64, Option<f64>)>) -> Self {
        Self {
            name: "validation",
            color: VALIDATION,
            style: Style::Marked,
            points: finite(points),
        }
    }

    fn level(name: &'static str, color: RGBColor, value: f64, last_step: f64) -> Self {
        let points = vec![(0.0, value), (last_step, value)];
        Self {
            name,
            color,
            style: Style::Dashed,
            points,
        }
    }
}

fn finite(points: impl Iterator<Item = (u64, Option<f64>)>) -> Vec<(f64, f64)> {
    points
        .filter_map(|(step, value)| Some((step as f64, value.filter(|v| v.is_finite())?)))
        .collect()
}

type Panel<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Writes the picture of a run, whole or not at all.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io).
pub fn write_svg(path: &Path, metrics: &[Metrics], levels: Levels, title: &str) -> Result<()> {
    let picture = svg(metrics, levels, title);
    atomic::replace(path, |out| out.write_all(picture.as_bytes()))
}

/// The picture as SVG text, to be put into a page. Values that are not finite are left out.
pub fn svg(metrics: &[Metrics], levels: Levels, title: &str) -> String {
    let mut out = String::new();
    draw(&mut out, metrics, levels, title).expect("drawing into a string cannot fail");
    out
}

fn draw(out: &mut String, metrics: &[Metrics], levels: Levels, title: &str) -> Drawn {
    let last_step = metrics.iter().map(|m| m.step).max().unwrap_or(0).max(1) as f64;
    let percent = |v: Option<f64>| v.map(|v| 100.0 * v);
    let accuracy = [
        Line::level("ceiling", CEILING, 100.0 * levels.ceiling, last_step),
        Line::level("bigram", BIGRAM, 100.0 * levels.bigram, last_step),
        Line::level("chance", CHANCE, 100.0 * levels.chance, last_step),
        Line::training(metrics.iter().map(|m| (m.step, percent(m.train_accuracy)))),
        Line::validation(metrics.iter().map(|m| (m.step, percent(m.accuracy)))),
    ];
    let loss = [
        Line::training(metrics.iter().map(|m| (m.step, Some(m.loss)))),
        Line::validation(metrics.iter().map(|m| (m.step, m.validation_loss))),
    ];
    let highest = loss
        .iter()
        .flat_map(|l| &l.points)
        .map(|p| p.1)
        .fold(0.0, f64::max);
    let loss_end = if highest > 0.0 { 1.05 * highest } else { 1.0 };

    let root = SVGBackend::with_string(out, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(TITLE_HEIGHT);
    // A character is about 0.55 of the size wide.
    let title_size = (f64::from(SIZE.0 - 80) / (0.55 * title.chars().count().max(1) as f64)).clamp(9.0, 22.0);
    text(
        &head,
        title,
        (SIZE.0 as i32 / 2, TITLE_HEIGHT as i32 / 2 + 4),
        title_size,
        TEXT,
        HPos::Center,
    )?;
    let (upper, lower) = body.split_vertically(ACCURACY_HEIGHT);
    let form = |v: f64| format!("{v:.*} %", if v < 0.995 { 2 } else { 1 });
    panel(
        &upper,
        &root,
        "accuracy [%]",
        None,
        last_step,
        100.0,
        &accuracy,
        &form,
    )?;
    panel(
        &lower,
        &root,
        "loss [nats]",
        Some("updates"),
        last_step,
        loss_end,
        &loss,
        &|v| format!("{v:.3}"),
    )?;
    root.present()?;
    Ok(())
}

/// One coordinate system with its lines, and their names in the column at its right.
fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    y_name: &str,
    x_name: Option<&str>,
    x_end: f64,
    y_end: f64,
    lines: &[Line],
    form: &dyn Fn(f64) -> String,
) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin_top(10)
        .margin_right(LABELS_WIDTH)
        .margin_left(15)
        .margin_bottom(10)
        .x_label_area_size(if x_name.is_some() { 50 } else { 15 })
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..x_end, 0.0..y_end)?;
    let font = |size: f64| TextStyle::from((FONT, 1.24 * size).into_font()).color(&TEXT);
    let decimals = if y_end < 0.1 {
        3
    } else if y_end < 1.0 {
        2
    } else if y_end < 10.0 {
        1
    } else {
        0
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .x_labels(if x_name.is_some() { 8 } else { 0 })
        .y_labels(6)
        .x_label_formatter(&|v| thousands(*v))
        .y_label_formatter(&|v| format!("{v:.decimals$}"))
        .label_style(font(13.0))
        .axis_desc_style(font(14.0))
        .x_desc(x_name.unwrap_or_default())
        .y_desc(y_name)
        .draw()?;
    for line in lines {
        draw_line(&mut chart, line)?;
    }
    draw_labels(&chart, root, lines, x_end, form)
}

fn draw_line(chart: &mut Panel<'_, '_>, line: &Line) -> Drawn {
    let points = line.points.iter().copied();
    let width = if line.style == Style::Thin { 1 } else { 2 };
    let stroke = line.color.stroke_width(width);
    if line.style == Style::Dashed {
        chart.draw_series(DashedLineSeries::new(points, 6, 4, stroke))?;
        return Ok(());
    }
    chart.draw_series(LineSeries::new(points.clone(), stroke))?;
    if line.points.len() == 1 || line.style == Style::Marked && line.points.len() <= MOST_POINTS {
        chart.draw_series(points.map(|p| Circle::new(p, 3, line.color.filled())))?;
    }
    Ok(())
}

/// Names each line with its last value beside its right end, moved apart where they would overlap.
fn draw_labels(
    chart: &Panel<'_, '_>,
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    lines: &[Line],
    x_end: f64,
    form: &dyn Fn(f64) -> String,
) -> Drawn {
    let (_, bottom) = chart.backend_coord(&(0.0, 0.0));
    let mut labels: Vec<_> = lines
        .iter()
        .filter_map(|line| Some((line, *line.points.last()?)))
        .map(|(line, (_, value))| (chart.backend_coord(&(x_end, value)), line, value))
        .collect();
    labels.sort_by_key(|((_, y), ..)| *y);
    let ends: Vec<i32> = labels.iter().map(|((_, y), ..)| *y).collect();
    for (((right, end), line, value), y) in labels.into_iter().zip(spread(&ends, bottom)) {
        let leader = vec![
            (right + 3, end),
            (right + 8, end),
            (right + 16, y),
            (right + 20, y),
        ];
        root.draw(&PathElement::new(leader, line.color.stroke_width(1)))?;
        let label = format!("{} {}", line.name, form(value));
        text(root, &label, (right + 25, y), 14.0, line.color, HPos::Left)?;
    }
    Ok(())
}

/// Heights for labels that want to stand at these, sorted ones: at least [`LABEL_STEP`] apart, the last not below
/// `bottom`.
fn spread(wanted: &[i32], bottom: i32) -> Vec<i32> {
    let mut heights = wanted.to_vec();
    for i in 1..heights.len() {
        heights[i] = heights[i].max(heights[i - 1] + LABEL_STEP);
    }
    let mut limit = bottom;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(limit);
        limit = *height - LABEL_STEP;
    }
    heights
}

fn text(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    text: &str,
    at: (i32, i32),
    size: f64,
    color: RGBColor,
    h_pos: HPos,
) -> Drawn {
    // The backend divides sizes by 1.24.
    let style = TextStyle::from((FONT, 1.24 * size).into_font())
        .color(&color)
        .pos(Pos::new(h_pos, VPos::Center));
    area.draw_text(text, &style, at)?;
    Ok(())
}

/// 12500 as `12,500`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: Levels = Levels {
        chance: 1.0 / 1601.0,
        bigram: 0.031,
        ceiling: 0.964,
    };

    fn run(steps: u64) -> Vec<Metrics> {
        let line = |step: u64| {
            let done = step as f64 / steps as f64;
            Metrics {
                step,
                tokens: None,
                loss: 7.4 * (-4.0 * done).exp() + 0.2,
                accuracy: step
                    .is_multiple_of(78)
                    .then_some(0.92 * (1.0 - (-5.0 * done).exp())),
                validation_loss: step
                    .is_multiple_of(78)
                    .then_some(7.4 * (-4.0 * done).exp() + 0.25),
                train_accuracy: Some(0.9 * (1.0 - (-4.8 * done).exp())),
                lr: 1e-3,
                grad_norm: 1.0,
                tokens_per_s: 1e5,
            }
        };
        (1..=steps)
            .filter(|step| step.is_multiple_of(13))
            .map(line)
            .collect()
    }

    #[test]
    fn every_line_is_named_with_its_last_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curve.svg");
        let metrics = run(3120);
        write_svg(&path, &metrics, LEVELS, "task1 <gla> & co").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, svg(&metrics, LEVELS, "task1 <gla> & co"));
        for part in [
            "ceiling 96.4 %",
            "bigram 3.1 %",
            "chance 0.06 %",
            "validation 91.4 %",
            "training 89.3 %",
            "training 0.336",
            "validation 0.386",
            "accuracy [%]",
            "loss [nats]",
            "updates",
            "3,000",
            "task1 &lt;gla&gt; &amp; co",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn few_or_broken_values_make_a_picture_too() {
        let nan = Metrics {
            loss: f64::NAN,
            accuracy: Some(f64::INFINITY),
            train_accuracy: None,
            ..run(78)[5].clone()
        };
        for metrics in [vec![], run(78)[5..].to_vec(), vec![nan]] {
            let text = svg(&metrics, LEVELS, "");
            assert!(
                text.contains("ceiling 96.4 %") && !text.contains("NaN") && !text.contains("inf"),
                "{text}"
            );
        }
    }

    #[test]
    fn labels_stand_apart_and_inside() {
        assert_eq!(spread(&[10, 100, 200], 300), [10, 100, 200]);
        assert_eq!(spread(&[100, 101, 102], 300), [100, 119, 138]);
        assert_eq!(spread(&[10, 298, 299, 300], 300), [10, 262, 281, 300]);
        assert!(spread(&[], 300).is_empty());
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 1_234_567.0].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
