use super::resolve::MAX_WORD;
use super::*;
use crate::models::{self, DecayKind, InputGate, Switches};
use crate::tasks::{DataSet, Gap, Grammar, Splits, Targets, TestGaps, stored};
use proptest::prelude::*;

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Loads a task file of this text, called `t.toml` in errors.
fn load(text: &str, overrides: &[(&str, &str)]) -> Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path, &set(overrides))
}

/// The error's text, with the temporary folder cut off.
fn refusal(text: &str, overrides: &[(&str, &str)]) -> String {
    let error = load(text, overrides).expect_err("this must be refused");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    text.find("t.toml")
        .map_or(text.clone(), |at| text[at..].to_owned())
}

#[test]
fn an_empty_file_is_the_papers_task_1() {
    let config = load("", &[]).unwrap();
    assert_eq!(config, Config::load(Path::new("task1"), &[]).unwrap());
    let grammar = GrammarSpec {
        vocab: 41,
        ambiguities: 40,
        depth: 40,
        seed: 1,
    };
    assert_eq!(config.grammar, GrammarConfig::Generated(grammar));
    let (data, train) = (&config.data, &config.train);
    assert_eq!(
        (data.length, data.train, data.validation, data.test),
        (200, 200_000, 1000, 1000)
    );
    assert_eq!(
        (
            config.model.sizes.d_model,
            &config.model.layers,
            config.model.sizes.heads
        ),
        (256, &LayerList::Count(8), 4)
    );
    assert_eq!(
        (train.batch, train.steps, train.warmup, train.eval_every),
        (64, 3125, 476, 78)
    );
    assert_eq!((train.lr, train.clip, train.dropout), (1e-3, 1.0, 0.2));
}

#[test]
fn built_in_tasks_answer_to_their_name_and_path() {
    for (name, text) in BUILTIN {
        let by_name = Config::load(Path::new(name), &[]).unwrap();
        assert_eq!(by_name, load(text, &[]).unwrap());
        let path = format!("tasks/{name}.toml");
        assert_eq!(by_name, Config::load(Path::new(&path), &[]).unwrap());
    }
    for wrong in ["task1.toml", "task9", "other/tasks/task1.toml", "src"] {
        let error = Config::load(Path::new(wrong), &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error
                .to_string()
                .contains("built in are: task1, task2, task3, task4, quickstart"),
            "{error}"
        );
    }
}

#[test]
fn an_unknown_field_names_the_line_the_column_and_the_known_ones() {
    let text = refusal("[train]\nlr = 1e-3\n  wramup = 3\n", &[]);
    assert!(
        text.starts_with("t.toml:3: TOML parse error at line 3, column 3"),
        "{text}"
    );
    assert!(text.contains("3 |   wramup = 3\n  |   ^^^^^^"), "{text}");
    let known = "`seed`, `batch`, `steps`, `lr`, `warmup`, `schedule`, `clip`, `dropout`, `dropout_mode`, \
                 `eval_every`, `checkpoint_every`";
    assert!(
        text.contains(&format!("unknown field `wramup`, expected one of {known}")),
        "{text}"
    );
    assert!(refusal("[tain]\n", &[]).contains("expected one of `run`, `grammar`, `data`, `model`, `train`"));
}

#[test]
fn a_wrong_type_and_broken_toml_name_the_line() {
    let text = refusal("[grammar]\n\nvocab = \"many\"\n", &[]);
    assert!(
        text.starts_with("t.toml:3: ") && text.contains("= \"many\": allowed: an integer from 2 to 53"),
        "{text}"
    );
    let text = refusal("[data]\nsplits = \"disjont\"\n", &[]);
    assert!(
        text.starts_with("t.toml:2: ") && text.contains("expected `disjoint` or `reference`"),
        "{text}"
    );
    assert!(refusal("[data\n", &[]).starts_with("t.toml:1: "));
    assert!(refusal("[data]\ntrain = 1\ntrain = 2\n", &[]).starts_with("t.toml:3: "));
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, b"[data]\n\xff").unwrap();
    let error = Config::load(&path, &[]).unwrap_err();
    assert!(
        error.to_string().ends_with("t.toml: not UTF-8 text from byte 7"),
        "{error}"
    );
}

