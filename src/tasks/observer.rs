//! The ideal observer: the best accuracy that any model can reach.
//!
//! Given its initial state the automaton is deterministic, so the state is known exactly unless initial
//! states share a letter; then the first elements of a string are a guess. The observer keeps a weighted set
//! of candidate states, and weighs each by the probability that the string still ends in time, because
//! strings that do not are thrown away. Noise never hides a symbol and empty gaps tell nothing, so both leave it as it
//! is. Where gaps are filled with symbols that cannot follow, a candidate is also a place in a gap; away from `#` such a
//! symbol has no edge and is known for what it is.
//!
//! Source: tasks.md 7

use super::data::DataSet;
use super::grammar::Grammar;
use super::reach::Reach;
use super::sample::Sample;
use super::spec::{Split, Splits, Targets};

/// What an observer knows of a token's surroundings: how gaps are filled, and what is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// h(j) = P(more than j steps | at least j steps) of the gap after an element, where gaps are filled with symbols.
    /// Empty where gaps are empty input, which tells nothing.
    hazards: Vec<f64>,
    /// Elements that no gap follows.
    gap_start: usize,
    targets: Targets,
    /// Whether `#` is shown in place of a string's first symbol, as the reference does when it asks for the next one.
    hidden_start: bool,
}

impl Rules {
    /// Those of a split's samples.
    pub fn new(data: &DataSet, split: Split) -> Self {
        let spec = data.spec();
        let hazards = match spec.nongrammatical {
            true => hazards(&data.gap(split).probabilities(), spec.gap_prob),
            false => Vec::new(),
        };
        Self {
            hazards,
            gap_start: spec.gap_start,
            targets: spec.targets,
            hidden_start: spec.targets == Targets::Next && spec.splits == Splits::Reference,
        }
    }

    /// The probability that a gap that has so many steps goes on.
    fn hazard(&self, element: u32, steps: u16) -> f64 {
        if (element as usize) < self.gap_start {
            return 0.0;
        }
        self.hazards.get(usize::from(steps)).copied().unwrap_or(0.0)
    }
}

/// From the law of a gap's steps to the probabilities that it goes on.
fn hazards(probabilities: &[f64], gap_prob: f64) -> Vec<f64> {
    let mut at_least = 1.0;
    let mut hazards = Vec::new();
    for (steps, p) in probabilities.iter().enumerate() {
        let p = gap_prob * p + if steps == 0 { 1.0 - gap_prob } else { 0.0 };
        let more = f64::max(at_least - p, 0.0);
        hazards.push(if at_least > 0.0 {
            (more / at_least).min(1.0)
        } else {
            0.0
        });
        at_least = more;
    }
    // A gap is not longer than the longest; rounding must not say otherwise.
    if let Some(last) = hazards.last_mut() {
        *last = 0.0;
    }
    hazards
}

/// A place at which the automaton may be.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    state: u16,
    /// Symbols of the string so far.
    entries: u16,
    /// Steps of the gap so far.
    steps: u16,
    /// Index of the element.
    element: u32,
    /// Probability of the tokens so far, but for the chance to end in time.
    weight: f64,
}

/// Follows sequences of one grammar.
#[derive(Debug, Clone)]
pub struct Observer<'a> {
    grammar: &'a Grammar,
    reach: &'a Reach,
    rules: &'a Rules,
    /// Sum of the initial states' chances to end in time.
    starts: f64,
    candidates: Vec<Candidate>,
    next: Vec<Candidate>,
    /// Answer to the current window so far: probability of each class.
    answer: Vec<(u32, f64)>,
}

/// Candidates whose share of the whole is below this are dropped.
const NEGLIGIBLE: f64 = 1e-18;

