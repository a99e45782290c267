//! What cards do: step times by op, and the recurrence suite over its roof.

use super::chart::{tick_text, ticks};
use super::format;
use super::heat::Grid;
use super::run::name_of;
use super::source::{BenchFile, Material};
use super::style::{COLORS, MARKERS, Style};
use super::svg::{Place, escaped, marker, open};
use crate::bench::{Entry, StepFacts};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Width of a character, in pixels.
const CHARACTER: f64 = 6.8;
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
    Bars(Bars),
    /// Times over the roof.
    Dots(Dots),
    /// Checks.
    Grid(Grid),
}

/// Training steps.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    /// The ops that take most of all steps' time together, longest first: each has a colour.
    pub(super) ops: Vec<String>,
    /// The steps, those of a card together.
    pub(super) rows: Vec<Bar>,
}

/// A training step.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    /// Model and shape.
    pub(super) label: String,
    /// The card.
    pub(super) card: String,
    /// Milliseconds.
    pub(super) total_ms: f64,
    /// Shares of the device's time by op and pass: first those of [`Bars::ops`] in their order, then the others together.
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

    fn bars(&self, bars: &Bars, place: Place) -> String {
        let names = bars.rows.iter().map(|bar| bar.label.chars().count());
        let left = 16.0 + CHARACTER * names.max().unwrap_or(0) as f64;
        let cards = bars.rows.iter().map(|bar| bar.card.chars().count());
        let width = (left + 500.0).max(24.0 + CHARACTER * cards.max().unwrap_or(0) as f64);
        let head = if place == Place::Alone { 34.0 } else { 8.0 };
        // Names of ops, as many in a line as there is room for.
        let mut key = Vec::new();
        let [mut x, mut y] = [14.0, head];
        for (color, name) in bars.ops.iter().enumerate() {
            let room = 26.0 + CHARACTER * name.chars().count() as f64;
            if x + room > width {
                (x, y) = (14.0, y + 17.0);
            }
            key.push((color, name, [x, y]));
            x += room;
        }
        let top = y + if bars.ops.is_empty() { 0.0 } else { 24.0 };
        let is_new = |i: usize| i == 0 || bars.rows[i].card != bars.rows[i - 1].card;
        let over = (0..bars.rows.len()).filter(|i| is_new(*i)).count();
        let height = top + (bars.rows.len() + over) as f64 * ROW + 44.0;
        let mut out = self.begin(width, height, place);
        for (color, name, [x, y]) in key {
            write!(
                out,
                "<rect class=\"k{color}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"10\" height=\"10\" fill=\"currentColor\" \
                 fill-opacity=\"0.8\"/><text class=\"tx\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 14.0,
                y + 9.5,
                escaped(name)
            )
            .expect("writing to a string");
        }
        let most = bars
            .rows
            .iter()
            .map(|bar| bar.total_ms)
            .fold(0.0, f64::max)
            .max(1e-9);
        let (from, to) = (left, width - 80.0);
        let x = |ms: f64| from + (to - from) * ms / most;
        let mut y = top;
        for (i, bar) in bars.rows.iter().enumerate() {
            if is_new(i) {
                write!(
                    out,
                    "<text class=\"tx\" x=\"14\" y=\"{:.1}\">{}</text>",
                    y + 13.0,
                    escaped(&bar.card)
                )
                .expect("writing to a string");
                y += ROW;
            }
            write!(
                out,
                "<text class=\"tx\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 12.0,
                escaped(&bar.label)
            )
            .expect("writing to a string");
            let mut done = 0.0;
            for (name, share) in &bar.parts {
                let ms = share * bar.total_ms;
                let (start, end) = (x(done), x(done + ms));
                let class = match bars.ops.iter().position(|op| op == name) {
                    Some(color) => format!("k{color}"),
                    None => "lt".to_owned(),
                };
                write!(
                    out,
                    "<rect class=\"{class}\" x=\"{start:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.0}\" \
                     fill=\"currentColor\" fill-opacity=\"0.8\"><title>{}: {} ms, {:.1} %</title></rect>",
                    (end - start - 0.7).max(0.3),
                    ROW - 5.0,
                    escaped(name),
                    format::short(ms),
                    100.0 * share
                )
                .expect("writing to a string");
                done += ms;
            }
            write!(
                out,
                "<text class=\"tx\" x=\"{:.1}\" y=\"{:.1}\">{} ms</text>",
                x(bar.total_ms) + 5.0,
                y + 12.0,
                format::short(bar.total_ms)
            )
            .expect("writing to a string");
            y += ROW;
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
        let names = dots.rows.iter().map(|(name, _)| name.chars().count());
        let left = 20.0 + CHARACTER * names.max().unwrap_or(0) as f64;
        let cards = dots.cards.iter().map(|card| card.chars().count());
        let width = left + (40.0 + CHARACTER * cards.max().unwrap_or(0) as f64).max(420.0);
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
            "time over what the roof allows (1: at the roof)",
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
        "{}: {}{}, {}, commit {}, copy {:.0} GB/s, product {:.0} GFLOP/s",
        file.path.display(),
        report.device,
        report
            .driver
            .as_ref()
            .map_or_else(String::new, |d| format!(", {d}")),
        report.precision,
        report.commit,
        report.copy_gb_s,
        report.product_gflop_s
    )
}

