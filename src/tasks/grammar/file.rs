//! Grammars as JSON (in and out) and as a picture for Graphviz.

use super::{Grammar, Parts, TERMINATOR, letter, letters, lost};
use crate::error::UserError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;

/// What a grammar file must hold. Other keys are ignored.
#[derive(Deserialize)]
struct GrammarFile {
    vocab: Option<u32>,
    symbols: Option<Vec<String>>,
    symbol_of: Option<Vec<u32>>,
    states: Vec<String>,
    ids: Vec<u32>,
    initial: Vec<u32>,
    transitions: Vec<(u32, u32, f64)>,
}

impl Grammar {
    /// Reads a grammar from JSON with the keys `states`, `ids`, `initial`, `transitions` and, optionally,
    /// `vocab`. States are named by a letter, which digits may follow, and `#` is the end. With `symbols` (names of any
    /// length, `#` first, at most 255) and `symbol_of` (for each state the position of its symbol) names are free.
    ///
    /// `place` is the file's name in messages. Transition probabilities may differ within a state.
    ///
    /// # Errors
    /// [`UserError::Malformed`] with line and column if it is not such JSON; [`UserError::Value`] naming the
    /// entry if the entries do not make an automaton in which every state reaches `#`.
    pub fn from_json(text: &str, place: &str) -> Result<Self, UserError> {
        let file: GrammarFile = serde_json::from_str(text).map_err(|e| UserError::Malformed {
            place: place.to_owned(),
            message: e.to_string(),
        })?;
        file.check().map_err(|(field, found, allowed)| UserError::Value {
            place: place.to_owned(),
            field,
            found,
            allowed: allowed.to_owned(),
        })
    }

    /// The grammar as a JSON object, without sequences. `length` is the number of elements of a sequence.
    ///
    /// A grammar from a file has no `ambiguities`, `depth`, `seed`, `attempts` and `python_seed`.
    pub fn to_json(&self, length: usize) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("vocab", json!(self.vocab));
        if let Some(origin) = &self.origin {
            put("ambiguities", json!(origin.spec.ambiguities));
            put("depth", json!(origin.spec.depth));
            put("seed", json!(origin.spec.seed));
        }
        put("length", json!(length));
        put("classes", json!(self.classes()));
        if let Some(origin) = &self.origin {
            put("attempts", json!(origin.attempts));
            put("python_seed", json!(origin.python_seed));
        }
        put("topological_entropy", json!(self.topological_entropy()));
        if self.alphabet != letters(self.vocab) {
            put("symbols", json!(self.alphabet));
            put("symbol_of", json!(self.symbols));
        }
        put("states", json!(self.names));
        put("ids", json!(self.ids));
        put("initial", json!(self.initial));
        put(
            "transitions",
            self.transitions()
                .map(|(from, to, p)| json!([from, to, p]))
                .collect(),
        );
        Value::Object(object)
    }

    /// All edges as (from, to, probability), ascending by positions.
    pub fn transitions(&self) -> impl Iterator<Item = (u16, u16, f64)> + '_ {
        (0..self.classes() as u16).flat_map(move |from| {
            let edges = self.successors(from).iter().zip(self.probabilities(from));
            edges.map(move |(&to, &probability)| (from, to, probability))
        })
    }

    /// The automaton in the DOT language: initial states bold, the terminator with a double border.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph grammar {\n  rankdir=LR;\n");
        for (state, name) in self.names.iter().enumerate() {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            let style = match state as u16 {
                s if s == self.terminator => ", shape=doublecircle",
                s if self.initial.contains(&s) => ", style=bold",
                _ => "",
            };
            writeln!(dot, "  s{state} [label=\"{name}\"{style}];").expect("writing to a String");
        }
        for (from, to, probability) in self.transitions() {
            writeln!(dot, "  s{from} -> s{to} [label=\"{probability:.3}\"];").expect("writing to a String");
        }
        dot.push_str("}\n");
        dot
    }
}