#[test]
fn every_value_out_of_range_is_refused_with_its_line() {
    let cases = [
        ("grammar.vocab", "54", "an integer from 2 to 53"),
        ("grammar.vocab", "-1", "an integer from 2 to 53"),
        ("grammar.ambiguities", "41", "0 to grammar.vocab - 1 = 40"),
        ("grammar.ambiguities", "-1", "0 to grammar.vocab - 1 = 40"),
        ("grammar.depth", "0", "an integer from 1 to 100"),
        ("grammar.depth", "101", "an integer from 1 to 100"),
        ("grammar.seed", "4294967296", "an integer from 0 to 4294967295"),
        ("grammar.file", "\"\"", "the path of a grammar in JSON"),
        ("data.length", "1", "an integer from 2 to 10000"),
        ("data.length", "10001", "an integer from 2 to 10000"),
        ("data.train", "0", "an integer from 1 to 4294967295"),
        ("data.validation", "0", "an integer from 1 to 4294967295"),
        ("data.test", "0", "an integer from 1 to 4294967295"),
        ("data.gap", "-0.1", Gap::ALLOWED),
        ("data.gap", "nan", Gap::ALLOWED),
        ("data.gap", "0.15", Gap::ALLOWED),
        ("data.gap", "[0.1]", Gap::ALLOWED),
        ("data.gap", "{ uniform = [1.0, 0.1] }", Gap::ALLOWED),
        ("data.gap", "{ uniform = [0.1, 101] }", Gap::ALLOWED),
        ("data.gap", "{ lognormal = [0.1, -1] }", Gap::ALLOWED),
        ("data.gap", "\"long\"", Gap::ALLOWED),
        ("data.test_gap", "100.1", Gap::ALLOWED),
        ("data.test_gap", "[0.1, 0.11]", Gap::ALLOWED),
        ("data.test_gap", "[]", Gap::ALLOWED),
        ("data.noise", "-0.1", "0 to 1"),
        ("data.noise", "1.5", "0 to 1"),
        ("data.gap_prob", "1.5", "0 to 1"),
        ("data.gap_start", "201", "an integer from 0 to 200"),
        ("model.d_model", "0", "an integer from 1 to 65536"),
        ("model.d_model", "516", "a multiple of 4 up to 512"),
        (
            "model.layers",
            "0",
            "an integer from 1 to 1024, or a list of at most 1024 of transformer, mamba",
        ),
        ("model.heads", "3", "a divisor of model.d_model = 256"),
        ("model.heads", "257", "an integer from 1 to 256"),
        ("model.householder", "0", "an integer from 1 to 8"),
        ("model.householder", "9", "an integer from 1 to 8"),
        ("model.chunk", "48", "16, 32 or 64"),
        ("model.d_state", "0", "an integer from 1 to 256"),
        ("model.d_state", "257", "an integer from 1 to 256"),
        ("train.seed", "-1", "an integer from 0 to 4294967295"),
        ("train.batch", "0", "an integer from 1 to 4294967295"),
        ("train.batch", "200001", "1 to data.train = 200000"),
        ("train.steps", "0", "an integer from 1 to 4294967295"),
        ("train.lr", "0.0", "a finite number above 0"),
        ("train.lr", "inf", "a finite number above 0"),
        ("train.warmup", "-1", "an integer from 0 to 4294967295"),
        ("train.clip", "0", "a finite number above 0"),
        ("train.dropout", "1.0", "0 or more, below 1"),
        ("train.dropout", "-0.1", "0 or more, below 1"),
        ("train.eval_every", "0", "an integer from 1 to 4294967295"),
        ("train.checkpoint_every", "0", "an integer from 1 to 4294967295"),
    ];
    for (field, value, allowed) in cases {
        let (section, key) = field.split_once('.').unwrap();
        let text = refusal(&format!("# a comment\n\n[{section}]\n{key} = {value}\n"), &[]);
        assert!(text.starts_with(&format!("t.toml:4: {field} = ")), "{text}");
        assert!(text.contains(&format!("allowed: {allowed}")), "{text}");
        let text = refusal("", &[(field, value)]);
        assert!(text.starts_with(&format!("command line: {field} = ")), "{text}");
        assert!(text.contains(&format!("allowed: {allowed}")), "{text}");
    }
}

