//! Heat maps: what gates do, layer by head, and which letters' states are confused.

use super::groups::{Cell, Groups};
use super::run::Run;
use super::source::Material;
use super::svg::{Place, escaped, open};
use crate::tasks::Grammar;
use crate::train::explain::Confused;
use crate::train::setup;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Side of a cell, in pixels.
const SIDE: f64 = 20.0;
/// Letters of the table of the worst ones.
const LETTERS: usize = 10;

/// A picture with what stands around it.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// Name in files and on the page.
    pub(super) id: String,
    /// What stands over it.
    pub(super) title: String,
    /// A sentence for who does not see it.
    pub(super) alt: String,
    /// The model, for the legend; empty if there are several.
    pub(super) model: String,
    /// Draws it.
    pub(super) grid: Grid,
    /// Places of the runs behind it.
    pub(super) runs: Vec<usize>,
}

/// Rows and columns of numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Grid {
    /// What the rows are.
    pub(super) row_name: String,
    /// What the columns are.
    pub(super) column_name: String,
    /// Names of the rows.
    pub(super) rows: Vec<String>,
    /// What stands over a row and those below it, by the row's place; ascending.
    pub(super) headings: Vec<(usize, String)>,
    /// Names of the columns.
    pub(super) columns: Vec<String>,
    /// What stands in each row.
    pub(super) cells: Vec<Vec<Tile>>,
}

/// A cell of a grid.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tile {
    /// Nothing belongs here.
    Empty,
    /// What belongs here was not run: hatched.
    NotRun,
    /// Darkness from 0 to 1, and what is said of it.
    Value(f64, String),
    /// Not as it has to be: crossed out.
    Bad(String),
}

impl Tile {
    /// A value where there is one.
    fn of(value: Option<(f64, String)>) -> Self {
        value.map_or(Self::Empty, |(share, note)| Self::Value(share, note))
    }

    fn draw(&self, out: &mut String, x: f64, y: f64) {
        let side = SIDE - 1.0;
        let square = |class: &str, more: &str, note: &str| {
            format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side}\" height=\"{side}\" class=\"{class}\"{more}>\
                 <title>{}</title></rect>",
                escaped(note)
            )
        };
        let drawn = match self {
            Self::Empty => String::new(),
            Self::NotRun => format!(
                "{}<path class=\"gr\" d=\"M{x:.1} {:.1}l7 -7M{x:.1} {:.1}l14 -14M{:.1} {:.1}l12 -12\"/>",
                square("none", "", "not run"),
                y + 7.0,
                y + 14.0,
                x + 6.0,
                y + side
            ),
            Self::Value(share, note) => {
                let opacity = 0.06 + 0.94 * share.clamp(0.0, 1.0);
                square("heat", &format!(" fill-opacity=\"{opacity:.2}\""), note)
            }
            Self::Bad(note) => format!(
                "{}<path class=\"bx\" d=\"M{:.1} {:.1}l11 11m0 -11l-11 11\"/>",
                square("bad", "", note),
                x + 4.0,
                y + 4.0
            ),
        };
        out.push_str(&drawn);
    }
}