/// Field, what was found, what is allowed.
type Refusal = (String, String, &'static str);

impl GrammarFile {
    fn check(self) -> Result<Grammar, Refusal> {
        let states = self.states.len();
        if !(2..=usize::from(u16::MAX)).contains(&states) {
            return Err((
                "states".to_owned(),
                format!("{states} states"),
                "2 to 65535 states",
            ));
        }
        self.check_names()?;
        let (alphabet, symbols) = match (&self.symbols, &self.symbol_of) {
            (Some(alphabet), Some(symbol_of)) => (alphabet.clone(), self.check_symbols(alphabet, symbol_of)?),
            (None, None) => self.check_letters()?,
            (Some(_), None) | (None, Some(_)) => {
                let found = "one without the other".to_owned();
                return Err((
                    "symbols".to_owned(),
                    found,
                    "`symbols` and `symbol_of` together, or neither",
                ));
            }
        };
        let vocab = alphabet.len() as u32;
        let terminator = symbols.iter().position(|&s| s == 0);
        let Some(terminator) = terminator else {
            return Err((
                "states".to_owned(),
                "no `#`".to_owned(),
                "exactly one state named `#`",
            ));
        };
        if symbols.iter().filter(|&&symbol| symbol == 0).count() > 1 {
            let found = "several states of the symbol `#`".to_owned();
            return Err((
                "symbol_of".to_owned(),
                found,
                "exactly one state of the symbol `#`",
            ));
        }
        self.check_ids(terminator)?;
        self.check_initial(terminator)?;
        let successors = self.check_transitions(terminator, &symbols, &alphabet)?;
        let targets: Vec<Vec<u16>> = successors
            .iter()
            .map(|list| list.iter().map(|&(to, _)| to).collect())
            .collect();
        if let Some(lost) = lost(terminator as u16, states, |s| &targets[s]) {
            let found = format!("state {lost} ({}) has no path to `#`", self.states[lost]);
            return Err(("transitions".to_owned(), found, "a path to `#` from every state"));
        }
        Ok(Grammar::from_parts(Parts {
            origin: None,
            vocab,
            alphabet,
            names: self.states,
            symbols,
            ids: self.ids,
            initial: self.initial.iter().map(|&s| s as u16).collect(),
            successors,
        }))
    }

    fn check_names(&self) -> Result<(), Refusal> {
        let mut seen = HashSet::new();
        for (i, name) in self.states.iter().enumerate() {
            if !seen.insert(name) {
                let allowed = "a name that no other state has";
                return Err((format!("states[{i}]"), format!("{name:?}"), allowed));
            }
        }
        Ok(())
    }

    /// The symbols of states that are named by letters, and all letters.
    fn check_letters(&self) -> Result<(Vec<String>, Vec<u8>), Refusal> {
        let mut symbols = Vec::with_capacity(self.states.len());
        for (i, name) in self.states.iter().enumerate() {
            let allowed =
                "`#`, or a letter A-Z or a-z, which digits may follow; or give `symbols` and `symbol_of`";
            let symbol = symbol_of(name);
            symbols.push(symbol.ok_or_else(|| (format!("states[{i}]"), format!("{name:?}"), allowed))?);
        }
        let used = symbols.iter().max().map_or(0, |&s| u32::from(s)) + 1;
        let vocab = self.vocab.unwrap_or(used);
        if vocab < used || vocab > 53 {
            let found = format!("{vocab} (the last letter in use needs {used})");
            let allowed = "1 + the number of the last letter in use, up to 53";
            return Err(("vocab".to_owned(), found, allowed));
        }
        Ok((letters(vocab), symbols))
    }

    /// The symbols of states whose names are free.
    fn check_symbols(&self, alphabet: &[String], symbol_of: &[u32]) -> Result<Vec<u8>, Refusal> {
        if !(2..=255).contains(&alphabet.len()) {
            let found = format!("{} symbols", alphabet.len());
            return Err(("symbols".to_owned(), found, "2 to 255 symbols"));
        }
        let mut seen = HashSet::new();
        for (i, name) in alphabet.iter().enumerate() {
            let refuse = |allowed| Err((format!("symbols[{i}]"), format!("{name:?}"), allowed));
            if (i == 0) != (name == TERMINATOR) {
                return refuse("`#` first and nowhere else");
            }
            if name.is_empty() || !seen.insert(name) {
                return refuse("a name that no other symbol has");
            }
        }
        if self.vocab.is_some_and(|vocab| vocab as usize != alphabet.len()) {
            let found = self.vocab.unwrap_or(0).to_string();
            return Err(("vocab".to_owned(), found, "the number of `symbols`, or left out"));
        }
        if symbol_of.len() != self.states.len() {
            let found = format!("{} numbers", symbol_of.len());
            return Err(("symbol_of".to_owned(), found, "one number for each state"));
        }
        for (i, &symbol) in symbol_of.iter().enumerate() {
            if symbol as usize >= alphabet.len() {
                let allowed = "the position of a symbol in `symbols`";
                return Err((format!("symbol_of[{i}]"), symbol.to_string(), allowed));
            }
        }
        Ok(symbol_of.iter().map(|&symbol| symbol as u8).collect())
    }

    fn check_ids(&self, terminator: usize) -> Result<(), Refusal> {
        let states = self.states.len();
        if self.ids.len() != states {
            return Err((
                "ids".to_owned(),
                format!("{} numbers", self.ids.len()),
                "one number for each state",
            ));
        }
        let mut seen = vec![false; states];
        for (i, &id) in self.ids.iter().enumerate() {
            let fits = (id as usize) < states && (id == 0) == (i == terminator);
            if !fits || std::mem::replace(&mut seen[id as usize], true) {
                let allowed = "0 for `#`, and each of 1 .. states - 1 once for the others";
                return Err((format!("ids[{i}]"), id.to_string(), allowed));
            }
        }
        Ok(())
    }

    fn check_initial(&self, terminator: usize) -> Result<(), Refusal> {
        if self.initial.is_empty() {
            return Err(("initial".to_owned(), "no state".to_owned(), "at least one state"));
        }
        let mut seen = HashSet::new();
        for (i, &state) in self.initial.iter().enumerate() {
            let fits = (state as usize) < self.states.len() && state as usize != terminator;
            if !fits || !seen.insert(state) {
                let allowed = "the position of a state other than `#`, each once";
                return Err((format!("initial[{i}]"), state.to_string(), allowed));
            }
        }
        Ok(())
    }

    fn check_transitions(
        &self,
        terminator: usize,
        symbols: &[u8],
        alphabet: &[String],
    ) -> Result<Vec<Vec<(u16, f64)>>, Refusal> {
        const SUM_TOLERANCE: f64 = 1e-6;
        let states = self.states.len();
        let mut successors: Vec<Vec<(u16, f64)>> = vec![Vec::new(); states];
        for (i, &(from, to, probability)) in self.transitions.iter().enumerate() {
            let refuse = |allowed| {
                let found = format!("[{from}, {to}, {probability}]");
                Err((format!("transitions[{i}]"), found, allowed))
            };
            if from as usize >= states || to as usize >= states {
                return refuse("positions of states");
            }
            if from as usize == terminator {
                return refuse("no transition from `#`");
            }
            if !(probability > 0.0 && probability <= 1.0) {
                return refuse("a probability above 0, at most 1");
            }
            let list = &mut successors[from as usize];
            match list.binary_search_by_key(&(to as u16), |&(target, _)| target) {
                Ok(_) => return refuse("each pair of states once"),
                Err(place) => list.insert(place, (to as u16, probability)),
            }
        }
        for (from, list) in successors.iter().enumerate() {
            let mut seen = [false; 256];
            for &(to, _) in list {
                let symbol = usize::from(symbols[usize::from(to)]);
                if std::mem::replace(&mut seen[symbol], true) {
                    let found = format!(
                        "two successors of state {from} ({}) with the symbol {:?}",
                        self.states[from], alphabet[symbol]
                    );
                    let allowed = "at most one successor for each symbol";
                    return Err(("transitions".to_owned(), found, allowed));
                }
            }
            let sum = list.iter().fold(0.0, |sum: f64, &(_, p)| sum + p);
            if from != terminator && (sum - 1.0).abs() > SUM_TOLERANCE {
                let found = format!("sum {sum} from state {from} ({})", self.states[from]);
                return Err((
                    "transitions".to_owned(),
                    found,
                    "probabilities from a state that sum to 1",
                ));
            }
        }
        Ok(successors)
    }
}

/// The symbol id of a state's name, if it is one.
fn symbol_of(name: &str) -> Option<u8> {
    if name == TERMINATOR {
        return Some(0);
    }
    let mut characters = name.chars();
    let first = characters.next()?;
    let digits = characters.all(|c| c.is_ascii_digit());
    (1..=52)
        .find(|&symbol| letter(symbol) == first)
        .filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::GrammarSpec;
    use proptest::prelude::*;

    const REBER: &str = r##"{"states": ["A", "B0", "C1", "#"], "ids": [1, 2, 3, 0], "initial": [0],
        "transitions": [[0, 2, 0.25], [0, 1, 0.75], [1, 0, 1.0], [2, 3, 1]]}"##;

    fn small() -> Grammar {
        Grammar::generate(&GrammarSpec {
            vocab: 9,
            ambiguities: 6,
            depth: 4,
            seed: 2,
        })
        .unwrap()
    }

    #[test]
    fn generated_grammar_survives_a_file() {
        let grammar = small();
        let text = grammar.to_json(200).to_string();
        let read = Grammar::from_json(&text, "g.json").unwrap();
        assert_eq!(read.names(), grammar.names());
        assert_eq!(read.ids(), grammar.ids());
        assert_eq!(read.initial(), grammar.initial());
        assert_eq!(read.vocab(), grammar.vocab());
        assert_eq!(read.symbols(), grammar.symbols());
        assert_eq!(read.tables(), grammar.tables());
    }

    #[test]
    fn hand_written_file_may_weight_its_edges() {
        let grammar = Grammar::from_json(REBER, "g.json").unwrap();
        assert_eq!(
            (grammar.vocab(), grammar.classes(), grammar.terminator()),
            (4, 4, 3)
        );
        assert_eq!(grammar.successors(0), [1, 2]);
        assert_eq!(grammar.probabilities(0), [0.75, 0.25]);
    }

    #[test]
    fn broken_files_are_refused_by_entry() {
        for (from, to, field) in [
            ("\"A\", \"B0\"", "\"A\", \"A\"", "states[1]"),
            ("\"B0\"", "\"B-1\"", "states[1]"),
            ("\"B0\"", "\"\"", "states[1]"),
            ("\"#\"", "\"C\"", "states"),
            ("[1, 2, 3, 0]", "[1, 2, 3]", "ids"),
            ("[1, 2, 3, 0]", "[1, 2, 2, 0]", "ids[2]"),
            ("[1, 2, 3, 0]", "[0, 2, 3, 1]", "ids[0]"),
            ("[1, 2, 3, 0]", "[1, 2, 9, 0]", "ids[2]"),
            ("\"initial\": [0]", "\"initial\": []", "initial"),
            ("\"initial\": [0]", "\"initial\": [3]", "initial[0]"),
            ("\"initial\": [0]", "\"initial\": [0, 0]", "initial[1]"),
            ("[2, 3, 1]", "[2, 4, 1]", "transitions[3]"),
            ("[2, 3, 1]", "[3, 2, 1]", "transitions[3]"),
            ("[2, 3, 1]", "[2, 3, 0.5]", "transitions"),
            ("[2, 3, 1]", "[2, 3, -1]", "transitions[3]"),
            ("[0, 2, 0.25]", "[0, 1, 0.25]", "transitions[1]"),
            ("[2, 3, 1]", "[2, 0, 1]", "transitions"),
            ("\"C1\"", "\"B1\"", "transitions"),
            ("{", "{\"symbols\": [\"#\", \"b\"], ", "symbols"),
            ("{", "{\"vocab\": 2, ", "vocab"),
            ("{", "{\"vocab\": 54, ", "vocab"),
        ] {
            match Grammar::from_json(&REBER.replacen(from, to, 1), "g.json") {
                Err(UserError::Value { field: found, .. }) => assert_eq!(found, field, "{from} -> {to}"),
                other => panic!("{from} -> {to} gave {other:?}"),
            }
        }
        let error = Grammar::from_json(&REBER.replacen("[0]", "[0", 1), "g.json").unwrap_err();
        assert!(
            matches!(&error, UserError::Malformed { .. }) && error.to_string().contains("line 2"),
            "{error}"
        );
    }

    const WORDS: &str = r##"{"symbols": ["#", "the", "cat", "sat \"down\""], "symbol_of": [1, 2, 3, 0, 2],
        "states": ["start", "cat", "verb", "end", "cat again"], "ids": [1, 2, 4, 0, 3], "initial": [0],
        "transitions": [[0, 1, 0.5], [0, 2, 0.5], [1, 2, 1], [2, 3, 0.25], [2, 4, 0.75], [4, 3, 1]]}"##;

    #[test]
    fn symbols_may_have_names_of_any_length() {
        let grammar = Grammar::from_json(WORDS, "g.json").unwrap();
        assert_eq!(
            (grammar.vocab(), grammar.classes(), grammar.terminator()),
            (4, 5, 3)
        );
        assert_eq!(grammar.symbol_name(2), "cat");
        assert_eq!(grammar.impossible(0), [0, 1]);
        let again = Grammar::from_json(&grammar.to_json(20).to_string(), "g.json").unwrap();
        assert_eq!(again, grammar);
        for (from, to, field) in [
            ("\"#\", \"the\"", "\"the\", \"#\"", "symbols[0]"),
            ("\"cat\", \"sat", "\"the\", \"sat", "symbols[2]"),
            ("[1, 2, 3, 0, 2]", "[1, 2, 3, 0]", "symbol_of"),
            ("[1, 2, 3, 0, 2]", "[1, 2, 4, 0, 2]", "symbol_of[2]"),
            ("[1, 2, 3, 0, 2]", "[1, 2, 0, 0, 2]", "symbol_of"),
            ("[1, 2, 3, 0, 2]", "[1, 3, 3, 0, 2]", "transitions"),
            ("[2, 3, 0.25]", "[2, 3, 0.5]", "transitions"),
            ("[4, 3, 1]", "[4, 4, 1]", "transitions"),
            ("\"cat again\"", "\"cat\"", "states[4]"),
        ] {
            match Grammar::from_json(&WORDS.replacen(from, to, 1), "g.json") {
                Err(UserError::Value { field: found, .. }) => assert_eq!(found, field, "{from} -> {to}"),
                other => panic!("{from} -> {to} gave {other:?}"),
            }
        }
        let sum = Grammar::from_json(&WORDS.replacen("0.25", "0.5", 1), "g.json")
            .unwrap_err()
            .to_string();
        assert!(
            sum.contains("g.json: transitions = sum 1.25 from state 2 (verb)"),
            "{sum}"
        );
        let many: Vec<String> = (0..300).map(|i| format!("\"s{i}\"")).collect();
        let many = WORDS.replacen("\"the\"", &many.join(","), 1);
        let error = Grammar::from_json(&many, "g.json").unwrap_err().to_string();
        assert!(error.contains("2 to 255 symbols"), "{error}");
    }

    #[test]
    fn dot_names_every_state_and_edge() {
        let grammar = small();
        let dot = grammar.to_dot();
        assert_eq!(dot.matches("->").count(), grammar.transitions().count());
        assert_eq!(
            dot.matches("[label=").count(),
            grammar.classes() + grammar.transitions().count()
        );
        assert_eq!(dot.matches("style=bold").count(), 4);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            start in 0usize..200,
            end in 0usize..200,
            middle in "[0-9#A-c\\[\\]\", .{}-]{0,12}",
        ) {
            let start = start.min(REBER.len());
            let end = end.clamp(start, REBER.len());
            let text = format!("{}{middle}{}", &REBER[..start], &REBER[end..]);
            if let Ok(grammar) = Grammar::from_json(&text, "g.json") {
                prop_assert!(!grammar.initial().is_empty());
                prop_assert!(grammar.successors(grammar.terminator()).is_empty());
            }
        }
    }
}
