//! One display over all runs of a sweep: time left, runs done and failed, the best so far, and what each device does.

use super::super::common::Verbosity;
use super::super::inspect::{counted, time};
use super::super::print;
use crate::error::{Error, UserError};
use crate::sweep::{self, Event, Plan, PlannedRun, Report, Status};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal for bars.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// See the module docs.
pub(super) struct Display {
    verbosity: Verbosity,
    terminal: bool,
    bars: MultiProgress,
    whole: ProgressBar,
    devices: Vec<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    /// Work of all runs, and of those that are done, in parts of the whole.
    work: f64,
    done_work: f64,
    /// Of that, what was done when the display began.
    before: f64,
    /// What each device has done of its run.
    current: HashMap<usize, f64>,
    runs: usize,
    done: usize,
    failed: usize,
    best: Option<(f64, String)>,
    start: Instant,
    last_line: Instant,
}

/// About how much work a run is: time steps times parameters.
fn work(run: &PlannedRun) -> f64 {
    let train = &run.config.train;
    (train.steps * train.batch as u64 * run.config.data.length as u64) as f64 * run.params as f64
}

impl State {
    /// Time that is left at the rate so far.
    fn left(&self) -> Option<Duration> {
        let now = self.done_work + self.current.values().sum::<f64>();
        let rate = (now - self.before) / self.start.elapsed().as_secs_f64();
        let left = (self.work - now) / rate;
        (rate > 0.0 && left.is_finite() && left < 1e9).then(|| Duration::from_secs_f64(left.max(0.0)))
    }

    fn line(&self) -> String {
        let mut text = format!("{} of {} done", self.done, counted(self.runs, "run"));
        if self.failed > 0 {
            text = format!("{text}, {} failed or diverged", self.failed);
        }
        if let Some((best, id)) = &self.best {
            text = format!("{text}; best {:.2} % ({id})", 100.0 * best);
        }
        match self.left() {
            Some(left) => format!("{text}; {} left", time(left)),
            None => text,
        }
    }
}

impl Display {
    pub(super) fn new(plan: &Plan, folder: &Path, verbosity: Verbosity, devices: usize) -> Self {
        let terminal = print::messages_on_terminal();
        let bars = MultiProgress::new();
        if verbosity == Verbosity::Quiet || !terminal {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style =
            |template: &str| ProgressStyle::with_template(template).expect("the template is well formed");
        let whole =
            bars.add(ProgressBar::new(plan.runs.len() as u64).with_style(style("{bar:24} {wide_msg}")));
        let device = |_| bars.add(ProgressBar::new(0).with_style(style("  {bar:12} {wide_msg}")));
        let devices = (0..devices).map(device).collect();
        let mut state = State {
            work: plan.runs.iter().map(work).sum(),
            done_work: 0.0,
            before: 0.0,
            current: HashMap::new(),
            runs: plan.runs.len(),
            done: 0,
            failed: 0,
            best: None,
            start: Instant::now(),
            last_line: Instant::now(),
        };
        for run in &plan.runs {
            if let Status::Done(result) = sweep::status(folder, run) {
                state.ended(run, result.accuracy);
            }
        }
        state.before = state.done_work;
        let display = Self {
            verbosity,
            terminal,
            bars,
            whole,
            devices,
            state: Mutex::new(state),
        };
        display.verbosity.say(&display.lock().line());
        display
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }

    fn say(&self, text: &str) {
        self.bars.suspend(|| self.verbosity.say(text));
    }

    /// Takes the bars away.
    pub(super) fn finish(&self) {
        for bar in self.devices.iter().chain([&self.whole]) {
            bar.finish_and_clear();
        }
    }

    /// What goes on: now and then as a line, where there are no bars.
    fn now(&self, what: &str) {
        let line = {
            let mut state = self.lock();
            let due = !self.terminal && state.last_line.elapsed() >= LINE_EVERY;
            due.then(|| {
                state.last_line = Instant::now();
                format!("{}; now {what}", state.line())
            })
        };
        match line {
            Some(line) => self.say(&line),
            None => self.refresh(),
        }
    }

    fn refresh(&self) {
        let state = self.lock();
        self.whole.set_position((state.done + state.failed) as u64);
        self.whole.set_message(state.line());
    }
}

impl State {
    fn ended(&mut self, run: &PlannedRun, accuracy: f64) {
        self.done += 1;
        self.done_work += work(run);
        if self.best.as_ref().is_none_or(|(best, _)| accuracy > *best) {
            self.best = Some((accuracy, run.id.clone()));
        }
    }
}

impl Report for Display {
    fn event(&self, worker: usize, event: Event<'_>) {
        let bar = &self.devices[worker];
        match event {
            Event::Began(run) => {
                bar.set_length(run.config.train.steps);
                bar.set_position(0);
                bar.set_message(run.id.clone());
                if self.verbosity == Verbosity::Verbose {
                    self.say(&format!("begins: {}", run.id));
                }
            }
            Event::Said(run, text) => self.say(&format!("{}: {text}", run.id)),
            Event::Updated {
                run,
                done,
                steps,
                tokens_per_s,
                accuracy,
            } => {
                let accuracy = accuracy.map_or_else(String::new, |a| format!("  {:.2} %", 100.0 * a));
                bar.set_position(done);
                bar.set_message(format!("{}{accuracy}  {tokens_per_s:.0} tokens/s", run.id));
                self.lock()
                    .current
                    .insert(worker, work(run) * done as f64 / steps.max(1) as f64);
                self.now(&format!("{}, update {done} of {steps}", run.id));
            }
            Event::Counting { run, done, samples } => {
                bar.set_length(samples);
                bar.set_position(done);
                bar.set_message(format!("{}  counting training samples", run.id));
                self.now(&format!(
                    "{}, {done} of {samples} training samples counted",
                    run.id
                ));
            }
            Event::Ended(run, status) => {
                self.lock().current.remove(&worker);
                if let Status::Done(result) = status {
                    self.lock().ended(run, result.accuracy);
                    self.say(&format!("done: {}  {:.2} %", run.id, 100.0 * result.accuracy));
                }
                self.refresh();
            }
            Event::Left(run, error) => {
                self.lock().current.remove(&worker);
                let others = matches!(
                    error,
                    Error::ClaimLost { .. } | Error::User(UserError::InUse { .. })
                );
                if !others && !matches!(error, Error::Interrupted) {
                    self.lock().failed += 1;
                    self.say(&format!("{}: {error}", run.id));
                }
                self.refresh();
            }
            Event::Closed(error) => {
                bar.finish_and_clear();
                if let Some(error) = error.filter(|e| e.exit_code() != 130) {
                    self.say(&format!("a device stops: {error}"));
                }
            }
        }
    }
}