impl Grid {
    /// As SVG.
    pub(super) fn svg(&self, title: &str, alt: &str, place: Place) -> String {
        let widest = |names: &[String]| names.iter().map(|n| n.chars().count()).max().unwrap_or(0) as f64;
        let left = 30.0 + 6.4 * widest(&self.rows);
        let head = if place == Place::Alone { 30.0 } else { 6.0 };
        let long_names = widest(&self.columns) > 3.0;
        let names = if long_names {
            8.0 + 6.4 * widest(&self.columns)
        } else {
            16.0
        };
        let top = head + 16.0 + names;
        let said = self.headings.iter().map(|(_, text)| text.chars().count()).max();
        let width = (left + SIDE * self.columns.len() as f64 + 20.0)
            .max(match place {
                Place::Alone => (40.0 + 7.0 * title.chars().count() as f64).max(420.0),
                Place::Page => 7.0 * self.column_name.chars().count() as f64 + left,
            })
            .max(said.map_or(0.0, |n| 40.0 + 7.0 * n as f64));
        let at = |row: usize| {
            let over = self.headings.iter().filter(|(first, _)| *first <= row).count();
            top + SIDE * (row + over) as f64
        };
        // Alone, what the colours mean has to stand in the picture.
        let caption = match place {
            Place::Alone => textwrap::wrap(alt, ((width - 28.0) / 6.4) as usize),
            Place::Page => Vec::new(),
        };
        let end = at(self.rows.len()) + 12.0;
        let height = end + 16.0 * caption.len() as f64;
        let mut out = open(width, height, alt, place);
        let text = |out: &mut String, x: f64, y: f64, anchor: &str, turn: &str, text: &str| {
            write!(
                out,
                "<text class=\"tx\" text-anchor=\"{anchor}\" transform=\"translate({x:.1} {y:.1}){turn}\">{}</text>",
                escaped(text)
            )
            .expect("writing to a string");
        };
        if place == Place::Alone {
            text(&mut out, 14.0, 20.0, "start", "", title);
        }
        text(&mut out, left, head + 12.0, "start", "", &self.column_name);
        let middle = (top + at(self.rows.len())) / 2.0;
        text(&mut out, 14.0, middle, "middle", " rotate(-90)", &self.row_name);
        for (i, name) in self.columns.iter().enumerate() {
            let x = left + SIDE * (i as f64 + 0.5);
            if long_names {
                text(&mut out, x + 4.0, top - 4.0, "start", " rotate(-90)", name);
            } else {
                text(&mut out, x, top - 4.0, "middle", "", name);
            }
        }
        for (row, heading) in &self.headings {
            text(&mut out, 24.0, at(*row) - 6.0, "start", "", heading);
        }
        for (r, (name, cells)) in self.rows.iter().zip(&self.cells).enumerate() {
            let y = at(r);
            text(&mut out, left - 5.0, y + 14.0, "end", "", name);
            for (c, cell) in cells.iter().enumerate() {
                cell.draw(&mut out, left + SIDE * c as f64, y);
            }
        }
        for (i, line) in caption.iter().enumerate() {
            text(&mut out, 14.0, end + 16.0 * i as f64 + 6.0, "start", "", line);
        }
        out.push_str("</svg>");
        out
    }
}

/// A mean of a gate, as `explained.json` keeps it.
#[derive(Debug, Deserialize)]
struct GateMean {
    layer: usize,
    gate: String,
    head: usize,
    symbols: Option<f64>,
    gaps: Option<f64>,
}

/// The first run of a cell that is done and says what it is made of.
fn first_explained<'a>(cell: &Cell, material: &'a Material) -> Option<(usize, &'a Run)> {
    let runs = cell.runs.iter().map(|&i| (i, &material.runs[i]));
    runs.into_iter()
        .find(|(_, run)| run.done().is_some() && run.details.is_some())
}

/// Heat maps of the gates: one a setting, variant and gate; layers by heads, on symbols and in gaps.
pub(super) fn gates(groups: &Groups, material: &Material) -> Vec<Picture> {
    let mut pictures = Vec::new();
    for cell in &groups.cells {
        let Some((i, run)) = first_explained(cell, material) else {
            continue;
        };
        let details = run.details.as_ref().expect("it was just looked for");
        let Ok(means) = Vec::<GateMean>::deserialize(&details.gates) else {
            continue;
        };
        let (setting, variant) = (&groups.settings[cell.setting], groups.variant(cell));
        // In task 3's gaps stand symbols that cannot follow.
        let gaps = if run.config.data.nongrammatical {
            "distractors"
        } else {
            "gaps"
        };
        for gate in ["decay", "write", "readout"] {
            let of_gate: Vec<&GateMean> = means.iter().filter(|m| m.gate == gate).collect();
            if of_gate.is_empty() {
                continue;
            }
            let id = format!("gate-{gate}-{}-{}", cell.setting + 1, cell.variant + 1);
            let title = format!(
                "{}: {} on {}, seed {}",
                variant.label(),
                gate_name(gate),
                setting.label(),
                run.config.train.seed
            );
            pictures.push(picture(id, title, &variant.model, gate, &of_gate, gaps, i));
        }
    }
    pictures
}

fn gate_name(gate: &str) -> &'static str {
    match gate {
        "decay" => "share of the state that is kept",
        "write" => "write strength",
        _ => "read-out gate",
    }
}

