//! What cards do: step times by op, the recurrence suite over its roof, and which card computes what right.

use super::chart::{tick_text, ticks};
use super::format;
use super::heat::{Grid, Tile};
use super::source::{BenchFile, Material};
use super::style::{COLORS, MARKERS, Style};
use super::svg::{Place, escaped, marker, open};
use crate::bench::Entry;
use crate::check::Status;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Share of a step below which an op is one of the others.
const SMALL: f64 = 0.02;
/// Height of a row, in pixels.
const ROW: f64 = 19.0;

/// A picture of cards, with where its numbers come from.
#[derive(Debug, Clone)]
pub(super) struct CardPicture {
    /// Name in files and on the page.
    pub(super) id: String,
    /// What stands over it.
    pub(super) title: String,
    /// A sentence for who does not see it.
    pub(super) alt: String,
    /// Draws it.
    pub(super) drawing: Drawing,
    /// Files behind it, with commit and device.
    pub(super) files: Vec<String>,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(super) enum Drawing {
    /// Steps by op.
    Bars(Vec<Bar>),
    /// Times over the roof.
    Dots(Dots),
    /// Checks.
    Grid(Grid),
}

/// A training step.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    /// Model, shape and card.
    pub(super) label: String,
    /// Milliseconds.
    pub(super) total_ms: f64,
    /// Shares of the device's time by op and pass, largest first; small ones together.
    pub(super) parts: Vec<(String, f64)>,
}

/// A time over what the roof allows, and what is said of it.
type Over = (f64, String);

/// Times over what the roofline allows.
#[derive(Debug, Clone, Default)]
pub(super) struct Dots {
    /// Cards.
    pub(super) cards: Vec<String>,
    /// Op and shape, with what each card does.
    pub(super) rows: Vec<(String, Vec<Option<Over>>)>,
}

impl CardPicture {
    /// As SVG.
    pub(super) fn svg(&self, place: Place) -> String {
        match &self.drawing {
            Drawing::Bars(bars) => self.bars(bars, place),
            Drawing::Dots(dots) => self.dots(dots, place),
            Drawing::Grid(grid) => grid.svg(&self.title, &self.alt, place),
        }
    }

    fn begin(&self, width: f64, height: f64, place: Place) -> String {
        let mut out = open(width, height, &self.alt, place);
        if place == Place::Alone {
            write!(
                out,
                "<text class=\"ti\" x=\"12\" y=\"20\">{}</text>",
                escaped(&self.title)
            )
            .expect("writing to a string");
        }
        out
    }

    fn bars(&self, bars: &[Bar], place: Place) -> String {
        let names = bars
            .iter()
            .map(|bar| bar.label.chars().count())
            .max()
            .unwrap_or(0) as f64;
        let left = (16.0 + 6.3 * names).min(420.0);
        let width = left + 460.0;
        let top = if place == Place::Alone { 34.0 } else { 8.0 };
        // Bars are as long as their steps; the ops of each are said below it.
        let height = top + bars.len() as f64 * (ROW + 16.0) + 44.0;
        let mut out = self.begin(width, height, place);
        let most = bars.iter().map(|bar| bar.total_ms).fold(0.0, f64::max).max(1e-9);
        let (from, to) = (left, width - 70.0);
        let x = |ms: f64| from + (to - from) * ms / most;
        for (i, bar) in bars.iter().enumerate() {
            let y = top + i as f64 * (ROW + 16.0);
            write!(
                out,
                "<text class=\"tx\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 13.0,
                escaped(&bar.label)
            )
            .expect("writing to a string");
            let mut done = 0.0;
            let mut said = String::new();
            for (p, (name, share)) in bar.parts.iter().enumerate() {
                let (start, end) = (x(done), x(done + share * bar.total_ms));
                let ms = share * bar.total_ms;
                write!(
                    out,
                    "<rect class=\"k{}\" x=\"{start:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.0}\" \
                     fill=\"currentColor\" fill-opacity=\"0.8\"><title>{}: {ms:.3} ms, {:.1} %</title></rect>",
                    p % COLORS.len(),
                    (end - start - 0.7).max(0.3),
                    ROW - 5.0,
                    escaped(name),
                    100.0 * share
                )
                .expect("writing to a string");
                if p < 4 {
                    write!(
                        said,
                        "{}{name} {:.0} %",
                        if p == 0 { "" } else { ", " },
                        100.0 * share
                    )
                    .expect("writing to a string");
                }
                done += share * bar.total_ms;
            }
            write!(
                out,
                "<text class=\"tx\" x=\"{:.1}\" y=\"{:.1}\">{:.2} ms</text><text class=\"lt\" fill=\"currentColor\" \
                 x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
                x(bar.total_ms) + 5.0,
                y + 12.0,
                bar.total_ms,
                y + 27.0,
                escaped(&said)
            )
            .expect("writing to a string");
        }
        let bottom = height - 36.0;
        axis(
            &mut out,
            "time of a training step [ms]",
            [from, to],
            bottom,
            [0.0, most],
            false,
            &x,
        );
        out.push_str("</svg>");
        out
    }