#[test]
fn a_default_that_does_not_fit_says_so() {
    let text = refusal("[grammar]\nvocab = 5\n", &[]);
    assert_eq!(
        text,
        "t.toml: grammar.ambiguities = 40 (the default): allowed: 0 to grammar.vocab - 1 = 4"
    );
    let text = refusal("[grammar]\nvocab = 3\nambiguities = 0\n", &[]);
    assert!(
        text.starts_with("t.toml:2: grammar.vocab = 3: allowed: at least 4 states beside the terminator"),
        "{text}"
    );
    assert!(load("[grammar]\nvocab = 5\nambiguities = 0\ndepth = 1\n", &[]).is_ok());
}

#[test]
fn fields_of_all_tasks_are_read() {
    let text = "[data]\ngap = { uniform = [0.1, 1.0] }\ntest_gap = [1, 2.5]\nnoise = 0.2\nnongrammatical = true\n\
                gap_start = 50\ngap_prob = 0.1\ntargets = \"next\"\n";
    let data = load(text, &[]).unwrap().data;
    assert_eq!(data.gap, Gap::Uniform([0.1, 1.0]));
    assert_eq!(data.test_gap.all(), [Gap::Fixed(10), Gap::Fixed(25)]);
    assert_eq!((data.noise, data.gap_start, data.gap_prob), (0.2, 50, 0.1));
    assert_eq!((data.nongrammatical, data.targets), (true, Targets::Next));
    let command_line = [("data.gap", "{ lognormal = [-1, 0.5] }"), ("data.test_gap", "2")];
    let data = load(text, &command_line).unwrap().data;
    assert_eq!(data.gap, Gap::LogNormal([-1.0, 0.5]));
    assert_eq!(data.test_gap, Gap::Fixed(20).into());
}

#[test]
fn stored_samples_bring_their_form_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let task = "[grammar]\nvocab = 9\nambiguities = 6\ndepth = 4\nseed = 2\n[data]\nlength = 20\ntrain = 8\nvalidation = 2\n\
                test = 3\ngap = { uniform = [0.1, 1.0] }\ntest_gap = 1.0\nnoise = 0.2\n[train]\nbatch = 4\nseed = 7\n";
    let config = load(task, &[]).unwrap();
    let GrammarConfig::Generated(spec) = &config.grammar else {
        unreachable!("no file is named")
    };
    let grammar = std::sync::Arc::new(Grammar::generate(spec).unwrap());
    let data = DataSet::new(std::sync::Arc::clone(&grammar), config.data.clone(), 7).unwrap();
    std::fs::write(folder.path().join(stored::FILE), data.to_file(None)).unwrap();

    let path = folder.path().to_str().unwrap();
    let alone = load("[train]\nbatch = 4\n", &[("data.path", path)]).unwrap();
    let beside = load(task, &[("data.path", path), ("data.train", "6")]).unwrap();
    assert_eq!((alone.data.train, beside.data.train), (8, 6));
    assert_eq!(alone.data.gap, Gap::Uniform([0.1, 1.0]));
    assert_eq!(alone.data.test_gap, Gap::Fixed(10).into());
    let file = folder.path().join(stored::GRAMMAR_FILE);
    assert_eq!(alone.grammar, GrammarConfig::File { file });
    assert_eq!(load(&alone.to_toml(""), &[]).unwrap(), alone);

    for (field, value) in [("data.length", "21"), ("data.train", "9"), ("grammar.seed", "3")] {
        let text = refusal(task, &[("data.path", path), (field, value)]);
        assert!(text.starts_with("command line: "), "{text}");
    }
    assert!(refusal("", &[("data.path", "nowhere")]).contains("cannot read these samples"));
}

#[test]
fn a_gap_that_is_too_long_for_the_length_is_named() {
    let refused = |text: &str| refusal(text, &[]);
    let message = refused("[data]\nlength = 2000\ntest_gap = 100\n");
    assert!(message.starts_with("t.toml:3: data.test_gap = 100"), "{message}");
    assert!(
        message.contains("at most 53.5 s at data.length = 2000"),
        "{message}"
    );
    let message = refused("[data]\nlength = 2000\ngap = 60\n");
    assert!(message.starts_with("t.toml:3: data.gap = 60"), "{message}");
    let message = refused("[data]\nlength = 10000\ngap = { lognormal = [0, 1] }\ntest_gap = [0.1, 3]\n");
    assert!(message.starts_with("t.toml:3: data.gap = "), "{message}");
    assert!(
        message.contains("at most 2 s at data.length = 10000"),
        "{message}"
    );
    // Without gaps before the end there is room for long ones.
    load("[data]\nlength = 2000\ngap_start = 1990\ntest_gap = 100\n", &[]).unwrap();
    load("[data]\nlength = 2000\ntest_gap = 53.5\n", &[]).unwrap();
}

