//! A random regular grammar as an automaton of letters with an index.
//!
//! A *symbol* is a letter or the terminator `#`, numbered from 0 (`#`) through the letters `A..Z a..z`. A
//! *state* is a node: a letter, or one of the copies `A0, A1, ..` of an ambiguous letter. States lie in a
//! list whose order matters (a *position* is an index into it); the *class id* of a state is the
//! classification target.
//!
//! Source: "Dissecting Linear Recurrent Models" (arXiv 2601.12598), the `SelectivBench` grammar.

mod entropy;
mod file;
mod generate;

pub use generate::GrammarSpec;

/// The terminator's name.
pub const TERMINATOR: &str = "#";

/// Where a generated grammar comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What was asked for.
    pub spec: GrammarSpec,
    /// Attempts until one was valid.
    pub attempts: u32,
    /// Seed of the stream that picked the ambiguous letters.
    pub python_seed: u32,
}

/// An automaton in which every state reaches the terminator.
#[derive(Debug, Clone, PartialEq)]
pub struct Grammar {
    origin: Option<Origin>,
    vocab: u32,
    /// Name of each symbol.
    alphabet: Vec<String>,
    names: Vec<String>,
    symbols: Vec<u8>,
    ids: Vec<u32>,
    initial: Vec<u16>,
    terminator: u16,
    nodes: Vec<Node>,
    targets: Vec<u16>,
    probabilities: Vec<f64>,
    cumulative: Vec<f64>,
    impossible: Vec<Vec<u8>>,
}

impl Grammar {
    /// blake3, in hex, of the grammar's JSON form: equal for equal grammars.
    pub fn fingerprint(&self) -> String {
        blake3::hash(self.to_json(0).to_string().as_bytes())
            .to_hex()
            .to_string()
    }
}

/// Where the successors of a state lie in the flat lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    pub(super) first: u32,
    pub(super) degree: u32,
}

/// The parts of an automaton, checked by whoever made them.
struct Parts {
    origin: Option<Origin>,
    vocab: u32,
    alphabet: Vec<String>,
    names: Vec<String>,
    symbols: Vec<u8>,
    ids: Vec<u32>,
    initial: Vec<u16>,
    /// For each state its successors with their probabilities, ascending by position.
    successors: Vec<Vec<(u16, f64)>>,
}

impl Grammar {
    fn from_parts(parts: Parts) -> Self {
        let terminator = parts
            .symbols
            .iter()
            .position(|&s| s == 0)
            .expect("every automaton has a terminator");
        let edges = parts.successors.iter().map(Vec::len).sum();
        let mut nodes = Vec::with_capacity(parts.successors.len());
        let mut targets = Vec::with_capacity(edges);
        let mut probabilities = Vec::with_capacity(edges);
        let mut cumulative = Vec::with_capacity(edges);
        for list in &parts.successors {
            let degree = list.len() as u32;
            nodes.push(Node {
                first: targets.len() as u32,
                degree,
            });
            let mut sum = 0.0;
            for &(target, probability) in list {
                sum += probability;
                targets.push(target);
                probabilities.push(probability);
                cumulative.push(sum);
            }
        }
        let impossible = parts.successors.iter().map(|list| {
            let mut follows = vec![false; parts.vocab as usize];
            for &(target, _) in list {
                follows[usize::from(parts.symbols[usize::from(target)])] = true;
            }
            let symbols = (0..=u8::MAX).zip(follows);
            symbols
                .filter(|(_, follows)| !follows)
                .map(|(symbol, _)| symbol)
                .collect()
        });
        Self {
            impossible: impossible.collect(),
            origin: parts.origin,
            vocab: parts.vocab,
            alphabet: parts.alphabet,
            names: parts.names,
            symbols: parts.symbols,
            ids: parts.ids,
            initial: parts.initial,
            terminator: terminator as u16,
            nodes,
            targets,
            probabilities,
            cumulative,
        }
    }

    /// How the grammar was generated; `None` if it was loaded from a file.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Number of symbols, the terminator included: the width of a one-hot input row.
    pub fn vocab(&self) -> usize {
        self.vocab as usize
    }

    /// Number of states, which is the number of classes.
    pub fn classes(&self) -> usize {
        self.names.len()
    }

    /// The names of the states, by position.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a symbol.
    ///
    /// # Panics
    /// For an id that is none.
    pub fn symbol_name(&self, symbol: u8) -> String {
        self.alphabet[usize::from(symbol)].clone()
    }

    /// The symbol id of each state.
    pub fn symbols(&self) -> &[u8] {
        &self.symbols
    }

    /// The class id of each state: 0 for `#`, the others from 1 by letter, then by index.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The positions of the initial states, in the order in which they were drawn. All equally likely.
    pub fn initial(&self) -> &[u16] {
        &self.initial
    }

    /// The position of `#`.
    pub fn terminator(&self) -> u16 {
        self.terminator
    }

    /// The successors of a state, ascending by position. Empty for `#` alone.
    pub fn successors(&self, state: u16) -> &[u16] {
        &self.targets[self.edges(state)]
    }

    /// The transition probabilities to [`Self::successors`].
    pub fn probabilities(&self, state: u16) -> &[f64] {
        &self.probabilities[self.edges(state)]
    }

    /// The symbols to which no transition leads from a state, ascending: all of them for `#`.
    pub fn impossible(&self, state: u16) -> &[u8] {
        &self.impossible[usize::from(state)]
    }

    fn edges(&self, state: u16) -> std::ops::Range<usize> {
        let node = self.nodes[usize::from(state)];
        node.first as usize..(node.first + node.degree) as usize
    }

    /// The flat lists that the sampler walks: nodes, targets, running sums of the probabilities.
    pub(super) fn tables(&self) -> (&[Node], &[u16], &[f64]) {
        (&self.nodes, &self.targets, &self.cumulative)
    }
}

/// A state without a path to `terminator`, in an automaton given by successor lists.
fn lost<'a>(terminator: u16, states: usize, successors: impl Fn(usize) -> &'a [u16]) -> Option<usize> {
    let mut predecessors = vec![Vec::new(); states];
    for from in 0..states {
        for &to in successors(from) {
            predecessors[usize::from(to)].push(from as u16);
        }
    }
    let mut seen = vec![false; states];
    let mut open = vec![terminator];
    seen[usize::from(terminator)] = true;
    while let Some(state) = open.pop() {
        for &previous in &predecessors[usize::from(state)] {
            if !seen[usize::from(previous)] {
                seen[usize::from(previous)] = true;
                open.push(previous);
            }
        }
    }
    seen.iter().position(|&seen| !seen)
}

/// The names of a generated grammar's symbols.
fn letters(vocab: u32) -> Vec<String> {
    let letters = (1..vocab).map(|symbol| letter(symbol as u8).to_string());
    std::iter::once(TERMINATOR.to_owned()).chain(letters).collect()
}

/// The letter of a symbol id from 1 on.
fn letter(symbol: u8) -> char {
    char::from(if symbol <= 26 {
        b'A' + symbol - 1
    } else {
        b'a' + symbol - 27
    })
}