fn picture(
    id: String,
    title: String,
    model: &str,
    gate: &str,
    means: &[&GateMean],
    gaps: &str,
    run: usize,
) -> Picture {
    let heads = means.iter().map(|m| m.head + 1).max().unwrap_or(0);
    let mut layers: Vec<usize> = means.iter().map(|m| m.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let has_gaps = means.iter().any(|m| m.gaps.is_some());
    let values = || means.iter().flat_map(|m| [m.symbols, m.gaps]).flatten();
    // Decay and write strength are shares; a read-out gate may be anything.
    let (low, high) = match gate {
        "decay" => (0.0, 1.0),
        _ => (values().fold(0.0, f64::min), values().fold(1.0, f64::max)),
    };
    let mut grid = Grid {
        row_name: "layer".to_owned(),
        column_name: format!(
            "head, on symbols{}",
            if has_gaps {
                format!(" | on {gaps}")
            } else {
                String::new()
            }
        ),
        ..Grid::default()
    };
    for head in 0..heads {
        grid.columns.push((head + 1).to_string());
    }
    if has_gaps {
        grid.columns.push(String::new());
        grid.columns.extend((0..heads).map(|head| (head + 1).to_string()));
    }
    let find = |layer, head| means.iter().find(|m| m.layer == layer && m.head == head);
    for layer in layers {
        grid.rows.push((layer + 1).to_string());
        let cell = |head: usize, value: Option<f64>, on: &str| {
            let value = value?;
            let share = (value - low) / (high - low).max(1e-9);
            let note = format!("layer {}, head {}, on {on}: {value:.3}", layer + 1, head + 1);
            Some((share, note))
        };
        let cell = |head, value, on: &str| Tile::of(cell(head, value, on));
        let mut cells: Vec<_> = (0..heads)
            .map(|head| cell(head, find(layer, head).and_then(|m| m.symbols), "symbols"))
            .collect();
        if has_gaps {
            cells.push(Tile::Empty);
            cells.extend((0..heads).map(|head| cell(head, find(layer, head).and_then(|m| m.gaps), gaps)));
        }
        grid.cells.push(cells);
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let mut alt = format!(
        "{title}: {:.3} on symbols",
        mean(means.iter().filter_map(|m| m.symbols).collect())
    );
    if has_gaps {
        let of_gaps: Vec<f64> = means.iter().filter_map(|m| m.gaps).collect();
        write!(alt, ", {:.3} on {gaps}", mean(of_gaps)).expect("writing to a string");
    }
    write!(alt, ", mean of all heads; palest is {low:.2}, darkest {high:.2}.").expect("writing to a string");
    Picture {
        id,
        title,
        alt,
        model: model.to_owned(),
        grid,
        runs: vec![run],
    }
}

/// For each setting the ten letters whose states are told worst by the variants together, by variant; and of each variant
/// the states of its worst letter, what they were taken for. All of the first seed: another seed has another grammar.
pub(super) fn confusion(groups: &Groups, material: &Material) -> Vec<Picture> {
    let mut pictures = Vec::new();
    for (s, setting) in groups.settings.iter().enumerate() {
        let firsts: Vec<(&Cell, usize, &Run)> = groups
            .of_setting(s)
            .filter_map(|cell| first_explained(cell, material).map(|(i, run)| (cell, i, run)))
            .collect();
        let Some(seed) = firsts.first().map(|(.., run)| run.config.train.seed) else {
            continue;
        };
        let same: Vec<&(&Cell, usize, &Run)> = firsts
            .iter()
            .filter(|(.., run)| run.config.train.seed == seed)
            .collect();
        let Ok(data) = setup::data_set(&same[0].2.config) else {
            continue;
        };
        let grammar = data.grammar();
        let errors = |run: &Run| -> HashMap<u32, f64> {
            let test = run.details.as_ref().and_then(|details| details.tests.first());
            let slices = test.map_or(&[][..], |test| &test.explained.by_symbol);
            slices
                .iter()
                .map(|slice| (slice.at, 1.0 - slice.accuracy()))
                .collect()
        };
        let by_run: Vec<HashMap<u32, f64>> = same.iter().map(|(.., run)| errors(run)).collect();
        let mut worst: Vec<(u32, f64)> = Vec::new();
        for symbol in 0..grammar.vocab() as u32 {
            let of_symbol: Vec<f64> = by_run.iter().filter_map(|e| e.get(&symbol).copied()).collect();
            if !of_symbol.is_empty() {
                worst.push((symbol, of_symbol.iter().sum::<f64>() / of_symbol.len() as f64));
            }
        }
        worst.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        worst.truncate(LETTERS);
        if worst.is_empty() {
            continue;
        }
        let letter = |symbol: u32| grammar.symbol_name(symbol as u8);
        let mut grid = Grid {
            row_name: "letter".to_owned(),
            column_name: "wrong, by model".to_owned(),
            ..Grid::default()
        };
        grid.columns = same
            .iter()
            .map(|(cell, ..)| groups.variant(cell).label())
            .collect();
        for (symbol, _) in &worst {
            grid.rows.push(letter(*symbol));
            let cells = by_run.iter().zip(&grid.columns).map(|(errors, label)| {
                let error = errors.get(symbol)?;
                Some((
                    *error,
                    format!(
                        "{label}, letter {}: {:.1} % wrong",
                        letter(*symbol),
                        100.0 * error
                    ),
                ))
            });
            grid.cells.push(cells.map(Tile::of).collect());
        }
        let title = format!("Letters told worst on {}, seed {seed}", setting.label());
        pictures.push(Picture {
            id: format!("letters-{}", s + 1),
            alt: format!(
                "{title}: worst is {} with {:.1} % wrong, mean of the models; palest is 0 %, darkest 100 %.",
                letter(worst[0].0),
                100.0 * worst[0].1
            ),
            title,
            model: String::new(),
            grid,
            runs: same.iter().map(|(_, i, _)| *i).collect(),
        });
        for ((cell, i, run), errors) in same.iter().zip(&by_run) {
            let variant = groups.variant(cell);
            let own = errors.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)));
            let test = run.details.as_ref().and_then(|details| details.tests.first());
            if let (Some((symbol, error)), Some(test)) = (own, test)
                && let Some((grid, most)) = states(grammar, *symbol, &test.explained.confused)
            {
                let title = format!(
                    "{}: states of letter {} on {}, seed {seed}",
                    variant.label(),
                    letter(*symbol),
                    setting.label()
                );
                pictures.push(Picture {
                    id: format!("states-{}-{}", s + 1, cell.variant + 1),
                    alt: format!(
                        "{title}: {:.1} % of its elements wrong; darkest is {most} elements. Right answers are left out, \
                         and of all confusions the hundred most frequent pairs of states are known.",
                        100.0 * error
                    ),
                    title,
                    model: variant.model.clone(),
                    grid,
                    runs: vec![*i],
                });
            }
        }
    }
    pictures
}