#[test]
fn the_test_gap_follows_the_gap_unless_given() {
    let test_gap = |overrides: &[(&str, &str)]| load("", overrides).unwrap().data.test_gap;
    assert_eq!(test_gap(&[]), Gap::Fixed(1).into());
    assert_eq!(test_gap(&[("data.gap", "0.5")]), Gap::Fixed(5).into());
    assert_eq!(
        test_gap(&[("data.gap", "0.5"), ("data.test_gap", "0.2")]),
        Gap::Fixed(2).into()
    );
    let task1 = Config::load(Path::new("task1"), &set(&[("data.gap", "0.5")])).unwrap();
    assert_eq!(task1.data.test_gap, Gap::Fixed(5).into());
}

#[test]
fn overrides_win_over_the_file_and_the_last_over_the_first() {
    let text = "[train]\nlr = 1e-2\nbatch = 10\n[data]\ntrain = 1000\n";
    let overrides = [
        ("train.lr", "1"),
        ("train.lr", "2e-3"),
        ("train.schedule", "cosine_floor"),
    ];
    let config = load(text, &overrides).unwrap();
    assert_eq!((config.train.lr, config.train.steps), (2e-3, 100));
    assert_eq!(
        (
            config.train.warmup,
            config.train.eval_every,
            config.train.checkpoint_every
        ),
        (50, 500, 500)
    );
    assert_eq!(config.train.schedule, Anneal::CosineFloor);
}

#[test]
fn bad_overrides_are_refused() {
    let text = refusal("", &[("train.lrx", "3")]);
    assert!(
        text.starts_with("command line: train.lrx = 3: unknown field `lrx`, expected one of"),
        "{text}"
    );
    let text = refusal("", &[("train.lr", "fast")]);
    assert!(
        text.contains("train.lr = fast: allowed: a finite number above 0"),
        "{text}"
    );
    assert!(refusal("", &[("lr", "3")]).contains("a field is named section.key"));
    assert!(refusal("", &[("a.b.c", "3")]).contains("unknown field `a`"));
    let smuggled = refusal("", &[("train.lr", "1\nvocab = 2")]);
    assert!(
        smuggled.contains("allowed: a finite number above 0"),
        "{smuggled}"
    );
    // No 64 bits hold it, and it is refused like any other.
    for text in ["18446744073709551616", "-9223372036854775809", "1.5", "\"8\""] {
        let refused = refusal("", &[("train.steps", text)]);
        assert!(
            refused.contains("allowed: an integer from 1 to 4294967295"),
            "{refused}"
        );
        let refused = refusal(&format!("[train]\nsteps = {text}\n"), &[]);
        assert!(
            refused.starts_with("t.toml:2: ") && refused.contains("an integer from 1 to 4294967295"),
            "{refused}"
        );
    }
    assert_eq!(
        parse_override(" train.lr = 1e-3").unwrap(),
        ("train.lr".to_owned(), "1e-3".to_owned())
    );
    assert!(parse_override("train.lr").is_err() && parse_override("=3").is_err());
}

#[test]
fn seed_sets_grammar_and_training_unless_the_grammar_is_fixed() {
    let seeds = |overrides: &[(&str, &str)]| {
        let config = load("[grammar]\nseed = 5\n[train]\nseed = 6\n", overrides).unwrap();
        let GrammarConfig::Generated(spec) = config.grammar else {
            unreachable!("no file is named")
        };
        (spec.seed, config.train.seed)
    };
    assert_eq!(seeds(&[]), (5, 6));
    assert_eq!(seeds(&[("seed", "3")]), (3, 3));
    assert_eq!(seeds(&[("grammar.seed", "2"), ("seed", "3")]), (2, 3));
    assert_eq!(seeds(&[("seed", "3"), ("grammar.seed", "2")]), (2, 3));
    let text = refusal("", &[("seed", "-3")]);
    assert!(
        text.contains("seed = -3: allowed: an integer from 0 to 4294967295"),
        "{text}"
    );
}