/// Names of the cards that files are of, with the file where two are of one card.
pub(super) fn card_names<'a>(files: impl Iterator<Item = (String, &'a Path)>) -> Vec<String> {
    let files: Vec<(String, &Path)> = files.collect();
    let count = |is: &dyn Fn(&(String, &Path)) -> bool| files.iter().filter(|file| is(file)).count();
    let name = |(card, path): &(String, &Path)| {
        let file = name_of(path);
        if count(&|(other, _)| other == card) < 2 {
            card.clone()
        } else if count(&|(other, path)| other == card && name_of(path) == file) < 2 {
            format!("{card}, {file}")
        } else {
            format!("{card}, {}", path.display())
        }
    };
    files.iter().map(name).collect()
}

/// Pictures of all benches.
pub(super) fn pictures(material: &Material) -> Vec<CardPicture> {
    let benches = &material.benches;
    let cards = card_names(
        benches
            .iter()
            .map(|file| (file.report.device.clone(), file.path.as_path())),
    );
    let mut found = Vec::new();
    if let Some(bars) = bars(benches, &cards) {
        let longest = bars.rows.iter().max_by(|a, b| a.total_ms.total_cmp(&b.total_ms));
        let longest = longest.map_or_else(String::new, |bar| {
            format!(
                "; longest is {} on {} with {} ms",
                bar.label,
                bar.card,
                format::short(bar.total_ms)
            )
        });
        let title = "Training step by op".to_owned();
        found.push(CardPicture {
            id: "speed-steps".to_owned(),
            alt: format!("{title}{longest}. Grey: all other ops together."),
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
                dots.cards.len(),
                if dots.cards.len() == 1 { "" } else { "s" },
                format::short(over)
            ),
            title,
            drawing: Drawing::Dots(dots),
            files: benches.iter().map(file_line).collect(),
        });
    }
    found
}

