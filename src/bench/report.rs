//! What a run of the benches found, as JSON has it, and the comparison of two.

use super::roof::Roof;
use super::runner::Timing;
use crate::cases::bench::{Bench, Timed};
use crate::error::UserError;
use crate::files;
use crate::port::Cost;
use crate::runtime::Variants;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest report that is read.
const MOST_BYTES: u64 = 64 << 20;

/// What the device's own rates may change by from run to run.
const ROOF_STAYS: std::ops::RangeInclusive<f64> = 0.85..=1.18;

/// One run of `selectiv bench`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of this program.
    pub version: String,
    /// Of its source.
    pub commit: String,
    /// The device in words.
    pub device: String,
    /// Its driver, on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Storage of activations.
    pub precision: String,
    /// Bytes read and written each second by `y += x`, in 10^9.
    pub copy_gb_s: f64,
    /// FLOPs each second of a square product, in 10^9.
    pub product_gflop_s: f64,
    /// Extent of that product.
    pub product_size: usize,
    /// The kernel that computed it.
    pub product_kernel: String,
    /// By how much the shapes were made smaller: see [`super::Scale`].
    pub scale: usize,
    /// What was timed.
    pub entries: Vec<Entry>,
    /// What was not, with the reason.
    #[serde(default)]
    pub skipped: Vec<String>,
}

/// One thing timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Kind and shape.
    pub name: String,
    /// The op, or `step` for a whole step.
    pub op: String,
    /// `forward`, `training` (forward and backward) or `step` (forward, backward, clip, Adam).
    pub pass: String,
    /// Where the shape comes from.
    pub source: String,
    /// Median time of a run.
    pub median_ms: f64,
    /// Shortest.
    pub min_ms: f64,
    /// Longest.
    pub max_ms: f64,
    /// Timed runs.
    pub runs: usize,
    /// Rate of the bytes that must move, in 10^9 a second.
    pub gb_s: f64,
    /// Rate of the FLOPs, in 10^9 a second.
    pub gflop_s: f64,
    /// Of the copy rate.
    pub copy_share: f64,
    /// Of the product rate.
    pub product_share: f64,
    /// The larger of the two: 1 is as fast as the roofline allows.
    pub roof_share: f64,
    /// The variants of their kernels that ops with several ran in, on a GPU.
    #[serde(default, skip_serializing_if = "Variants::is_empty")]
    pub variants: Variants,
    /// More about a whole step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepFacts>,
}

/// What is known of a training step besides its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFacts {
    /// Trainable values.
    pub params: usize,
    /// Heads by the rule for the width; 0 in reports of earlier programs. A model may have others (Mamba2), or none.
    #[serde(default)]
    pub heads: usize,
    /// Time steps a second.
    pub tokens_s: f64,
    /// Bytes held on the device.
    pub peak_bytes: usize,
    /// Samples computed at a time.
    pub micro_batch: usize,
    /// Launches of a step: kernels on a GPU, calls on the CPU.
    pub launches: usize,
    /// Seconds from a loaded program to the end of the first step: planning, compiling, initial weights, the step.
    pub first_step_s: f64,
    /// Share of the device's time of each op and pass (`linear_fwd`) in one micro-batch and the update; empty where
    /// the device has no clock.
    pub ops: BTreeMap<String, f64>,
}

impl Entry {
    /// From what was measured.
    pub fn new(
        name: String,
        op: &str,
        pass: &str,
        source: &str,
        timing: Timing,
        cost: Cost,
        roof: &Roof,
    ) -> Self {
        let ms = |t: std::time::Duration| 1e3 * t.as_secs_f64();
        // A clock may be too coarse for an empty kernel.
        let seconds = timing.median.as_secs_f64().max(1e-9);
        let (bytes, flops) = (cost.bytes / seconds, cost.flops / seconds);
        let (copy_share, product_share) = (bytes / roof.copy, flops / roof.product);
        Self {
            name,
            op: op.to_owned(),
            pass: pass.to_owned(),
            source: source.to_owned(),
            median_ms: ms(timing.median),
            min_ms: ms(timing.min),
            max_ms: ms(timing.max),
            runs: timing.runs,
            gb_s: bytes * 1e-9,
            gflop_s: flops * 1e-9,
            copy_share,
            product_share,
            roof_share: copy_share.max(product_share),
            variants: Variants::new(),
            step: None,
        }
    }

