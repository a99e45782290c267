//! `docs/reference.md` held to the program: fields, defaults, limits, keys, names and shapes.

use assert_cmd::Command;
use selectiv::config::Config;
use selectiv::models::{BLOCKS, ModelConfig, Sizes};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The part of the page below a heading, up to the next one.
fn section(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let page = fs::read_to_string(path).unwrap();
    let mut lines = page
        .lines()
        .skip_while(|line| line.trim_start_matches('#').trim() != heading);
    let found = lines.next();
    assert!(found.is_some(), "docs/reference.md has no heading `{heading}`");
    lines
        .take_while(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The cells of a section's tables, without their headers.
fn rows(text: &str) -> Vec<Vec<String>> {
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---");
    let lines: Vec<&str> = text.lines().collect();
    let of_header = |i: usize| lines.get(i + 1).is_some_and(|next| next.starts_with("|---"));
    let body = lines
        .iter()
        .enumerate()
        .filter(|(i, line)| is_row(line) && !of_header(*i));
    body.map(|(_, line)| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// Names in backticks, and whether a `?` stands behind them.
fn names(cell: &str) -> Vec<(String, bool)> {
    let parts: Vec<&str> = cell.split('`').collect();
    let quoted = (1..parts.len()).step_by(2);
    quoted
        .map(|i| {
            (
                parts[i].to_owned(),
                parts.get(i + 1).is_some_and(|p| p.starts_with('?')),
            )
        })
        .collect()
}

/// The keys that a section's tables name.
fn keys(text: &str) -> BTreeMap<String, bool> {
    rows(text).iter().flat_map(|cells| names(&cells[0])).collect()
}

/// Every path to a value: `checks[].name`.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if at.is_empty() { "" } else { "." };
                paths(value, &format!("{at}{dot}{key}"), found);
            }
        }
        Value::Array(list) => list
            .iter()
            .for_each(|value| paths(value, &format!("{at}[]"), found)),
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// Holds a section to objects that the program wrote.
fn describes(heading: &str, section: &str, written: &[Value]) {
    let said = keys(section);
    let mut found = BTreeSet::new();
    written.iter().for_each(|value| paths(value, "", &mut found));
    let known = |path: &str| {
        let any = path.rfind('.').map(|i| format!("{}.*", &path[..i]));
        said.contains_key(path) || any.is_some_and(|any| said.contains_key(&any))
    };
    let unsaid: Vec<&String> = found.iter().filter(|path| !known(path)).collect();
    assert!(
        unsaid.is_empty(),
        "`{heading}` of docs/reference.md lacks {unsaid:?}"
    );
    let covers = |path: &str| match path.strip_suffix('*') {
        Some(stem) => found.iter().any(|found| found.starts_with(stem)),
        None => found.contains(path),
    };
    let lost: Vec<&String> = said
        .iter()
        .filter(|(path, optional)| !**optional && !covers(path))
        .map(|(path, _)| path)
        .collect();
    assert!(
        lost.is_empty(),
        "`{heading}` of docs/reference.md has {lost:?}, which the program does not write"
    );
}

/// A folder with a tiny run in it.
struct Run {
    dir: TempDir,
}

const TASK: &str = "
[grammar]
vocab = 9
ambiguities = 6
depth = 4
[data]
length = 12
train = 60
validation = 12
test = 12
[model]
d_model = 16
layers = 1
[train]
batch = 12
warmup = 2
";

impl Run {
    fn new() -> Self {
        let run = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(run.dir.path().join("tiny.toml"), TASK).unwrap();
        run.said(&[
            "train",
            "tiny.toml",
            "--model",
            "gated_delta_net",
            "--out",
            "run",
            "--device",
            "cpu",
        ]);
        run
    }

    fn said(&self, args: &[&str]) -> String {
        let mut command = Command::cargo_bin("selectiv").unwrap();
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .args(args);
        let output = command.assert().success().get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.said(args)).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("run").join(name)).unwrap()
    }
}

#[test]
fn files_of_a_run_are_described() {
    let run = Run::new();
    let result: Value = serde_json::from_str(&run.read("result.json")).unwrap();
    describes(
        "result.json",
        &section("result.json"),
        std::slice::from_ref(&result),
    );
    let order: Vec<String> = rows(&section("result.json"))
        .iter()
        .flat_map(|cells| names(&cells[0]))
        .map(|(name, optional)| {
            let key = name.trim_end_matches("[]").trim_end_matches(".*").to_owned();
            (key, optional)
        })
        .filter(|(key, optional)| !optional || result.get(key).is_some())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        order,
        result.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    );
    let lines = run.read("metrics.jsonl");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    describes("metrics.jsonl", &section("metrics.jsonl"), &lines);

    let listed = run.json(&["runs", ".", "--json"]);
    describes("runs --json", &section("runs --json"), &[listed]);

    let known = keys(&section("A run's folder"));
    let stem = |name: &str| {
        name.trim_end_matches(|c: char| c != '*')
            .trim_end_matches('*')
            .to_owned()
    };
    for entry in fs::read_dir(run.dir.path().join("run")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_known = |known: &String| {
            let digits = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "0");
            digits(known) == digits(&name) || known.contains('*') && name.starts_with(&stem(known))
        };
        assert!(
            known.keys().any(is_known),
            "docs/reference.md does not name {name} in a run's folder"
        );
    }

    let eval = section("eval --json");
    let parts: Vec<&str> = eval.split("\nWith `").collect();
    let flags: [&[&str]; 4] = [
        &[],
        &["--gates"],
        &["--decode"],
        &["--by", "position,symbol,distance,gap"],
    ];
    assert_eq!(parts.len(), flags.len());
    for (part, flags) in parts.iter().zip(flags) {
        let args = [&["eval", "run", "--device", "cpu", "--json"], flags].concat();
        describes("eval --json", part, &[run.json(&args)]);
    }
}