    fn dots(&self, dots: &Dots, place: Place) -> String {
        let names = dots
            .rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0) as f64;
        let left = (20.0 + 6.3 * names).min(520.0);
        let width = left + 420.0;
        let head = if place == Place::Alone { 34.0 } else { 8.0 };
        let top = head + 16.0 * dots.cards.len() as f64 + 6.0;
        let height = top + dots.rows.len() as f64 * ROW + 46.0;
        let mut out = self.begin(width, height, place);
        let all = || {
            dots.rows
                .iter()
                .flat_map(|(_, cells)| cells.iter().flatten())
                .map(|(v, _)| *v)
        };
        let (low, high) = (all().fold(1.0, f64::min) / 1.1, all().fold(2.0, f64::max) * 1.15);
        let (from, to) = (left + 8.0, width - 16.0);
        let x = |v: f64| from + (to - from) * (v / low).ln() / (high / low).ln();
        let bottom = height - 38.0;
        axis(
            &mut out,
            "time over what the roof allows",
            [from, to],
            bottom,
            [low, high],
            true,
            &x,
        );
        write!(
            out,
            "<path class=\"lv\" d=\"M{:.1} {:.1}V{bottom:.1}\"><title>the roof</title></path>",
            x(1.0),
            top - 4.0
        )
        .expect("writing to a string");
        for (c, card) in dots.cards.iter().enumerate() {
            let y = head + 16.0 * c as f64 + 10.0;
            let style = card_style(c);
            write!(out, "<g class=\"k{}\">", style.color).expect("writing to a string");
            marker(&mut out, style, [left + 14.0, y - 4.0], false, card);
            write!(
                out,
                "<text fill=\"currentColor\" x=\"{:.1}\" y=\"{y:.1}\">{}</text></g>",
                left + 24.0,
                escaped(card)
            )
            .expect("writing to a string");
        }
        for (r, (name, cells)) in dots.rows.iter().enumerate() {
            let y = top + (r as f64 + 0.5) * ROW;
            write!(
                out,
                "<path class=\"gr\" d=\"M{from:.1} {y:.1}H{to:.1}\"/><text class=\"tx\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                left - 2.0,
                y + 4.0,
                escaped(name)
            )
            .expect("writing to a string");
            for (c, cell) in cells.iter().enumerate() {
                if let Some((over, note)) = cell {
                    let style = card_style(c);
                    write!(out, "<g class=\"k{}\">", style.color).expect("writing to a string");
                    marker(&mut out, style, [x(*over), y], false, note);
                    out.push_str("</g>");
                }
            }
        }
        out.push_str("</svg>");
        out
    }
}

/// Colours without black and yellow first: cards are no models.
fn card_style(card: usize) -> Style {
    const ORDER: [usize; 8] = [5, 2, 4, 6, 1, 3, 0, 7];
    Style {
        place: card,
        color: ORDER[card % ORDER.len()],
        marker: card % MARKERS.len(),
    }
}

fn axis(
    out: &mut String,
    title: &str,
    [from, to]: [f64; 2],
    bottom: f64,
    span: [f64; 2],
    log: bool,
    x: &dyn Fn(f64) -> f64,
) {
    write!(
        out,
        "<path class=\"ax\" d=\"M{from:.1} {bottom:.1}H{to:.1}\"/><text class=\"tx\" text-anchor=\"middle\" x=\"{:.1}\" \
         y=\"{:.1}\">{}</text>",
        (from + to) / 2.0,
        bottom + 33.0,
        escaped(title)
    )
    .expect("writing to a string");
    for value in ticks(span, log) {
        let at = x(value);
        write!(
            out,
            "<path class=\"ax\" d=\"M{at:.1} {bottom:.1}v4\"/><text class=\"tx\" text-anchor=\"middle\" x=\"{at:.1}\" \
             y=\"{:.1}\">{}</text>",
            bottom + 17.0,
            tick_text(value)
        )
        .expect("writing to a string");
    }
}

