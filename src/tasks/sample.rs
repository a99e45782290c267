//! One sequence as a model meets it: symbols, the time after each, and what is asked for.

use super::data::DataSet;
use super::gap::Gap;
use super::sequence::Sampler;
use super::spec::{Split, Splits, Targets};
use super::stored::Row;
use super::streams::{Mt19937, Pcg64};

/// One sequence of E elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample {
    /// Position of each element's state in the grammar, `[E]`.
    pub states: Vec<u16>,
    /// Symbol id of each element as it is shown, `[E]`.
    pub symbols: Vec<u8>,
    /// What is asked for in each element's window, `[E]`: a class id, or the next symbol.
    pub targets: Vec<u32>,
    /// Time steps after each symbol, `[E]`.
    pub gaps: Vec<u16>,
    /// Symbol ids of all gap steps in order; empty where gaps are empty input.
    pub gap_symbols: Vec<u8>,
}

impl Sample {
    /// Takes over a stored one.
    fn copy(&mut self, row: &Row<'_>) {
        fn put<T: Copy>(to: &mut Vec<T>, from: &[T]) {
            to.clear();
            to.extend_from_slice(from);
        }
        put(&mut self.states, row.states);
        put(&mut self.symbols, row.symbols);
        put(&mut self.targets, row.targets);
        put(&mut self.gaps, row.gaps);
        put(&mut self.gap_symbols, row.gap_symbols);
    }

    /// Time steps in all.
    pub fn steps(&self) -> usize {
        self.gaps.iter().map(|&gap| 1 + usize::from(gap)).sum()
    }

    /// First time step and number of steps of each element, its gap included.
    pub fn windows(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        let mut first = 0;
        self.gaps.iter().map(move |&gap| {
            let steps = 1 + u32::from(gap);
            first += steps;
            [first - steps, steps]
        })
    }

    /// Symbol of each time step, `None` for empty input.
    pub fn step_symbols(&self) -> impl Iterator<Item = Option<u8>> + '_ {
        let mut filled = self.gap_symbols.iter().copied();
        let windows = self.symbols.iter().zip(&self.gaps);
        windows.flat_map(move |(&symbol, &gap)| {
            let gap: Vec<Option<u8>> = (0..gap).map(|_| filled.next()).collect();
            std::iter::once(Some(symbol)).chain(gap)
        })
    }
}

/// The random numbers of a sample's gaps.
enum GapStream {
    /// The reference's: one stream of the data set decides, one of the sample draws.
    Reference { decisions: Pcg64, draws: Box<Mt19937> },
    /// One stream.
    Own(Pcg64),
}

impl GapStream {
    /// Whether there is a gap at all is decided by this number.
    fn decision(&mut self) -> f64 {
        match self {
            Self::Reference { decisions, .. } => decisions.random(),
            Self::Own(stream) => stream.random(),
        }
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        match self {
            Self::Reference { draws, .. } => draws.legacy_uniform(low, high),
            Self::Own(stream) => low + (high - low) * stream.random(),
        }
    }

    /// Box and Muller's first number, of two uniform ones.
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(0.0, 1.0), self.uniform(0.0, 1.0));
        libm::sqrt(-2.0 * libm::log(1.0 - u)) * libm::cos(std::f64::consts::TAU * v)
    }

    fn below(&mut self, n: usize) -> usize {
        let n = n as u32;
        (match self {
            Self::Reference { draws, .. } => draws.legacy_choice(n),
            Self::Own(stream) => stream.below(n),
        }) as usize
    }

    /// Time steps of one gap.
    fn steps(&mut self, gap: Gap) -> u16 {
        let rounded =
            |seconds: f64| (10.0 * seconds).round_ties_even().min(f64::from(gap.max_steps())) as u16;
        match gap {
            Gap::Fixed(steps) => steps as u16,
            Gap::Uniform([low, high]) => rounded(self.uniform(low, high)),
            Gap::LogNormal([mu, sigma]) => rounded(libm::exp(mu + sigma * self.normal())),
        }
    }
}

/// What making samples needs beside the data set: one for each thread.
#[derive(Debug, Clone)]
pub struct Scratch {
    sampler: Sampler,
    states: Vec<u16>,
}

impl DataSet {
    /// Memory for [`DataSet::sample_into`].
    pub fn scratch(&self) -> Scratch {
        let length = self.spec().length;
        Scratch {
            sampler: Sampler::new(length),
            // The next symbol of the last element belongs to the element after it.
            states: vec![0; length + usize::from(self.sees_beyond())],
        }
    }