/// States of a letter, rows what was right, columns what was answered, and the elements of the most frequent pair. `None`
/// if no pair of them is among the most frequent of all.
fn states(grammar: &Grammar, symbol: u32, confused: &[Confused]) -> Option<(Grid, u64)> {
    let mut classes: Vec<(u32, &String)> = grammar
        .symbols()
        .iter()
        .zip(grammar.ids())
        .zip(grammar.names())
        .filter(|((s, _), _)| u32::from(**s) == symbol)
        .map(|((_, id), name)| (*id, name))
        .collect();
    classes.sort_unstable();
    let count = |class: u32, answer: u32| {
        let pair = confused.iter().find(|c| c.class == class && c.answer == answer);
        pair.map(|c| c.elements)
    };
    let all = classes
        .iter()
        .flat_map(|(class, _)| classes.iter().filter_map(|(answer, _)| count(*class, *answer)));
    let most = all.max()?;
    let names: Vec<String> = classes.iter().map(|(_, name)| (*name).clone()).collect();
    let cells = classes.iter().map(|(class, right)| {
        let row = classes.iter().map(|(answer, taken)| {
            let n = count(*class, *answer)?;
            Some((
                n as f64 / most as f64,
                format!("{right} taken for {taken}: {n} elements"),
            ))
        });
        row.map(Tile::of).collect()
    });
    let grid = Grid {
        row_name: "state".to_owned(),
        column_name: "taken for".to_owned(),
        rows: names.clone(),
        columns: names.clone(),
        cells: cells.collect(),
        ..Grid::default()
    };
    Some((grid, most))
}

#[cfg(test)]
mod tests {
    use super::super::testing::material;
    use super::*;

    #[test]
    fn gates_are_layers_by_heads_on_symbols_and_gaps() {
        let material = material();
        let pictures = gates(&Groups::new(&material), &material);
        assert_eq!(pictures.len(), 12);
        let grid = &pictures[0].grid;
        assert_eq!((grid.rows.len(), grid.columns.len()), (2, 5));
        let note = "layer 2, head 1, on symbols: 0.500".to_owned();
        assert_eq!(grid.cells[1][0], Tile::Value(0.5, note));
        assert_eq!(grid.cells[1][2], Tile::Empty);
        assert!(
            pictures[0].alt.contains("0.550 on symbols, 0.900 on gaps"),
            "{}",
            pictures[0].alt
        );
        let svg = grid.svg("a", "what darkness is", Place::Alone);
        assert!(svg.contains(">what darkness is</text>"));
        assert_eq!(svg.matches("class=\"heat\"").count(), 8);
    }

    #[test]
    fn the_worst_letters_come_first() {
        let material = material();
        let pictures = confusion(&Groups::new(&material), &material);
        let letters = &pictures[0];
        assert_eq!((letters.id.as_str(), letters.grid.rows.len()), ("letters-1", 8));
        assert_eq!(letters.grid.columns, ["transformer", "gla", "gated_delta_net"]);
        let darkness = |row: usize| match letters.grid.cells[row][0] {
            Tile::Value(share, _) => share,
            _ => panic!("row {row} is empty"),
        };
        assert!(darkness(0) > darkness(7));
        assert!(letters.runs.len() == 3 && letters.alt.contains("% wrong"));
    }
}
