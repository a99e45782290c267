//! One colour and marker a model, the same everywhere.

use crate::models::BLOCKS;

/// Eight colours of Okabe and Ito, their yellow darker for white paper; classes `k0` .. `k7` of the page's
/// style sheet.
pub(super) const COLORS: [&str; 8] = [
    "#000000", "#e69f00", "#d55e00", "#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#b8a800",
];

/// How a model looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// The model's place in the order of the paper; those that are not there follow.
    pub(super) place: usize,
    /// Place in [`COLORS`].
    pub(super) color: usize,
    /// Place in [`MARKERS`].
    pub(super) marker: usize,
}

/// Names of markers as Plotly has them.
pub(super) const MARKERS: [&str; 4] = ["circle", "square", "diamond", "triangle-up"];

impl Style {
    /// Of a model, by its place in the order of the paper: eight colours, then the same with another marker.
    pub(super) fn of(model: &str) -> Self {
        let place = BLOCKS.iter().position(|block| block.name() == model);
        // A stack of several blocks.
        let place = place.unwrap_or_else(|| BLOCKS.len() + model.bytes().map(usize::from).sum::<usize>() % 8);
        Self {
            place,
            color: place % COLORS.len(),
            marker: place / COLORS.len() % MARKERS.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_models_look_alike() {
        let looks: Vec<(usize, usize)> = BLOCKS
            .iter()
            .map(|block| Style::of(block.name()))
            .map(|style| (style.color, style.marker))
            .collect();
        for (i, look) in looks.iter().enumerate() {
            assert!(!looks[..i].contains(look));
        }
    }
}
