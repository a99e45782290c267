//! What a person sees of a run while it goes on, on standard error.

use super::common::Verbosity;
use super::print;
use crate::tasks::Statistics;
use crate::train::{Row, Score, StepReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Work of n parts that a person waits for: a bar with the time left on a terminal; elsewhere a line every ten seconds.
pub(super) struct Wait {
    bar: ProgressBar,
    verbosity: Verbosity,
    what: String,
    unit: &'static str,
    start: Instant,
    last_line: Cell<Instant>,
}

impl Wait {
    /// Nothing shows before [`Wait::at`].
    pub(super) fn new(verbosity: Verbosity, what: &str, unit: &'static str) -> Self {
        let bar = ProgressBar::hidden();
        if verbosity > Verbosity::Quiet && print::messages_on_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let style = format!("{{wide_msg}} {{bar:16}} {{pos}} of {{len}} {unit} {{eta}} left");
        bar.set_style(ProgressStyle::with_template(&style).expect("the template is well formed"));
        bar.set_message(what.to_owned());
        Self {
            bar,
            verbosity,
            what: what.to_owned(),
            unit,
            start: Instant::now(),
            last_line: Cell::new(Instant::now()),
        }
    }

    /// So many parts of all are done.
    pub(super) fn at(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.last_line.get().elapsed() >= LINE_EVERY && done > 0 {
            self.last_line.set(Instant::now());
            let left = self
                .start
                .elapsed()
                .mul_f64(all.saturating_sub(done) as f64 / done as f64);
            let (what, unit) = (&self.what, self.unit);
            let left = super::inspect::time(left);
            self.verbosity
                .say(&format!("{what}: {done} of {all} {unit}, {left} left"));
        }
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| self.verbosity.say(text));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar on a terminal; elsewhere a line every ten seconds.
pub(super) struct Progress {
    bar: ProgressBar,
    verbosity: Verbosity,
    terminal: bool,
    steps: u64,
    first: u64,
    start: Instant,
    last_line: Instant,
    accuracy: Option<f64>,
    /// Updates that were left out.
    skipped: u64,
}

impl Progress {
    /// For a run of so many updates that begins (or goes on) at `first`.
    pub(super) fn new(verbosity: Verbosity, first: u64, steps: u64) -> Self {
        let terminal = print::messages_on_terminal();
        let bar = ProgressBar::new(steps).with_position(first);
        if verbosity == Verbosity::Quiet || !terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{bar:24} {pos}/{len} {msg} {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well formed"));
        bar.reset_eta();
        Self {
            bar,
            verbosity,
            terminal,
            steps,
            first,
            start: Instant::now(),
            last_line: Instant::now(),
            accuracy: None,
            skipped: 0,
        }
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| self.verbosity.say(text));
    }

    /// Shows an update.
    pub(super) fn updated(&mut self, report: &StepReport, tokens_per_s: f64) {
        let accuracy = match self.accuracy {
            Some(accuracy) => format!("accuracy {:.2} %", 100.0 * accuracy),
            None => format!(
                "accuracy {:.2} % (train)",
                100.0 * report.correct / report.windows.max(1.0)
            ),
        };
        self.skipped += u64::from(report.skipped);
        let skipped = match self.skipped {
            0 => String::new(),
            n => format!("  {n} skipped"),
        };
        let numbers = format!(
            "loss {:.4}  {accuracy}  {tokens_per_s:.0} tokens/s{skipped}",
            report.loss
        );
        let done = report.step + 1;
        if self.terminal {
            self.bar.set_message(numbers);
            self.bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = (done - self.first) as f64 / self.start.elapsed().as_secs_f64();
            let left = Duration::from_secs_f64((self.steps - done) as f64 / rate.max(1e-9));
            let left = super::inspect::time(left);
            self.verbosity
                .say(&format!("step {done}/{}  {numbers}  {left} left", self.steps));
        }
    }

    /// Shows an evaluation.
    pub(super) fn evaluated(&mut self, row: &Row, score: &Score) {
        self.accuracy = Some(score.accuracy);
        if self.verbosity == Verbosity::Verbose {
            self.say(&format!(
                "step {}: training loss {:.4}, evaluation loss {:.4}, accuracy {:.2} %, lr {:.3e}, gradient norm {:.3}",
                row.step,
                row.loss,
                score.loss,
                100.0 * score.accuracy,
                row.lr,
                row.grad_norm
            ));
        }
    }

    /// Shows what can be reached on the task.
    pub(super) fn reachable(&self, statistics: &Statistics) {
        let percent = |x: f64| format!("{:.2} %", 100.0 * x);
        self.say(&format!(
            "on these test samples: chance {}, always the same class {}, unigram predictor {}, bigram predictor {}, \
             ideal observer {}",
            percent(statistics.chance),
            percent(statistics.constant),
            percent(statistics.n1),
            percent(statistics.n2),
            percent(statistics.ceiling)
        ));
        if statistics.overlap > 0 {
            self.say(&format!(
                "warning: {} test samples are also training samples",
                statistics.overlap
            ));
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
