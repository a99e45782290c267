//! `eval --by`: an accuracy by what the elements have in common.

use super::inspect::plain_table;
use crate::tasks::DataSet;
use crate::train::explain::{Explained, Slice};
use clap::ValueEnum;
use serde::Serialize;

/// What elements are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Place in the string, from 1 on
    Position,
    /// The symbol that is shown
    Symbol,
    /// Symbols since the last one that only one state has, or since the string began
    Distance,
    /// Time steps of the gap that follows
    Gap,
}

/// One accuracy taken apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Table {
    /// Test gap, in seconds.
    gap: String,
    /// What the elements are told apart by.
    by: &'static str,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    at: u32,
    /// Letter of a symbol.
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
    elements: u64,
    accuracy: f64,
}

impl Table {
    /// Takes apart what was found on a data set's test samples.
    pub(super) fn new(by: By, explained: &Explained, data: &DataSet) -> Self {
        let slices = match by {
            By::Position => &explained.by_position,
            By::Symbol => &explained.by_symbol,
            By::Distance => &explained.by_distance,
            By::Gap => &explained.by_gap,
        };
        let row = |slice: &Slice| Row {
            at: slice.at,
            symbol: (by == By::Symbol).then(|| letter(data, slice.at)),
            elements: slice.elements,
            accuracy: slice.accuracy(),
        };
        Self {
            gap: data.spec().test_gap.first().to_string(),
            by: match by {
                By::Position => "position",
                By::Symbol => "symbol",
                By::Distance => "distance",
                By::Gap => "gap",
            },
            rows: slices.iter().map(row).collect(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut table = plain_table(&[self.by, "elements", "accuracy"], 1);
        for row in &self.rows {
            table.add_row([
                row.symbol.clone().unwrap_or_else(|| row.at.to_string()),
                row.elements.to_string(),
                format!("{:.2} %", 100.0 * row.accuracy),
            ]);
        }
        format!("{}\ntest gap {}", table.trim_fmt(), self.gap)
    }
}

/// The name of a symbol: that of its states without their number.
fn letter(data: &DataSet, symbol: u32) -> String {
    let grammar = data.grammar();
    let state = grammar.symbols().iter().position(|s| u32::from(*s) == symbol);
    let name = state.map_or("", |state| grammar.names()[state].as_str());
    name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
}