impl<'a> Observer<'a> {
    /// An observer; `reach` is that of the same grammar at the length of the sequences.
    pub fn new(grammar: &'a Grammar, reach: &'a Reach, rules: &'a Rules) -> Self {
        let chances = grammar
            .initial()
            .iter()
            .map(|&s| reach.within(reach.length() - 1, s));
        Self {
            grammar,
            reach,
            rules,
            starts: chances.sum(),
            candidates: Vec::new(),
            next: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// How many windows of a sample the observer answers correctly from the tokens alone: the class with the largest sum
    /// of probabilities over the window's tokens, ties to the lowest class.
    pub fn correct(&mut self, sample: &Sample) -> usize {
        self.candidates.clear();
        let mut filled = sample.gap_symbols.iter();
        let mut correct = 0;
        for ((&symbol, &gap), &target) in sample.symbols.iter().zip(&sample.gaps).zip(&sample.targets) {
            self.answer.clear();
            self.token(symbol);
            let gap = if self.rules.hazards.is_empty() {
                0
            } else {
                usize::from(gap)
            };
            for &symbol in filled.by_ref().take(gap) {
                self.token(symbol);
            }
            correct += usize::from(self.best() == Some(target));
        }
        correct
    }

    /// Moves every candidate by one token, and adds to the answer.
    fn token(&mut self, symbol: u8) {
        let mut next = std::mem::take(&mut self.next);
        next.clear();
        if self.candidates.is_empty() {
            self.start(symbol, 0, 1.0, false, &mut next);
        }
        let candidates = std::mem::take(&mut self.candidates);
        for c in &candidates {
            let impossible = self.grammar.impossible(c.state);
            let stays = if impossible.is_empty() {
                0.0
            } else {
                self.rules.hazard(c.element, c.steps)
            };
            if stays > 0.0 && impossible.contains(&symbol) {
                let weight = c.weight * stays / impossible.len() as f64;
                let steps = c.steps + 1;
                push(&mut next, Candidate { steps, weight, ..*c });
            }
            let leaves = c.weight * (1.0 - stays);
            if c.element as usize + 1 >= self.reach.length() {
                // A sequence has as many elements as a string may have entries.
                continue;
            }
            if c.state == self.grammar.terminator() {
                self.start(symbol, c.element + 1, leaves, true, &mut next);
            } else if usize::from(c.entries) < self.reach.length() {
                self.follow(symbol, c, leaves, &mut next);
            }
        }
        self.candidates = next;
        self.next = candidates;
        let sum: f64 = self.candidates.iter().map(|c| c.weight).sum();
        self.candidates.retain(|c| c.weight > NEGLIGIBLE * sum);
        for c in &mut self.candidates {
            c.weight /= sum;
        }
        self.add_answer();
    }

    /// A string begins: the initial states that show this symbol.
    fn start(&self, symbol: u8, element: u32, weight: f64, follows_end: bool, next: &mut Vec<Candidate>) {
        let hidden = self.rules.hidden_start && follows_end;
        for &state in self.grammar.initial() {
            let shown = if hidden {
                0
            } else {
                self.grammar.symbols()[usize::from(state)]
            };
            if shown == symbol {
                let weight = weight / self.starts;
                push(
                    next,
                    Candidate {
                        state,
                        entries: 1,
                        steps: 0,
                        element,
                        weight,
                    },
                );
            }
        }
    }

    /// A string goes on: the edge with this symbol, if there is one.
    fn follow(&self, symbol: u8, c: &Candidate, weight: f64, next: &mut Vec<Candidate>) {
        let edges = self.grammar.successors(c.state).iter();
        for (&state, &probability) in edges.zip(self.grammar.probabilities(c.state)) {
            if self.grammar.symbols()[usize::from(state)] == symbol {
                let (entries, element) = (c.entries + 1, c.element + 1);
                let weight = weight * probability;
                push(
                    next,
                    Candidate {
                        state,
                        entries,
                        steps: 0,
                        element,
                        weight,
                    },
                );
            }
        }
    }

    /// Adds the probabilities after a token to the window's answer.
    fn add_answer(&mut self) {
        let grammar = self.grammar;
        let mut found = std::mem::take(&mut self.answer);
        let before = found.len();
        let mut total = 0.0;
        let mut after: Vec<(u32, f64)> = Vec::with_capacity(self.candidates.len());
        for c in &self.candidates {
            let left = self.reach.length() - usize::from(c.entries);
            let ends = self.reach.within(left, c.state);
            total += c.weight * ends;
            match self.rules.targets {
                Targets::Class => add(&mut after, grammar.ids()[usize::from(c.state)], c.weight * ends),
                Targets::Next => self.add_next(c, left, &mut after),
            }
        }
        if before == 0 && self.rules.hazards.is_empty() {
            // A single token: the scale does not matter, and rounding must not part what is equal.
            found = after;
        } else {
            for (class, weight) in after {
                add(&mut found, class, weight / total);
            }
        }
        self.answer = found;
    }

    /// The probabilities of the symbols that follow a candidate.
    fn add_next(&self, c: &Candidate, left: usize, after: &mut Vec<(u32, f64)>) {
        let symbol = |state: u16| u32::from(self.grammar.symbols()[usize::from(state)]);
        if c.state == self.grammar.terminator() {
            for &state in self.grammar.initial() {
                let chance = self.reach.within(self.reach.length() - 1, state) / self.starts;
                let shown = if self.rules.hidden_start { 0 } else { symbol(state) };
                add(after, shown, c.weight * chance);
            }
        } else if left > 0 {
            let edges = self.grammar.successors(c.state).iter();
            for (&state, &probability) in edges.zip(self.grammar.probabilities(c.state)) {
                let chance = probability * self.reach.within(left - 1, state);
                add(after, symbol(state), c.weight * chance);
            }
        }
    }

    fn best(&self) -> Option<u32> {
        let best = self.answer.iter().max_by(|a, b| {
            let by_weight =
                a.1.partial_cmp(&b.1)
                    .expect("sums of finite probabilities compare");
            by_weight.then(b.0.cmp(&a.0))
        });
        best.map(|&(class, _)| class)
    }
}

/// Adds a candidate; those at the same place merge.
fn push(candidates: &mut Vec<Candidate>, new: Candidate) {
    let place = |c: &Candidate| (c.state, c.entries, c.steps, c.element);
    match candidates.iter_mut().find(|c| place(c) == place(&new)) {
        Some(same) => same.weight += new.weight,
        None => candidates.push(new),
    }
}

fn add(answer: &mut Vec<(u32, f64)>, class: u32, weight: f64) {
    match answer.iter_mut().find(|(known, _)| *known == class) {
        Some((_, sum)) => *sum += weight,
        None => answer.push((class, weight)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;

    fn generate(vocab: u32, ambiguities: u32, depth: u32, seed: u64) -> Grammar {
        Grammar::generate(&GrammarSpec {
            vocab,
            ambiguities,
            depth,
            seed,
        })
        .unwrap()
    }

    #[test]
    fn accepted_shares_of_the_specification() {
        for (letters, seed, percent) in [
            (20, 1, 28.0),
            (20, 2, 20.9),
            (24, 4, 17.6),
            (40, 1, 14.8),
            (40, 4, 9.5),
        ] {
            let grammar = generate(letters + 1, letters, letters, seed);
            let found = 100.0 * Reach::new(&grammar, 200).accepted(&grammar);
            // Printed there with one decimal, and measured on strings rather than computed.
            assert!(
                (found - percent).abs() < 0.4,
                "A = {letters}, seed {seed}: {found} against {percent}"
            );
        }
    }

    #[test]
    fn guesses_by_the_chance_to_end_in_time() {
        // Two starts with the letter A: one ends at once, one after a B or, rarely, at once.
        let text = r##"{"states": ["A0", "A1", "B", "#"], "ids": [1, 2, 3, 0], "initial": [0, 1],
            "transitions": [[0, 3, 1.0], [1, 2, 0.9], [1, 3, 0.1], [2, 3, 1.0]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        // In two entries A1 rarely ends, so a lone A is A0.
        let reach = Reach::new(&grammar, 2);
        assert!((reach.accepted(&grammar) - 0.55).abs() < 1e-12);
        let correct = |reach: &Reach, states: &[u16]| {
            let rules = plain();
            Observer::new(&grammar, reach, &rules).correct(&sample(&grammar, states))
        };
        assert_eq!(correct(&reach, &[0, 3]), 2);
        assert_eq!(correct(&reach, &[1, 3]), 1);
        // In three both always end; the tie goes to the lowest class, and B tells which it was.
        let reach = Reach::new(&grammar, 3);
        assert_eq!(correct(&reach, &[0, 3, 0]), 3);
        assert_eq!(correct(&reach, &[1, 2, 3]), 2);
    }

    #[test]
    fn long_strings_do_not_underflow() {
        let text = r##"{"states": ["A0", "A1", "B0", "B1", "#"], "ids": [1, 2, 3, 4, 0], "initial": [0, 1],
            "transitions": [[0, 0, 0.001], [0, 4, 0.998], [0, 2, 0.001],
            [1, 1, 0.001], [1, 4, 0.998], [1, 3, 0.001], [2, 4, 1], [3, 4, 1]]}"##;
        let grammar = Grammar::from_json(text, "g.json").unwrap();
        let reach = Reach::new(&grammar, 1000);
        let mut states = vec![0u16; 1000];
        states[999] = 4;
        let sample = sample(&grammar, &states);
        assert_eq!(Observer::new(&grammar, &reach, &plain()).correct(&sample), 1000);
    }

    fn plain() -> Rules {
        Rules {
            hazards: Vec::new(),
            gap_start: 0,
            targets: Targets::Class,
            hidden_start: false,
        }
    }

    /// A sample of these states without gaps.
    fn sample(grammar: &Grammar, states: &[u16]) -> Sample {
        let of = |state: &u16| usize::from(*state);
        Sample {
            states: states.to_vec(),
            symbols: states.iter().map(|s| grammar.symbols()[of(s)]).collect(),
            targets: states.iter().map(|s| grammar.ids()[of(s)]).collect(),
            gaps: vec![0; states.len()],
            gap_symbols: Vec::new(),
        }
    }

    /// All sequences of states with their probabilities: strings of at most `length` entries one after the other, cut.
    fn sequences(grammar: &Grammar, length: usize) -> Vec<(Vec<u16>, f64)> {
        let mut strings = Vec::new();
        let mut open: Vec<(Vec<u16>, f64)> = grammar
            .initial()
            .iter()
            .map(|&s| (vec![s], 1.0 / grammar.initial().len() as f64))
            .collect();
        while let Some((states, p)) = open.pop() {
            let state = *states.last().unwrap();
            if state == grammar.terminator() {
                strings.push((states, p));
            } else if states.len() < length {
                for (&t, &q) in grammar.successors(state).iter().zip(grammar.probabilities(state)) {
                    open.push(([&states[..], &[t]].concat(), p * q));
                }
            }
        }
        let accepted: f64 = strings.iter().map(|(_, p)| p).sum();
        let mut open = vec![(Vec::new(), 1.0)];
        let mut whole = Vec::new();
        while let Some((states, p)) = open.pop() {
            if states.len() >= length {
                whole.push((states[..length].to_vec(), p));
            } else {
                for (string, q) in &strings {
                    open.push(([&states[..], string].concat(), p * q / accepted));
                }
            }
        }
        whole
    }

    /// All samples of sequences with gaps of 0 to 2 wrong symbols, and their probabilities.
    fn with_gaps(grammar: &Grammar, sequences: &[(Vec<u16>, f64)], rules: &Rules) -> Vec<(Sample, f64)> {
        let mut all = Vec::new();
        for (states, p) in sequences {
            let start = Sample {
                gaps: Vec::new(),
                ..sample(grammar, states)
            };
            let mut open = vec![(start, *p)];
            while let Some((sample, p)) = open.pop() {
                let e = sample.gaps.len();
                let Some(&state) = states.get(e) else {
                    all.push((sample, p));
                    continue;
                };
                let impossible = grammar.impossible(state);
                let mut reached = vec![(Vec::new(), p)];
                while let Some((filled, p)) = reached.pop() {
                    let stays = match impossible.is_empty() {
                        true => 0.0,
                        false => rules.hazard(e as u32, filled.len() as u16),
                    };
                    if stays < 1.0 {
                        let mut sample = sample.clone();
                        sample.gaps.push(filled.len() as u16);
                        sample.gap_symbols.extend(&filled);
                        open.push((sample, p * (1.0 - stays)));
                    }
                    if stays > 0.0 {
                        for &y in impossible {
                            let filled = [&filled[..], &[y]].concat();
                            reached.push((filled, p * stays / impossible.len() as f64));
                        }
                    }
                }
            }
        }
        all
    }

    /// The accuracy of the window rule on the posterior that is summed over all samples with the same tokens.
    fn brute_force(samples: &[(Sample, f64)], classes: usize, gaps_seen: bool) -> f64 {
        use std::collections::HashMap;
        let tokens = |sample: &Sample| -> Vec<(usize, u8)> {
            let mut filled = sample.gap_symbols.iter();
            let mut tokens = Vec::new();
            for (e, (&symbol, &gap)) in sample.symbols.iter().zip(&sample.gaps).enumerate() {
                tokens.push((e, symbol));
                tokens.extend(filled.by_ref().take(usize::from(gap)).map(|&symbol| (e, symbol)));
            }
            tokens
        };
        let mut posterior: HashMap<Vec<u8>, Vec<f64>> = HashMap::new();
        for (sample, p) in samples {
            let mut prefix = Vec::new();
            for (e, symbol) in tokens(sample) {
                prefix.push(symbol);
                let classes = posterior
                    .entry(prefix.clone())
                    .or_insert_with(|| vec![0.0; classes]);
                classes[sample.targets[e] as usize] += p;
            }
        }
        let (mut right, mut all) = (0.0, 0.0);
        for (sample, p) in samples {
            let mut sums = vec![vec![0.0; classes]; sample.symbols.len()];
            let mut prefix = Vec::new();
            for (e, symbol) in tokens(sample) {
                prefix.push(symbol);
                let total: f64 = posterior[&prefix].iter().sum();
                for (sum, p) in sums[e].iter_mut().zip(&posterior[&prefix]) {
                    *sum += p / total;
                }
            }
            for (sums, &target) in sums.iter().zip(&sample.targets) {
                // The first of those that are equal but for rounding.
                let most = sums.iter().copied().fold(0.0, f64::max);
                let best = sums.iter().position(|&s| s > most - 1e-12).unwrap();
                right += p * f64::from(u8::from(best == target as usize));
                all += p;
            }
        }
        assert!(
            gaps_seen || (all - samples[0].0.symbols.len() as f64).abs() < 1e-9,
            "{all}"
        );
        right / all
    }

    fn accuracy(grammar: &Grammar, rules: &Rules, samples: &[(Sample, f64)], length: usize) -> f64 {
        let reach = Reach::new(grammar, length);
        let mut observer = Observer::new(grammar, &reach, rules);
        let right: f64 = samples
            .iter()
            .map(|(sample, p)| p * observer.correct(sample) as f64)
            .sum();
        right
            / samples
                .iter()
                .map(|(sample, p)| p * sample.symbols.len() as f64)
                .sum::<f64>()
    }

    /// Two initial states share a letter, probabilities are unequal, and some strings are too long.
    const AMBIGUOUS: &str = r##"{"states": ["A0", "A1", "B", "C", "#"], "ids": [1, 2, 3, 4, 0], "initial": [0, 1, 3],
        "transitions": [[0, 2, 0.7], [0, 4, 0.3], [1, 2, 0.2], [1, 3, 0.5], [1, 4, 0.3], [2, 0, 0.4], [2, 4, 0.6],
        [3, 1, 0.9], [3, 4, 0.1]]}"##;

    #[test]
    fn agrees_with_brute_force_on_plain_sequences() {
        let grammar = Grammar::from_json(AMBIGUOUS, "g.json").unwrap();
        for length in [3, 5, 7] {
            let sequences = sequences(&grammar, length);
            let rules = plain();
            let samples: Vec<(Sample, f64)> = sequences
                .iter()
                .map(|(states, p)| (sample(&grammar, states), *p))
                .collect();
            let (found, wanted) = (
                accuracy(&grammar, &rules, &samples, length),
                brute_force(&samples, 5, false),
            );
            assert!(
                (found - wanted).abs() < 1e-12,
                "length {length}: {found}, not {wanted}"
            );
            assert!(found < 0.99);
        }
    }

    #[test]
    fn agrees_with_brute_force_on_wrong_symbols() {
        let grammar = Grammar::from_json(AMBIGUOUS, "g.json").unwrap();
        for (gap_prob, law, gap_start) in [
            (0.3, &[0.0, 1.0][..], 0),
            (1.0, &[0.0, 1.0], 1),
            (0.6, &[0.1, 0.6, 0.3], 2),
        ] {
            let length = 4;
            let rules = Rules {
                hazards: hazards(law, gap_prob),
                gap_start,
                ..plain()
            };
            let samples = with_gaps(&grammar, &sequences(&grammar, length), &rules);
            let total: f64 = samples.iter().map(|(_, p)| p).sum();
            assert!((total - 1.0).abs() < 1e-9, "{total}");
            let (found, wanted) = (
                accuracy(&grammar, &rules, &samples, length),
                brute_force(&samples, 5, true),
            );
            assert!(
                (found - wanted).abs() < 1e-12,
                "{gap_prob} {law:?}: {found}, not {wanted}"
            );
        }
    }

    #[test]
    fn agrees_with_brute_force_on_the_next_symbol() {
        let grammar = Grammar::from_json(AMBIGUOUS, "g.json").unwrap();
        let length = 5;
        // One element more than is shown, as its symbol is asked for.
        let mut samples = Vec::new();
        for (states, p) in sequences(&grammar, length) {
            let symbol = |s: u16| u32::from(grammar.symbols()[usize::from(s)]);
            let targets = states[1..].iter().map(|&s| symbol(s)).collect();
            samples.push((
                Sample {
                    targets,
                    ..sample(&grammar, &states[..length - 1])
                },
                p,
            ));
        }
        let rules = Rules {
            targets: Targets::Next,
            ..plain()
        };
        let found = accuracy(&grammar, &rules, &samples, length);
        let wanted = brute_force(&samples, 4, false);
        assert!((found - wanted).abs() < 1e-12, "{found}, not {wanted}");
    }

    #[test]
    fn hazards_give_the_law_back() {
        let hazards = hazards(&[0.2, 0.5, 0.3], 0.4);
        assert!((hazards[0] - 0.32).abs() < 1e-15 && (hazards[1] - 0.375).abs() < 1e-15);
        assert_eq!(hazards[2], 0.0);
    }
}
