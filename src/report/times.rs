//! Tables of times that were measured: training steps, and ops.

use super::format;
use super::source::Material;
use crate::bench::Entry;

fn range(entry: &Entry) -> String {
    format!(
        "{} to {}",
        format::short(entry.min_ms),
        format::short(entry.max_ms)
    )
}

/// Training steps: model and shape, card, time, range, time steps a second, memory, parameters, seconds to the first one.
pub(super) fn steps(material: &Material, cards: &[String]) -> Vec<[String; 8]> {
    let mut rows = Vec::new();
    for (file, card) in material.benches.iter().zip(cards) {
        for entry in &file.report.entries {
            let Some(step) = &entry.step else { continue };
            rows.push([
                entry.name.clone(),
                card.clone(),
                format::short(entry.median_ms),
                range(entry),
                format::count(step.tokens_s),
                format::bytes(step.peak_bytes as f64),
                format::count(step.params as f64),
                format::short(step.first_step_s),
            ]);
        }
    }
    rows
}

/// Ops: op and shape, card, pass, time, range, times the roof, GB/s, GFLOP/s, kernels.
pub(super) fn ops(material: &Material, cards: &[String]) -> Vec<[String; 9]> {
    let mut rows = Vec::new();
    for (file, card) in material.benches.iter().zip(cards) {
        for entry in file.report.entries.iter().filter(|entry| entry.step.is_none()) {
            let variants = entry.variants.values().flatten().cloned();
            let over = Some(1.0 / entry.roof_share).filter(|over| over.is_finite());
            rows.push([
                entry.name.clone(),
                card.clone(),
                entry.pass.clone(),
                format::short(entry.median_ms),
                range(entry),
                over.map_or_else(|| "–".to_owned(), format::short),
                format::short(entry.gb_s),
                format::short(entry.gflop_s),
                super::head::unique(variants).join(", "),
            ]);
        }
    }
    rows
}