#[test]
fn a_grammar_file_stands_alone_and_is_found_beside_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, "[grammar]\nfile = \"g.json\"\n").unwrap();
    let config = Config::load(&path, &set(&[("seed", "7")])).unwrap();
    assert_eq!(
        config.grammar,
        GrammarConfig::File {
            file: folder.path().join("g.json")
        }
    );
    assert_eq!(config.train.seed, 7);

    let text = refusal("[grammar]\nfile = \"g.json\"\ndepth = 4\n", &[]);
    assert_eq!(
        text,
        "t.toml:3: grammar.depth = 4: allowed: left out, because grammar.file is given"
    );
    assert!(refusal("[grammar]\nfile = \"g.json\"", &[("grammar.vocab", "4")]).starts_with("command line: "));
    let config = load(
        "[grammar]\ndepth = 4\n",
        &[("grammar.file", "g.json"), ("seed", "2")],
    )
    .unwrap();
    assert_eq!(
        config.grammar,
        GrammarConfig::File {
            file: std::path::absolute("g.json").unwrap()
        }
    );
}

#[test]
fn a_short_trial_run_of_a_long_task_is_allowed() {
    let config = Config::load(Path::new("task1"), &set(&[("train.steps", "20")])).unwrap();
    assert_eq!((config.train.steps, config.train.warmup), (20, 3));
    assert_eq!(config.notes.0.len(), 1);
    assert!(config.notes.0[0].contains("476 of 3125"), "{:?}", config.notes);
    assert_eq!(load(&config.to_toml(""), &[]).unwrap(), config);
    assert_eq!(load("", &[("train.steps", "1")]).unwrap().train.warmup, 0);
}

#[test]
fn the_warm_up_follows_the_length_that_the_command_line_sets() {
    let warmup = |text: &str, overrides: &[(&str, &str)]| {
        let config = load(text, overrides).unwrap();
        (config.train.warmup, config.notes.0.len())
    };
    let file = "[train]\nsteps = 1000\nwarmup = 100\n";
    assert_eq!(warmup(file, &[]), (100, 0));
    assert_eq!(warmup(file, &[("train.steps", "20")]), (2, 1));
    assert_eq!(warmup(file, &[("train.steps", "5000")]), (500, 1));
    assert_eq!(warmup(file, &[("train.steps", "1000")]), (100, 0));
    assert_eq!(
        warmup(file, &[("train.steps", "20"), ("train.warmup", "7")]),
        (7, 0)
    );
    // One default: 476, or half of a shorter run.
    assert_eq!(warmup("[train]\nsteps = 1000\n", &[]), (476, 0));
    assert_eq!(warmup("", &[("train.steps", "20")]), (10, 0));
}

#[test]
fn a_run_names_itself_and_is_no_other_for_it() {
    let plain = load("", &[]).unwrap();
    let text = "[run]\ntask = \"task1\"\nmodel = \"gla\"\n";
    let run = load(text, &[]).unwrap();
    assert_eq!(run.run.as_ref().unwrap().model.as_deref(), Some("gla"));
    assert!(run.differences(&plain).is_empty());
    assert_eq!(load(&run.to_toml("header"), &[]).unwrap(), run);
}

#[test]
fn differences_name_the_fields() {
    let a = load("", &[]).unwrap();
    let b = load("", &[("train.lr", "2e-3"), ("model.d_model", "384")]).unwrap();
    let found = a.differences(&b);
    let fields: Vec<_> = found
        .iter()
        .map(|(f, a, b)| (f.as_str(), a.as_str(), b.as_str()))
        .collect();
    assert_eq!(
        fields,
        [("model.d_model", "256", "384"), ("train.lr", "0.001", "0.002")]
    );
    assert!(a.differences(&a).is_empty());
    assert!(a.to_toml("") != b.to_toml("") && a.to_toml("") == load("", &[]).unwrap().to_toml(""));
    let c = load("[grammar]\nfile = \"/g.json\"", &[]).unwrap();
    let found = a.differences(&c);
    assert!(
        found.contains(&("grammar.vocab".to_owned(), "41".to_owned(), "none".to_owned())),
        "{found:?}"
    );
}