    /// Of a bench.
    pub fn of(bench: &Bench, timed: Timed, timing: Timing, cost: Cost, roof: &Roof) -> Self {
        Self::new(
            bench.name(),
            bench.op.name(),
            timed.name(),
            bench.source,
            timing,
            cost,
            roof,
        )
    }
}

/// Whether a difference is more than the spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Both medians lie outside the other's range, and the new one is lower.
    Faster,
    /// As `Faster`, and the new one is higher.
    Slower,
    /// Neither.
    Same,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
        })
    }
}

/// An entry against the same one of an earlier report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Of both entries.
    pub name: String,
    /// Of both entries.
    pub pass: String,
    /// The earlier median.
    pub before_ms: f64,
    /// This median.
    pub now_ms: f64,
    /// The earlier median over this one: above 1 is faster.
    pub speedup: f64,
    /// Beyond the spread or not: of times, or of times over the roof if that has moved.
    pub verdict: Verdict,
    /// The earlier median over the time that the device's roof allowed then.
    pub before_over_roof: f64,
    /// This median over the time that the device's roof allows now.
    pub now_over_roof: f64,
}

impl Comparison {
    /// Of an entry, if the earlier report has it. `roof_moved`: see [`Report::roof_moved`].
    pub fn new(now: &Entry, before: &Report, roof_moved: bool) -> Option<Self> {
        let old = before
            .entries
            .iter()
            .find(|e| e.name == now.name && e.pass == now.pass)?;
        Some(Self {
            name: now.name.clone(),
            pass: now.pass.clone(),
            before_ms: old.median_ms,
            now_ms: now.median_ms,
            speedup: old.median_ms / now.median_ms.max(1e-6),
            verdict: verdict(
                [now, old],
                roof_moved.then_some([now.roof_share, before.roof_share(old)]),
            ),
            before_over_roof: 1.0 / before.roof_share(old),
            now_over_roof: 1.0 / now.roof_share,
        })
    }
}

/// Of an entry now and then; `shares` of their roofs, where these moved.
fn verdict(entries: [&Entry; 2], shares: Option<[f64; 2]>) -> Verdict {
    // Minimum, median and maximum; where the roof moved, in times that it allows.
    let times = |i: usize| {
        let e = entries[i];
        let unit = shares.map_or(1.0, |shares| e.median_ms * shares[i]);
        [e.min_ms, e.median_ms, e.max_ms].map(|ms| ms / unit)
    };
    let (now, old) = (times(0), times(1));
    let within = |median: f64, range: [f64; 3]| (range[0]..=range[2]).contains(&median);
    if within(now[1], old) || within(old[1], now) {
        Verdict::Same
    } else if now[1] < old[1] {
        Verdict::Faster
    } else {
        Verdict::Slower
    }
}

impl Report {
    /// The share of the roofs of this report that an entry of it reaches.
    fn roof_share(&self, e: &Entry) -> f64 {
        (e.gb_s / self.copy_gb_s).max(e.gflop_s / self.product_gflop_s)
    }

    /// What the device does at best is not what it did in an earlier report, in words: times of the two are then no
    /// comparison of kernels.
    pub fn roof_moved(&self, before: &Self) -> Option<String> {
        let rates = [
            ("copy", "GB/s", before.copy_gb_s, self.copy_gb_s),
            ("product", "GFLOP/s", before.product_gflop_s, self.product_gflop_s),
        ];
        let moved = rates
            .into_iter()
            .filter(|(_, _, then, now)| !(ROOF_STAYS.contains(&(now / then))));
        let texts: Vec<String> = moved
            .map(|(what, unit, then, now)| format!("{what} {then:.1} -> {now:.1} {unit}"))
            .collect();
        (!texts.is_empty()).then(|| {
            format!(
                "warning: the device itself is not as fast as in the earlier report ({}); what is faster or slower is said \
                 of times over the roof",
                texts.join(", ")
            )
        })
    }

    /// Reads what `--json` printed.
    ///
    /// # Errors
    /// [`UserError`] if the file cannot be read or is no such report.
    pub fn read(path: &Path) -> Result<Self, UserError> {
        let text = files::read_text(path, MOST_BYTES).map_err(|e| UserError::Folder {
            path: path.to_owned(),
            reason: format!("cannot read this report: {e}"),
        })?;
        serde_json::from_str(&text).map_err(|e| UserError::Malformed {
            place: path.display().to_string(),
            message: format!("no output of `selectiv bench --json`: {e}"),
        })
    }
}