fn file_line(file: &BenchFile) -> String {
    let report = &file.report;
    format!(
        "{}: {}{}, commit {}, copy {:.0} GB/s, product {:.0} GFLOP/s",
        file.path.display(),
        report.device,
        report
            .driver
            .as_ref()
            .map_or_else(String::new, |d| format!(", {d}")),
        report.commit,
        report.copy_gb_s,
        report.product_gflop_s
    )
}

/// A card's name, told apart where two files are of one card.
fn card_names(benches: &[BenchFile]) -> Vec<String> {
    let name = |file: &BenchFile| file.report.device.clone();
    let twice = |file: &BenchFile| benches.iter().filter(|other| name(other) == name(file)).count() > 1;
    let name = |file: &BenchFile| match twice(file) {
        true => format!("{} ({})", name(file), super::run::name_of(&file.path)),
        false => name(file),
    };
    benches.iter().map(name).collect()
}

/// Pictures of all benches and checks.
pub(super) fn pictures(material: &Material) -> Vec<CardPicture> {
    let benches = &material.benches;
    let cards = card_names(benches);
    let mut found = Vec::new();
    let bars: Vec<Bar> = benches
        .iter()
        .zip(&cards)
        .flat_map(|(file, card)| {
            file.report
                .entries
                .iter()
                .filter_map(move |entry| bar(entry, card))
        })
        .collect();
    if let Some(slowest) = bars.iter().max_by(|a, b| a.total_ms.total_cmp(&b.total_ms)) {
        let title = "Training step by op".to_owned();
        found.push(CardPicture {
            id: "speed-steps".to_owned(),
            alt: format!(
                "{title}; longest is {} with {:.2} ms.",
                slowest.label, slowest.total_ms
            ),
            title,
            drawing: Drawing::Bars(bars),
            files: benches.iter().map(file_line).collect(),
        });
    }
    for (pass, name) in [("forward", "forward"), ("training", "forward and backward")] {
        let dots = dots(benches, &cards, pass);
        let all = dots.rows.iter().flat_map(|(name, cells)| {
            let cells = cells.iter().flatten();
            cells.map(move |(over, _)| (name, *over))
        });
        let Some((worst, over)) = all.max_by(|a, b| a.1.total_cmp(&b.1)) else {
            continue;
        };
        let title = format!("Ops against the roof of each card, {name}");
        found.push(CardPicture {
            id: format!("speed-{pass}"),
            alt: format!(
                "{title}: {} shapes on {} card{}; farthest from its roof is {worst} with {} times.",
                dots.rows.len(),
                cards.len(),
                if cards.len() == 1 { "" } else { "s" },
                format::short(over)
            ),
            title,
            drawing: Drawing::Dots(dots),
            files: benches.iter().map(file_line).collect(),
        });
    }
    found.extend(atlas(material));
    found
}

fn bar(entry: &Entry, card: &str) -> Option<Bar> {
    let step = entry.step.as_ref()?;
    let mut parts: Vec<(String, f64)> = step
        .ops
        .iter()
        .filter(|(_, share)| **share >= SMALL)
        .map(|(name, share)| (name.clone(), *share))
        .collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let others: f64 = step.ops.values().filter(|share| **share < SMALL).sum();
    if others > 0.0 {
        parts.push(("others".to_owned(), others));
    }
    if parts.is_empty() {
        parts.push(("all ops (this device has no clock)".to_owned(), 1.0));
    }
    Some(Bar {
        label: format!("{}, {card}", entry.name),
        total_ms: entry.median_ms,
        parts,
    })
}