/// Task 1 as the versions wrote it, the first one first: its `[model]`.
const MODEL_OF_EARLIER_VERSIONS: [&str; 4] = [
    "d_model = 256\nlayers = 8\nheads = 4\nchunk = 64\n",
    "d_model = 256\nlayers = 8\nheads = 4\nhouseholder = 4\nchunk = 64\n",
    "d_model = 256\nlayers = 8\nheads = 4\nhouseholder = 4\nchunk = 64\nd_state = 128\n",
    "d_model = 256\nlayers = 8\nheads = 4\nhouseholder = 4\nchunk = 64\nd_state = 128\nexpand = 2\nconv = 4\n",
];

#[test]
fn the_fingerprint_of_a_file_is_that_of_its_text_in_any_version() {
    for model in MODEL_OF_EARLIER_VERSIONS {
        let text = format!(
            "[grammar]\nvocab = 41\nambiguities = 40\ndepth = 40\nseed = 1\n\n[data]\nlength = 200\nsplits = \"disjoint\"\n\
             train = 200000\nvalidation = 1000\ntest = 1000\ngap = 0.1\ntest_gap = 0.1\n\n[model]\n{model}\n[train]\n\
             seed = 1\nbatch = 64\nsteps = 3125\nlr = 0.001\nwarmup = 476\nschedule = \"cosine\"\nclip = 1.0\n\
             dropout = 0.2\ndropout_mode = \"always\"\neval_every = 78\ncheckpoint_every = 78\n"
        );
        let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
        let file = format!("# selectiv 0.0.1 on a device\n# Repeat: ..\n\n{text}");
        assert_eq!(fingerprint(&file), hash, "{model}");
        assert_ne!(
            fingerprint(&file.replace("lr = 0.001", "lr = 0.002")),
            hash,
            "{model}"
        );
        // What it means is what it meant, but that one version wrote 128 states for every block.
        let same = !model.contains("d_state");
        assert_eq!(
            load(&file, &[]).unwrap() == load("", &[]).unwrap(),
            same,
            "{model}"
        );
    }
    let config = load("", &[]).unwrap();
    assert_eq!(
        fingerprint(&config.to_toml("a header\n\nof three lines")),
        fingerprint(&config.to_toml(""))
    );
}

#[test]
fn the_header_is_a_comment() {
    let config = load("", &[]).unwrap();
    let text = config.to_toml("selectiv 0.1.0\n\nadapter: X");
    assert!(
        text.starts_with("# selectiv 0.1.0\n#\n# adapter: X\n\n[grammar]\nvocab = 41\n"),
        "{text}"
    );
    assert_eq!(load(&text, &[]).unwrap(), config);
}

prop_compose! {
    fn grammars()(vocab in 5_u32..=53, depth in 1_u32..=100, seed in 0..=MAX_WORD)
        (ambiguities in 0..vocab, vocab in Just(vocab), depth in Just(depth), seed in Just(seed)) -> GrammarConfig
    {
        let spec = GrammarSpec { vocab, ambiguities, depth, seed };
        // Few ambiguities at a large depth leave states without a successor, which is refused.
        let depth = if spec.validate().is_ok() { depth } else { 1 };
        GrammarConfig::Generated(GrammarSpec { depth, ..spec })
    }
}

fn grammar_files() -> impl Strategy<Value = GrammarConfig> {
    "[^/\0.\\\\]{1,12}".prop_map(|name| GrammarConfig::File {
        file: std::path::absolute(Path::new("grammars").join(name)).unwrap(),
    })
}

fn gaps() -> impl Strategy<Value = Gap> {
    prop_oneof![
        (0_u32..=1000).prop_map(Gap::Fixed),
        (0.0..=50.0, 50.0..=100.0).prop_map(|(low, high)| Gap::Uniform([low, high])),
        (-10.0..=10.0, 0.0..=10.0).prop_map(|(mu, sigma)| Gap::LogNormal([mu, sigma])),
    ]
}

fn layer_lists() -> impl Strategy<Value = LayerList> {
    let name = prop::sample::select(models::BLOCKS).prop_map(|b| b.name().to_owned());
    prop_oneof![
        (1_usize..=1024).prop_map(LayerList::Count),
        prop::collection::vec(name, 1..9).prop_map(LayerList::Blocks),
    ]
}

