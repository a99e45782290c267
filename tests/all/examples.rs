//! The examples do what they say. Their files are compiled into this test: the same code as `cargo run --example`, without
//! starting cargo from within cargo.

#[allow(dead_code, reason = "main is for `cargo run`")]
#[path = "../../examples/new_block.rs"]
mod new_block;
#[allow(dead_code, reason = "main is for `cargo run`")]
#[path = "../../examples/train.rs"]
mod train;

use selectiv::error::Result;

/// What an example prints.
fn printed(run: impl FnOnce(&mut dyn FnMut(&str)) -> Result<()>) -> Vec<String> {
    let mut lines = Vec::new();
    run(&mut |line| lines.push(line.to_owned())).unwrap();
    lines
}

/// The first number after `what`, a line each that has it.
fn numbers(lines: &[String], what: &str) -> Vec<f64> {
    let after = lines.iter().filter_map(|line| line.split_once(what));
    after
        .map(|(_, rest)| rest.split_whitespace().next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn train_learns_what_no_predictor_of_two_symbols_knows() {
    let lines = printed(|print| train::run("cpu", print));
    let losses = numbers(&lines, "loss ");
    // Of updates 1, 20, 40, .. 120, and of the test.
    assert_eq!(losses.len(), 8, "{lines:#?}");
    // Untrained, it knows nothing about the 49 classes.
    assert!((losses[0] - 49f64.ln()).abs() < 0.5, "{}", losses[0]);
    assert!(
        losses[1..].iter().all(|loss| *loss < 0.8 * losses[0]),
        "{losses:?}"
    );
    let accuracy = |name| {
        let found = numbers(&lines, name);
        assert_eq!(found.len(), 1, "{name}: {lines:#?}");
        found[0]
    };
    let names = [
        "chance",
        "always the same class",
        "unigram predictor",
        "bigram predictor",
        "this model",
        "ideal observer",
    ];
    assert!(names.map(accuracy).is_sorted(), "{lines:#?}");
    assert!(
        accuracy("this model") > accuracy("bigram predictor") + 5.0,
        "{lines:#?}"
    );
}

#[test]
fn train_names_the_devices_there_are() {
    let error = train::run("tpu", &mut |_| {}).unwrap_err().to_string();
    assert!(
        error.starts_with("unknown device `tpu`: allowed: auto, cpu"),
        "{error}"
    );
}

#[test]
fn new_block_trains_and_decodes_in_a_stack_with_others() {
    let lines = printed(new_block::run);
    assert!(
        lines[0].starts_with("moving_average+delta_net+transformer: "),
        "{}",
        lines[0]
    );
    let losses = numbers(&lines, "loss ");
    assert_eq!(losses.len(), 7, "{lines:#?}");
    assert!(losses[6] < 0.5 * losses[0], "{losses:?}");
    // Rounding of f32 over four layers: see `decoding_agrees_with_whole_sequences`.
    let difference = numbers(&lines, "logits differ by ");
    assert!(difference.len() == 1 && difference[0] < 2e-5, "{lines:#?}");
    // Both of its layers show a decay for each of four heads.
    let decays = numbers(&lines, "decay ");
    assert_eq!(decays.len(), 8, "{lines:#?}");
    assert!(
        decays.iter().all(|decay| (0.0..1.0).contains(decay)),
        "{decays:?}"
    );
}
