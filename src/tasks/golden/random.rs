//! The golden random streams.

use super::malformed;
use crate::error::UserError;
use crate::tasks::streams::{Mt19937, Pcg64, SeedSequence};
use serde_json::{Value, json};

/// Recomputes every stream that `rng.json` lists: for each generator, seed and field its name, as
/// `numpy/42/integers_4`, and whether all its values are equal.
///
/// # Errors
/// [`UserError::Malformed`] or [`UserError::Unknown`] for a file of another form.
pub fn check_rng(json: &Value) -> Result<Vec<(String, bool)>, UserError> {
    let mut results = Vec::new();
    for (generator, seeds) in object(json, "the file")? {
        for (seed, fields) in object(seeds, generator)? {
            let number: u64 = seed
                .parse()
                .map_err(|_| malformed(format!("{generator}: `{seed}` is not a seed")))?;
            for (field, expected) in object(fields, seed)? {
                let count = expected.as_array().map_or(1, Vec::len);
                let name = format!("{generator}/{seed}/{field}");
                let found = match generator.as_str() {
                    "numpy" => numpy(number, field, count),
                    "python" => python(number, field, count),
                    "legacy" => legacy(number as u32, field, count),
                    "torch" => torch(number as u32, field, count),
                    _ => None,
                };
                let found = found.ok_or_else(|| UserError::Unknown {
                    what: "random stream",
                    name: name.clone(),
                    allowed: "the fields of the project's own rng.json".to_owned(),
                })?;
                results.push((name, found == *expected));
            }
        }
    }
    Ok(results)
}

fn object<'a>(json: &'a Value, what: &str) -> Result<&'a serde_json::Map<String, Value>, UserError> {
    json.as_object()
        .ok_or_else(|| malformed(format!("{what} is not an object")))
}

/// The numbers after `prefix` in a field's name, which is `prefix` and then numbers joined by `_`.
fn arguments<const N: usize>(field: &str, prefix: &str) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> = field
        .strip_prefix(prefix)?
        .split('_')
        .map(|number| number.parse().ok())
        .collect();
    numbers?.try_into().ok()
}

fn repeat<T: serde::Serialize>(count: usize, draw: impl FnMut() -> T) -> Value {
    std::iter::repeat_with(draw)
        .take(count)
        .map(|value| json!(value))
        .collect()
}

fn hexadecimal(word: u64) -> String {
    format!("{word:016x}")
}

fn numpy(seed: u64, field: &str, count: usize) -> Option<Value> {
    let seed = u128::from(seed);
    let mut rng = Pcg64::new(seed);
    match field {
        "seed_sequence_pool" => return Some(json!(SeedSequence::new(seed).pool())),
        "generate_state_u64_4" => {
            return Some(json!(SeedSequence::new(seed).generate::<4>().map(hexadecimal)));
        }
        "pcg_state" => return Some(json!(format!("{:032x}", rng.state()))),
        "pcg_inc" => return Some(json!(format!("{:032x}", rng.increment()))),
        "raw" => return Some(repeat(count, || hexadecimal(rng.next_u64()))),
        "random" => return Some(repeat(count, || rng.random())),
        "mixed" => {
            let round = |_| {
                let values = [json!(rng.below(7)), json!(rng.random())];
                values
                    .into_iter()
                    .chain([json!(rng.permutation(5)[0]), json!(rng.permutation(1)[0])])
            };
            let rounds: Vec<_> = (0..count.div_ceil(4)).map(round).collect();
            return Some(rounds.into_iter().flatten().take(count).collect());
        }
        _ => {}
    }
    if let Some([draws]) = arguments(field, "raw_after_advance_") {
        rng.jump(draws as u128);
        return Some(repeat(count, || hexadecimal(rng.next_u64())));
    }
    if let Some([n]) = arguments(field, "integers_0_").or_else(|| arguments(field, "integers_")) {
        return Some(repeat(count, || rng.below(n as u32)));
    }
    if let Some((name, _)) = field.split_once("_first_x") {
        let [n] = arguments(name, "permutation_")?;
        return Some(repeat(count, || rng.permutation(n as usize)[0]));
    }
    if let Some([n]) = arguments(field, "permutation_") {
        return Some(json!(rng.permutation(n as usize)));
    }
    let [n, k] = arguments(field, "choice_")?;
    (k <= n).then(|| json!(rng.choice(n as u32, k as u32)))
}

fn python(seed: u64, field: &str, count: usize) -> Option<Value> {
    let mut rng = Mt19937::python(u128::from(seed));
    if field == "getrandbits32" {
        return Some(repeat(count, || rng.next_u32()));
    }
    let (name, times) = field.strip_suffix("_twice").map_or((field, 1), |name| (name, 2));
    let [n, k] = arguments(name, "sample_")?;
    let possible = k <= n && n <= 85.0;
    possible.then(|| {
        (0..times)
            .flat_map(|_| rng.python_sample(n as u32, k as u32))
            .map(Value::from)
            .collect()
    })
}

fn legacy(seed: u32, field: &str, count: usize) -> Option<Value> {
    let mut rng = Mt19937::from_number(seed);
    if field == "gap_steps" {
        return Some(repeat(count, || {
            (10.0 * rng.legacy_uniform(0.1, 1.0)).round_ties_even() as u32
        }));
    }
    if let Some([lo, hi]) = arguments(field, "uniform_") {
        return Some(repeat(count, || rng.legacy_uniform(lo, hi)));
    }
    if let Some([n]) = arguments(field, "choice_of_").filter(|&[n]| n >= 1.0) {
        return Some(repeat(count, || rng.legacy_choice(n as u32)));
    }
    let [n] = arguments(field, "uniform_then_choice_of_").filter(|&[n]| n >= 1.0)?;
    let draws = (0..count).map(|i| match i % 2 {
        0 => json!(rng.legacy_uniform(0.1, 0.1)),
        _ => json!(rng.legacy_choice(n as u32)),
    });
    Some(draws.collect())
}

fn torch(seed: u32, field: &str, count: usize) -> Option<Value> {
    let mut rng = Mt19937::from_number(seed);
    (field == "rand_f32").then(|| repeat(count, || f64::from(rng.torch_f32())))
}