prop_compose! {
    fn switches()(
        decay in prop::option::of(prop::sample::select(&[
            DecayKind::None, DecayKind::Fixed, DecayKind::Head, DecayKind::Channel, DecayKind::State,
        ][..])),
        input_gate in prop::option::of(prop::sample::select(&[
            InputGate::None, InputGate::Free, InputGate::Complementary,
        ][..])),
        (data_dependent_decay, readout_gate, channel_mixing) in any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        no_conv in any::<bool>(),
    ) -> Switches {
        Switches {
            decay, data_dependent_decay, input_gate, readout_gate, channel_mixing,
            conv: no_conv.then_some(false),
        }
    }
}

prop_compose! {
    fn configs()(
        grammar in prop_oneof![3 => grammars(), 1 => grammar_files()],
        (length, train, validation, test) in (2_usize..=10_000, 1_u64..1 << 32, 1_u64..1 << 32, 1_u64..1 << 32),
        (gap, test_gaps) in (gaps(), prop::collection::vec(gaps(), 1..4)),
        (noise, nongrammatical, gap_start, gap_prob) in (0.0..=1.0, any::<bool>(), 0.0..=1.0, 0.0..=1.0),
        targets in prop_oneof![Just(Targets::Class), Just(Targets::Next)],
        splits in prop_oneof![Just(Splits::Disjoint), Just(Splits::Reference)],
        (heads, head_size, layers) in (1_usize..=16, 1_usize..=256, layer_lists()),
        (householder, d_state, expand) in (1_usize..=8, prop::option::of(1_usize..=256), 1_usize..=8),
        switches in switches(),
        chunk in prop_oneof![Just(16), Just(32), Just(64)],
        (seed, share, steps, warmup) in (0..=MAX_WORD, 0.0..1.0, 1..=MAX_WORD, 0..=MAX_WORD),
        (lr, clip, dropout) in (1e-30..1e3, 1e-3..1e9, 0.0..1.0),
        schedule in prop_oneof![Just(Anneal::Cosine), Just(Anneal::CosineFloor)],
        dropout_mode in prop_oneof![Just(DropoutMode::Always), Just(DropoutMode::Reference)],
        (eval_every, checkpoint_every) in (1..=MAX_WORD, 1..=MAX_WORD),
    ) -> Config {
        let mut data = DataSpec {
            length, splits, train, validation, test, targets, gap, noise, nongrammatical, gap_prob,
            test_gap: TestGaps::new(test_gaps).unwrap(),
            gap_start: (length as f64 * gap_start) as usize,
            path: None,
        };
        if data.validate().is_err() {
            // Gaps that are too long for the length.
            data.gap_start = length;
        }
        Config {
            run: None,
            notes: Notes::default(),
            grammar,
            data,
            model: StackConfig {
                layers,
                sizes: Sizes {
                    d_model: heads * head_size, heads, householder, chunk, d_state, expand, switches,
                },
            },
            train: TrainConfig {
                seed, batch: ((train as f64 * share) as usize).max(1), steps, lr, warmup, schedule, clip, dropout,
                dropout_mode, eval_every, checkpoint_every,
            },
        }
    }
}

#[test]
fn head_counts_are_the_references() {
    let table = [
        (256, 4),
        (384, 4),
        (512, 4),
        (648, 8),
        (768, 8),
        (960, 8),
        (1024, 8),
        (1152, 16),
        (1280, 16),
    ];
    for (d_model, heads) in table.into_iter().chain([(1296, 16), (64, 4), (4, 4), (4096, 32)]) {
        assert_eq!(models::head_count(d_model), Some(heads), "width {d_model}");
    }
    for d_model in [0, 1, 3, 255, 514, 1028] {
        assert_eq!(models::head_count(d_model), None, "width {d_model}");
    }
    assert_eq!(
        load("[model]\nd_model = 255\nheads = 5\n", &[])
            .unwrap()
            .model
            .sizes
            .heads,
        5
    );
}

proptest! {
    #[test]
    fn what_is_written_loads_to_an_equal_config(config in configs()) {
        let loaded = load(&config.to_toml("a header"), &[]).unwrap();
        prop_assert_eq!(&loaded, &config);
        prop_assert_eq!(loaded.to_toml(""), config.to_toml(""));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\[(grammar|data|model|train)\\]\n)?((vocab|gap|lr|file|\\PC{0,5}) ?= ?\\PC{0,8}\n){0,3}") {
        let _outcome = load(&text, &[("train.lr", &text), (&text, "1")]);
    }
}