    /// One sample.
    ///
    /// # Panics
    /// For an index at or beyond the split's count.
    pub fn sample(&self, split: Split, idx: u64) -> Sample {
        let mut sample = Sample::default();
        self.sample_into(split, idx, &mut self.scratch(), &mut sample);
        sample
    }

    /// Writes one sample over another. The way to make many.
    ///
    /// # Panics
    /// For an index at or beyond the split's count.
    pub fn sample_into(&self, split: Split, idx: u64, scratch: &mut Scratch, sample: &mut Sample) {
        let count = self.count(split);
        assert!(idx < count, "sample {idx} of {count} in {split:?}");
        if let Some(stored) = self.stored() {
            sample.copy(&stored.row(split, idx));
            if split == Split::Test && self.gap(split) != stored.header().spec.test_gap.first() {
                self.draw_gaps(split, idx, sample);
            }
            return;
        }
        let Scratch { sampler, states } = scratch;
        sampler
            .draw(self.grammar(), &mut self.strings_stream(split, idx), states)
            .expect("enough strings end within the length: checked on creation");
        let length = self.spec().length;
        sample.states.clear();
        sample.states.extend_from_slice(&states[..length]);
        self.show(states, sample);
        self.draw_gaps(split, idx, sample);
    }

    /// Whether targets depend on the element after the last.
    fn sees_beyond(&self) -> bool {
        self.spec().targets == Targets::Next && self.spec().splits == Splits::Disjoint
    }

    /// Symbols and targets of a sequence's states.
    fn show(&self, states: &[u16], sample: &mut Sample) {
        let (grammar, length) = (self.grammar(), self.spec().length);
        let symbol = |state: u16| grammar.symbols()[usize::from(state)];
        let Sample { symbols, targets, .. } = sample;
        symbols.clear();
        targets.clear();
        symbols.extend(states[..length].iter().map(|&state| symbol(state)));
        match (self.spec().targets, self.spec().splits) {
            (Targets::Class, _) => {
                targets.extend(states.iter().map(|&state| grammar.ids()[usize::from(state)]));
            }
            (Targets::Next, Splits::Disjoint) => {
                targets.extend(states[1..].iter().map(|&state| u32::from(symbol(state))));
            }
            (Targets::Next, Splits::Reference) => {
                // The reference shows `#` twice in place of `#` and the next string's first symbol, and asks for 0 at
                // the end.
                for (at, &state) in (1..length).zip(states) {
                    if state == grammar.terminator() {
                        symbols[at] = 0;
                    }
                }
                targets.extend(symbols[1..].iter().map(|&symbol| u32::from(symbol)));
                targets.push(0);
            }
        }
    }

    fn draw_gaps(&self, split: Split, idx: u64, sample: &mut Sample) {
        let (spec, gap) = (self.spec(), self.gap(split));
        let Sample {
            states,
            gaps,
            gap_symbols,
            ..
        } = sample;
        gaps.clear();
        gap_symbols.clear();
        gaps.resize(spec.gap_start, 0);
        let fixed = matches!(gap, Gap::Fixed(_)) && spec.gap_prob == 1.0 && !spec.nongrammatical;
        if fixed {
            // Whatever is drawn, the gap is the same.
            gaps.resize(spec.length, gap.max_steps() as u16);
            return;
        }
        let mut stream = self.gap_stream(split, idx);
        for &state in &states[spec.gap_start..] {
            let mut steps = if stream.decision() > spec.gap_prob {
                0
            } else {
                stream.steps(gap)
            };
            if spec.nongrammatical {
                let impossible = self.grammar().impossible(state);
                if impossible.is_empty() {
                    steps = 0;
                }
                gap_symbols.extend((0..steps).map(|_| impossible[stream.below(impossible.len())]));
            }
            gaps.push(steps);
        }
    }

    fn gap_stream(&self, split: Split, idx: u64) -> GapStream {
        match self.spec().splits {
            Splits::Disjoint => GapStream::Own(self.own_stream(split, idx, super::data::PURPOSE_GAPS)),
            Splits::Reference => {
                let number = self.reference_number(split, idx);
                let mut decisions = Pcg64::new(u128::from(self.seed()));
                let each = (self.spec().length - self.spec().gap_start) as u128;
                decisions.jump(u128::from(number) * each);
                // The reference's generator takes seeds below 2^32; beyond, the low 32 bits.
                let draws = Box::new(Mt19937::from_number(self.seed().wrapping_mul(number) as u32));
                GapStream::Reference { decisions, draws }
            }
        }
    }
}