fn dots(benches: &[BenchFile], cards: &[String], pass: &str) -> Dots {
    let mut rows: Vec<(String, Vec<Option<Over>>)> = Vec::new();
    for (c, file) in benches.iter().enumerate() {
        for entry in &file.report.entries {
            if entry.pass != pass || entry.step.is_some() || entry.roof_share <= 0.0 {
                continue;
            }
            let place = rows.iter().position(|(name, _)| *name == entry.name);
            let place = place.unwrap_or_else(|| {
                rows.push((entry.name.clone(), vec![None; cards.len()]));
                rows.len() - 1
            });
            let over = 1.0 / entry.roof_share;
            let note = format!(
                "{}, {}: {} ms ({} to {}, {} runs), {} times the roof; {} GB/s, {} GFLOP/s",
                entry.name,
                cards[c],
                format::short(entry.median_ms),
                format::short(entry.min_ms),
                format::short(entry.max_ms),
                entry.runs,
                format::short(over),
                format::short(entry.gb_s),
                format::short(entry.gflop_s)
            );
            rows[place].1[c] = Some((over, note));
        }
    }
    Dots {
        cards: cards.to_vec(),
        rows,
    }
}

/// Cards and variants by op: the largest error over what is allowed.
fn atlas(material: &Material) -> Option<CardPicture> {
    let checks = &material.checks;
    let all = checks.iter().flat_map(|file| &file.report.checks);
    let subjects: BTreeSet<&str> = all.map(|check| check.subject()).collect();
    if subjects.is_empty() {
        return None;
    }
    let mut grid = Grid {
        row_name: "card and variant".to_owned(),
        column_name: "op or model".to_owned(),
        columns: subjects.iter().map(|s| (*s).to_owned()).collect(),
        ..Grid::default()
    };
    let (mut failed, mut passed) = (0, 0);
    for file in checks {
        let card = file.card();
        let mut variants: Vec<&str> = Vec::new();
        for check in &file.report.checks {
            if !variants.contains(&check.place()) {
                variants.push(check.place());
            }
        }
        for variant in variants {
            grid.rows.push(if variant.contains(&card) {
                variant.to_owned()
            } else {
                format!("{card}: {variant}")
            });
            let tiles = subjects.iter().map(|subject| {
                let of_subject = || {
                    let checks = file.report.checks.iter();
                    checks.filter(|c| {
                        c.place() == variant && c.subject() == *subject && c.status != Status::Skipped
                    })
                };
                let count = of_subject().count();
                if count == 0 {
                    return Tile::NotRun;
                }
                let bad = of_subject().filter(|c| c.status == Status::Failed).count();
                passed += count - bad;
                failed += bad;
                let ratio = |c: &crate::check::Check| match (c.error, c.allowed) {
                    (Some(error), Some(allowed)) => error / allowed,
                    _ if c.status == Status::Failed => f64::INFINITY,
                    _ => 0.0,
                };
                let worst = of_subject().max_by(|a, b| ratio(a).total_cmp(&ratio(b)));
                let worst = worst.map_or_else(String::new, |c| {
                    let number = |x: Option<f64>| x.map_or_else(|| "not a number".to_owned(), format::short);
                    format!("{}: error {} of {}", c.name, number(c.error), number(c.allowed))
                });
                let note = format!(
                    "{subject}, {variant}: {count} checks, {bad} failed; closest to its limit {worst}"
                );
                let largest = of_subject().map(ratio).fold(0.0, f64::max);
                match bad {
                    // From a ten-thousandth of what is allowed to all of it.
                    0 => Tile::Value(1.0 + (largest.max(1e-4)).log10() / 4.0, note),
                    _ => Tile::Bad(note),
                }
            });
            let tiles: Vec<Tile> = tiles.collect();
            grid.cells.push(tiles);
        }
    }
    let title = "Which card computes what right".to_owned();
    let line = |file: &super::source::CheckFile| {
        let report = &file.report;
        format!(
            "{}: {}{}, commit {}, {} passed, {} failed, {} skipped",
            file.path.display(),
            file.card(),
            report
                .driver
                .as_ref()
                .map_or_else(String::new, |d| format!(", {d}")),
            report.commit,
            report.passed,
            report.failed,
            report.skipped
        )
    };
    Some(CardPicture {
        id: "atlas".to_owned(),
        alt: format!(
            "{title}: {passed} checks within what is allowed, {failed} not; darkness is the largest error over what is \
             allowed, on a scale from a ten-thousandth to 1; hatched was not run."
        ),
        title,
        drawing: Drawing::Grid(grid),
        files: checks.iter().map(line).collect(),
    })
}