#[test]
fn json_of_the_other_commands_is_described() {
    let run = Run {
        dir: tempfile::tempdir().unwrap(),
    };
    let folder = run.dir.path().join("goldens/ops");
    fs::create_dir_all(&folder).unwrap();
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ops");
    fs::copy(
        built_in.join("swiglu_beta.tiny.safetensors"),
        folder.join("a.safetensors"),
    )
    .unwrap();
    let entry = |name: &str| serde_json::json!({ "name": name, "case": "tiny", "file": "a.safetensors", "attrs": {} });
    let index = serde_json::json!({ "entries": [entry("swiglu_beta"), entry("no_such_op")] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    for args in [
        &[
            "check",
            "--device",
            "cpu",
            "--fixtures-only",
            "--fixtures",
            "goldens",
            "--json",
            "-q",
        ][..],
        &[
            "bench", "--device", "cpu", "--op", "scale", "--quick", "--json", "-q",
        ],
        &["models", "--json"],
        &["devices", "--json"],
    ] {
        let heading = format!("{} --json", args[0]);
        describes(&heading, &section(&heading), &[run.json(args)]);
    }
}

#[test]
fn files_of_a_sweep_are_described() {
    let run = Run {
        dir: tempfile::tempdir().unwrap(),
    };
    let write = |name: &str, text: &str| fs::write(run.dir.path().join(name), text).unwrap();
    let read = |name: &str| fs::read_to_string(run.dir.path().join("grid").join(name)).unwrap();
    write("tiny.toml", TASK);
    let sweep = r#"
        tasks = ["tiny.toml"]
        models = ["gated_delta_net", "gla"]
        select = "train.lr"
        [grid]
        "train.lr" = [0.01, 0.02]
        seed = [1, 2]
    "#;
    write("sweep.toml", sweep);
    run.said(&["sweep", "sweep.toml", "--out", "grid", "--device", "cpu", "-q"]);
    for name in ["results.csv", "metrics.csv"] {
        let text = read(name);
        // A column for each varied field stands behind the fixed ones.
        let columns = text
            .lines()
            .next()
            .unwrap()
            .split(',')
            .filter(|c| !c.contains('.'))
            .collect::<BTreeSet<_>>();
        let said: Vec<String> = keys(&section(name)).into_keys().collect();
        let said = said.iter().map(String::as_str);
        assert_eq!(said.collect::<BTreeSet<_>>(), columns, "{name}");
    }
    let folder = fs::read_dir(run.dir.path().join("grid"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let files = folder
        .map(|path| path.join("explained.json"))
        .filter(|path| path.exists());
    let explained: Vec<Value> = files
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect();
    assert_eq!(explained.len(), 8);
    describes("explained.json", &section("explained.json"), &explained);
    describes(
        "sweep --json",
        &section("sweep --json"),
        &[run.json(&["sweep", "grid", "--json"])],
    );

    write("wrong.toml", "no_such_field = 1");
    let mut command = Command::cargo_bin("selectiv").unwrap();
    command
        .current_dir(run.dir.path())
        .args(["sweep", "wrong.toml", "--out", "wrong"]);
    let said = String::from_utf8(command.assert().code(2).get_output().stderr.clone()).unwrap();
    let fields = said.split_once("expected one of").map(|(_, list)| list).unwrap();
    let fields: BTreeSet<String> = names(fields).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        keys(&section("Sweep files")).into_keys().collect::<BTreeSet<_>>(),
        fields
    );
}

/// What the program says to a field of a task file.
fn refusal(field: &str, value: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.toml");
    fs::write(&path, "").unwrap();
    match Config::load(&path, &[(field.to_owned(), value.to_owned())]) {
        Ok(_) => panic!("{field} = {value} is taken"),
        Err(error) => error.to_string(),
    }
}

/// Digits of a text, in groups.
fn numbers(text: &str) -> Vec<String> {
    let parts = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

#[test]
fn fields_of_a_task_file_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.toml");
    fs::write(&path, "").unwrap();
    let defaults: toml::Table = Config::load(&path, &[]).unwrap().to_toml("").parse().unwrap();
    for name in ["grammar", "data", "model", "train"] {
        let text = section(&format!("[{name}]"));
        // The parser lists what it knows.
        let expected = refusal(&format!("{name}.no_such_field"), "1");
        let listed = expected
            .split_once("expected one of")
            .map(|(_, list)| list)
            .unwrap();
        let fields: BTreeSet<String> = names(listed).into_iter().map(|(name, _)| name).collect();
        let said: BTreeSet<String> = keys(&text).into_keys().collect();
        assert_eq!(said, fields, "[{name}] of docs/reference.md");

        for cells in rows(&text) {
            let field = cells[0].trim_matches('`');
            let (allowed, default) = (&cells[1], &cells[2]);
            let place = format!("{name}.{field} of docs/reference.md");
            let written = defaults[name].get(field).map(ToString::to_string);
            if let Some(written) =
                written.filter(|_| default.starts_with(|c: char| c.is_ascii_digit() || "`\"".contains(c)))
            {
                let stated = default.trim_matches('`');
                let is_rule = stated.contains([' ', ',', '`']) || stated.starts_with(char::is_alphabetic);
                assert!(
                    is_rule || stated == written,
                    "{place}: the default is {written}, not {stated}"
                );
            }
            if allowed.contains('"') {
                for value in allowed.split('"').skip(1).step_by(2) {
                    let taken = Config::load(&path, &[(format!("{name}.{field}"), value.to_owned())]);
                    assert!(taken.is_ok(), "{place}: {value} is refused: {taken:?}");
                }
                let refused = refusal(&format!("{name}.{field}"), "no_such_word");
                for (value, _) in names(&refused) {
                    assert!(
                        ["no_such_word"].contains(&value.as_str()) || allowed.contains(&value),
                        "{place} lacks {value}: {refused}"
                    );
                }
            } else if allowed.starts_with(|c: char| c.is_ascii_digit()) {
                let refused = refusal(&format!("{name}.{field}"), "-1");
                let (_, limits) = refused.split_once("allowed:").unwrap();
                let known = numbers(limits);
                let stated = numbers(allowed);
                let missing: Vec<&String> = stated.iter().filter(|n| !known.contains(n)).collect();
                assert!(
                    missing.is_empty(),
                    "{place}: {missing:?} is not what the program says: {refused}"
                );
            }
        }
    }
}

/// A product of whole numbers and letters, or a sum of such: `2 E d + N/2`.
fn evaluated(formula: &str, letters: &BTreeMap<&str, usize>) -> usize {
    let number = |factor: &str| {
        letters
            .get(factor)
            .copied()
            .unwrap_or_else(|| factor.parse().unwrap())
    };
    let product = |term: &str| {
        let mut parts = term.split('/');
        let above: usize = parts.next().unwrap().split_whitespace().map(number).product();
        parts.fold(above, |value, factor| value / number(factor))
    };
    formula.split(" + ").map(product).sum()
}

#[test]
fn names_and_shapes_of_weights_are_described() {
    let text = section("Weights");
    let block = text.split("```").nth(1).unwrap();
    let mut said: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut model = "";
    for line in block.lines().skip(1) {
        match line.strip_prefix("  ") {
            None => model = line,
            Some(row) => {
                let (list, shape) = row.rsplit_once(" [").unwrap();
                let list = list.split(", ").map(|name| (name, shape.trim_end_matches(']')));
                said.entry(model).or_default().extend(list);
            }
        }
    }
    for block in BLOCKS {
        let sizes = Sizes {
            heads: 4,
            expand: 3,
            householder: 2,
            d_state: Some(6),
            ..Sizes::new(40)
        };
        let config = ModelConfig {
            sizes,
            ..ModelConfig::new(*block, 2, 40, 11, 13)
        };
        let letters: BTreeMap<&str, usize> = [
            ("d", 40),
            ("H", 4),
            ("E", 3),
            ("n", 2),
            ("N", 6),
            ("R", 3),
            ("V", 11),
            ("K", 13),
        ]
        .into();
        let shape = |formulas: &str| {
            formulas
                .split(", ")
                .map(|f| evaluated(f, &letters))
                .collect::<Vec<_>>()
        };
        let mut stated = BTreeMap::new();
        for (name, formulas) in &said["every model"] {
            for layer in ["0", "1"] {
                stated.insert(name.replace("{i}", layer), shape(formulas));
            }
        }
        let own = said
            .get(block.name())
            .unwrap_or_else(|| panic!("`Weights` lacks {}", block.name()));
        for (name, formulas) in own {
            for layer in 0..2 {
                stated.insert(format!("layers.{layer}.{name}"), shape(formulas));
            }
        }
        let graph = config.eval_net(1, 1, 1).unwrap().graph;
        let tensors = graph.params().iter().map(|p| graph.tensor(p.tensor));
        let made: BTreeMap<String, Vec<usize>> = tensors.map(|t| (t.name.clone(), t.shape.clone())).collect();
        assert_eq!(stated, made, "{}", block.name());
    }
}