/// Training steps of all benches; none if there are none.
fn bars(benches: &[BenchFile], cards: &[String]) -> Option<Bars> {
    let steps: Vec<(&Entry, &StepFacts, &String)> = benches
        .iter()
        .zip(cards)
        .flat_map(|(file, card)| {
            let entries = file.report.entries.iter();
            entries.filter_map(move |entry| Some((entry, entry.step.as_ref()?, card)))
        })
        .collect();
    let mut all: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, step, _) in &steps {
        for (name, share) in &step.ops {
            *all.entry(name).or_default() += share;
        }
    }
    let mut ops: Vec<(&str, f64)> = all.into_iter().collect();
    ops.sort_by(|a, b| b.1.total_cmp(&a.1));
    let ops: Vec<String> = ops
        .into_iter()
        .take(COLORS.len())
        .map(|(name, _)| name.to_owned())
        .collect();
    let row = |(entry, step, card): &(&Entry, &StepFacts, &String)| {
        let own = ops.iter().filter_map(|op| Some((op.clone(), *step.ops.get(op)?)));
        let mut parts: Vec<(String, f64)> = own.collect();
        let others = step.ops.iter().filter(|(name, _)| !ops.contains(name));
        let others: f64 = others.map(|(_, share)| share).sum();
        match step.ops.is_empty() {
            true => parts.push(("all ops (this device has no clock)".to_owned(), 1.0)),
            false => parts.push(("others".to_owned(), others)),
        }
        Bar {
            label: entry.name.clone(),
            card: (*card).clone(),
            total_ms: entry.median_ms,
            parts,
        }
    };
    let rows: Vec<Bar> = steps.iter().map(row).collect();
    (!rows.is_empty()).then_some(Bars { ops, rows })
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
    // Files of steps alone have nothing to show here.
    let has = |c: &usize| rows.iter().any(|(_, cells)| cells[*c].is_some());
    let kept: Vec<usize> = (0..cards.len()).filter(has).collect();
    let of = |cells: Vec<Option<Over>>| kept.iter().map(|&c| cells[c].clone()).collect();
    Dots {
        cards: kept.iter().map(|&c| cards[c].clone()).collect(),
        rows: rows.into_iter().map(|(name, cells)| (name, of(cells))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench;

    /// Of a card with one step: model, milliseconds, shares of ops.
    fn file(path: &str, device: &str, name: &str, ms: f64, ops: &[(&str, f64)]) -> BenchFile {
        let ops: serde_json::Map<_, _> = ops
            .iter()
            .map(|(op, share)| ((*op).to_owned(), (*share).into()))
            .collect();
        let report = serde_json::json!({
            "version": "0.1.0", "commit": "abc1234", "device": device, "precision": "f32", "copy_gb_s": 1.0,
            "product_gflop_s": 1.0, "product_size": 1, "product_kernel": "", "scale": 1, "skipped": [],
            "entries": [{
                "name": name, "op": "step", "pass": "step", "source": "", "median_ms": ms, "min_ms": ms, "max_ms": ms,
                "runs": 3, "gb_s": 1.0, "gflop_s": 1.0, "copy_share": 0.1, "product_share": 0.1, "roof_share": 0.1,
                "step": { "params": 1, "tokens_s": 1.0, "peak_bytes": 1, "micro_batch": 1, "launches": 1,
                    "first_step_s": 1.0, "ops": ops },
            }],
        });
        BenchFile {
            path: path.into(),
            report: serde_json::from_value::<bench::Report>(report).unwrap(),
        }
    }

    #[test]
    fn an_op_has_one_colour_in_all_steps() {
        let long = "A card with a long name (Vulkan, a driver with a long name 580.159.04)";
        let material = Material {
            benches: vec![
                file(
                    "a.json",
                    long,
                    "gla",
                    4.0,
                    &[("linear_fwd", 0.6), ("gla_fwd", 0.3)],
                ),
                file(
                    "b.json",
                    long,
                    "mamba",
                    8.0,
                    &[("scan_fwd", 0.9), ("linear_fwd", 0.05)],
                ),
            ],
            ..Material::default()
        };
        let picture = &pictures(&material)[0];
        let Drawing::Bars(bars) = &picture.drawing else {
            panic!("{picture:?}")
        };
        assert_eq!(bars.ops, ["scan_fwd", "linear_fwd", "gla_fwd"]);
        let svg = picture.svg(Place::Page);
        // Three ops are named, the one that both steps have has one colour.
        assert_eq!(svg.matches("class=\"k1\"").count(), 3, "{svg}");
        assert!(
            svg.contains(">scan_fwd</text>") && svg.contains("linear_fwd: 2.40 ms, 60.0 %"),
            "{svg}"
        );
        // Two files of one card are told apart, and their names have room.
        assert_eq!(bars.rows[0].card, format!("{long}, a.json"));
        let width: f64 = svg
            .split("viewBox=\"0 0 ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(width > 14.0 + 6.0 * (long.len() + 8) as f64, "{width}");
    }

    #[test]
    fn files_of_one_card_and_name_are_told_apart_by_their_folders() {
        let name = |path| ("A card".to_owned(), Path::new(path));
        let names = card_names([name("a/BENCH.json"), name("b/BENCH.json"), name("c.json")].into_iter());
        assert_eq!(
            names,
            ["A card, a/BENCH.json", "A card, b/BENCH.json", "A card, c.json"]
        );
        let other = [name("a/BENCH.json"), ("Another".to_owned(), Path::new("b"))];
        assert_eq!(card_names(other.into_iter()), ["A card", "Another"]);
    }
}
