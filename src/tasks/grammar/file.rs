//! Grammars as JSON (in and out) and as a picture for Graphviz.

use super::{Grammar, Parts, TERMINATOR, all_reach, letter};
use crate::error::UserError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;

/// What a grammar file must hold. Other keys are ignored.
#[derive(Deserialize)]
struct GrammarFile {
    vocab: Option<u32>,
    states: Vec<String>,
    ids: Vec<u32>,
    initial: Vec<u32>,
    transitions: Vec<(u32, u32, f64)>,
}

impl Grammar {
    /// Reads a grammar from JSON with the keys `states`, `ids`, `initial`, `transitions` and, optionally,
    /// `vocab`.
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
        let symbols = self.check_states()?;
        let terminator = symbols.iter().position(|&s| s == 0);
        let Some(terminator) = terminator else {
            return Err((
                "states".to_owned(),
                "no `#`".to_owned(),
                "exactly one state named `#`",
            ));
        };
        let used = symbols.iter().max().map_or(0, |&s| u32::from(s)) + 1;
        let vocab = self.vocab.unwrap_or(used);
        if vocab < used || vocab > 53 {
            let found = format!("{vocab} (the last letter in use needs {used})");
            return Err((
                "vocab".to_owned(),
                found,
                "1 + the number of the last letter in use, up to 53",
            ));
        }
        self.check_ids(terminator)?;
        self.check_initial(terminator)?;
        let successors = self.check_transitions(terminator)?;
        let targets: Vec<Vec<u16>> = successors
            .iter()
            .map(|list| list.iter().map(|&(to, _)| to).collect())
            .collect();
        if !all_reach(terminator as u16, states, |s| &targets[s]) {
            let found = "a state without a path to `#`".to_owned();
            return Err(("transitions".to_owned(), found, "a path to `#` from every state"));
        }
        Ok(Grammar::from_parts(Parts {
            origin: None,
            vocab,
            names: self.states,
            symbols,
            ids: self.ids,
            initial: self.initial.iter().map(|&s| s as u16).collect(),
            successors,
        }))
    }

    fn check_states(&self) -> Result<Vec<u8>, Refusal> {
        let mut seen = HashSet::new();
        let mut symbols = Vec::with_capacity(self.states.len());
        for (i, name) in self.states.iter().enumerate() {
            let refuse = |allowed| Err((format!("states[{i}]"), format!("{name:?}"), allowed));
            if !seen.insert(name) {
                return refuse("a name that no other state has");
            }
            match symbol_of(name) {
                Some(symbol) => symbols.push(symbol),
                None => return refuse("`#`, or a letter A-Z or a-z, which digits may follow"),
            }
        }
        Ok(symbols)
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

    fn check_transitions(&self, terminator: usize) -> Result<Vec<Vec<(u16, f64)>>, Refusal> {
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
            let sum: f64 = list.iter().map(|&(_, p)| p).sum();
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

    const REBER: &str = r##"{"states": ["A", "B0", "B1", "#"], "ids": [1, 2, 3, 0], "initial": [0],
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
            (3, 4, 3)
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
