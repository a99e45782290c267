//! What the benches promise besides times, which are never asserted.

use super::runner::Built;
use super::*;
use crate::graph::Graph;
use crate::tensor::{Bank, Precision};
use crate::train::{Executor, Recipe, Schedule, Stepper};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Shapes of a few elements: every op runs in milliseconds, also on a software GPU.
const TINY: Scale = Scale(1 << 14);

fn timing(ms: [u64; 3]) -> Timing {
    Timing::of(ms.into_iter().map(Duration::from_millis).collect())
}

fn roof() -> Roof {
    Roof {
        copy: 1e9,
        product: 1e12,
        size: 64,
        kernel: "linear/gemm".to_owned(),
    }
}

#[test]
fn every_shape_is_valid_and_costs_something() {
    for divisor in [1, 16, 256, 4096, TINY.0] {
        for bench in registry(Scale(divisor)) {
            bench
                .op
                .validate()
                .unwrap_or_else(|e| panic!("{}: {e}", bench.name()));
            for timed in [Timed::Forward, Timed::Training] {
                let cost = bench.cost(timed, Precision::F32);
                assert!(
                    cost.bytes > 0.0 && cost.flops >= 0.0,
                    "{}: {cost:?}",
                    bench.name()
                );
                assert!(
                    cost.flops.is_finite() && cost.bytes.is_finite(),
                    "{}: {cost:?}",
                    bench.name()
                );
            }
        }
    }
}

#[test]
fn every_op_has_a_bench() {
    let benches = registry(Scale(1));
    for name in crate::ops::NAMES {
        assert!(
            benches.iter().any(|b| b.op.name() == *name),
            "{name} is in no bench"
        );
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<String> = registry(Scale(1)).iter().map(Bench::name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn suite_has_the_shapes_of_its_name() {
    let suite = suite("recurrence", Scale(1)).unwrap();
    let names: Vec<String> = suite.iter().map(Bench::name).collect();
    for name in [
        "delta_rule B64 T400 H8 128x256",
        "gated_delta_rule B8 T4096 H8 128x256",
        "attention B64 T400 H8 128",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
    assert!(suite.iter().all(Bench::trains));
    assert!(super::suite("gemm", Scale(1)).is_none());
}

#[test]
fn a_smaller_scale_divides_the_work() {
    let full: Vec<Bench> = registry(Scale(1));
    let small = registry(Scale(16));
    for (full, small) in full
        .iter()
        .zip(&small)
        .filter(|(f, _)| f.family == Family::Recurrences)
    {
        let ratio = full.cost(Timed::Forward, Precision::F32).flops
            / small.cost(Timed::Forward, Precision::F32).flops;
        // What heads share (Mamba2's q and k) does not become less with them.
        let expected = if full.kind == "ssd" {
            15.0..=16.0
        } else {
            16.0 - 1e-9..=16.0 + 1e-9
        };
        assert!(expected.contains(&ratio), "{}: {ratio}", small.name());
    }
}

/// Runs on one executor all that is `wanted`: times are there, and nothing is NaN.
fn times(executor: &mut Executor, mut wanted: impl FnMut(&Bench, &Graph) -> bool) {
    for bench in registry(TINY) {
        for timed in [Timed::Forward, Timed::Training] {
            if timed == Timed::Training && !bench.trains() {
                continue;
            }
            if !wanted(&bench, &Built::new(&bench, timed, Precision::F32).unwrap().graph) {
                continue;
            }
            let name = format!("{} {}", bench.name(), timed.name());
            let prepared = Prepared::new(&bench, timed, Precision::F32, executor).unwrap();
            let prepared = prepared.unwrap_or_else(|reason| panic!("{name}: {reason}"));
            let runtime = executor.runtime();
            prepared.time_once(runtime).unwrap();
            let bad = runtime
                .first_not_finite(prepared.program(), prepared.step())
                .unwrap();
            assert_eq!(bad, None, "{name}: not finite");
        }
    }
}

#[test]
fn every_bench_runs_on_the_cpu() {
    times(&mut Executor::cpu(), |_, _| true);
}

/// Drivers that compute on the CPU take long to compile: there, the first of each family and those with lines of kernels
/// that no case of an op has.
#[cfg(feature = "gpu")]
#[test]
fn every_bench_runs_on_each_gpu() {
    use crate::gpu::{Gpu, GpuRuntime, Options, adapter};
    use crate::testing::gpu::Texts;
    let adapters = adapter::adapters();
    if adapters.is_empty() {
        crate::testing::skipped("every_bench_runs_on_each_gpu", "no GPU adapter");
    }
    for a in &adapters {
        let gpu = Gpu::open(a, Options::default()).unwrap();
        let (caps, all) = (gpu.caps().clone(), adapter::is_hardware(a));
        let mut seen = Texts::default();
        for case in crate::ops::cases::cases().iter().filter(|case| !case.long) {
            seen.add(&case.graph(Precision::F32).unwrap(), &caps);
        }
        let mut families = Vec::new();
        times(
            &mut Executor::Gpu(Box::new(GpuRuntime::new(gpu))),
            |bench, graph| {
                let is_first = !families.contains(&bench.family);
                families.push(bench.family);
                seen.add(graph, &caps) || is_first || all
            },
        );
    }
}

#[test]
fn times_are_positive_and_in_order() {
    let mut executor = Executor::cpu();
    let bench = registry(Scale(256))
        .into_iter()
        .find(|b| b.kind == "delta_rule")
        .unwrap();
    let prepared = Prepared::new(&bench, Timed::Training, Precision::F32, &mut executor)
        .unwrap()
        .unwrap();
    let timing = prepared.time(executor.runtime()).unwrap();
    assert!(timing.runs >= 3);
    assert!(Duration::ZERO < timing.min && timing.min <= timing.median && timing.median <= timing.max);
    let entry = Entry::of(&bench, Timed::Training, timing, prepared.cost, &roof());
    for value in [
        entry.median_ms,
        entry.gb_s,
        entry.gflop_s,
        entry.copy_share,
        entry.product_share,
    ] {
        assert!(value.is_finite() && value > 0.0, "{entry:?}");
    }
    assert_eq!(entry.roof_share, entry.copy_share.max(entry.product_share));
}

#[test]
fn a_step_is_timed_and_leaves_nothing() {
    let shape = StepShape {
        d_model: 16,
        layers: 1,
        batch: 2,
        length: 9,
        d_state: Some(16),
        chunk: Some(32),
    };
    for kind in crate::models::BLOCKS {
        let (mut executor, entry, calls) = time_step(
            Executor::cpu(),
            *kind,
            shape,
            Precision::F32,
            &roof(),
            &mut |_| {},
            &AtomicBool::new(false),
        )
        .unwrap();
        assert_eq!(entry.name, format!("{} d16 L1 B2 T9 N16 C32", kind.name()));
        let step = entry.step.unwrap();
        assert_eq!(step.heads, 4);
        assert!(entry.median_ms > 0.0 && step.tokens_s > 0.0 && step.first_step_s > 0.0);
        assert!(step.peak_bytes > 16 * step.params, "{step:?}");
        assert_eq!(step.launches, calls.len());
        let all: f64 = step.ops.values().sum();
        assert!((all - 1.0).abs() < 1e-9, "{all}");
        assert!(step.ops.contains_key("adam_fwd") && step.ops.contains_key("linear_bwd"));
        assert!(executor.runtime().read_bank(Bank::Param).unwrap().is_empty());
    }
}

#[test]
fn a_floor_is_the_longer_of_bytes_and_products_call_by_call() {
    let shape = StepShape {
        d_model: 16,
        layers: 1,
        batch: 4,
        length: 9,
        d_state: None,
        chunk: None,
    };
    let model = shape.model(*crate::models::BLOCKS.first().unwrap());
    let recipe = Recipe {
        schedule: Schedule {
            lr: 1e-3,
            warmup: 0.0,
            steps: 1,
            floor: 0.0,
        },
        clip: 1.0,
        dropout_until: 0,
        seed: 1,
        batch: shape.batch,
    };
    let extents = [shape.length, shape.length];
    let stepper = |micro_batch| {
        let executor = Executor::cpu();
        Stepper::new(executor, &model, recipe, extents, Some(micro_batch), &mut |_| {}).unwrap()
    };
    let whole = stepper(4);
    let with = |copy, product| {
        Floor::of(
            &whole,
            4,
            &Roof {
                copy,
                product,
                ..roof()
            },
        )
        .unwrap()
    };
    let [bytes, products, both] = [with(1e6, 1e30), with(1e30, 1e6), with(1e6, 1e6)];
    let seconds = |floor: &Floor| floor.time.as_secs_f64();
    assert!((seconds(&bytes) / (1e-6 * bytes.cost.bytes) - 1.0).abs() < 1e-6);
    assert!((seconds(&products) / (1e-6 * products.cost.flops) - 1.0).abs() < 1e-6);
    assert!(seconds(&both) > seconds(&bytes).max(seconds(&products)));
    assert!(seconds(&both) < seconds(&bytes) + seconds(&products));
    // Parts of a batch read the weights again, and do the same sums.
    let parts = Floor::of(&stepper(2), 4, &roof()).unwrap();
    assert!(parts.cost.bytes > bytes.cost.bytes);
    assert!((parts.cost.flops / bytes.cost.flops - 1.0).abs() < 0.1);
}

#[test]
fn median_is_in_the_middle() {
    let t = timing([30, 10, 20]);
    assert_eq!([t.min, t.median, t.max].map(|t| t.as_millis()), [10, 20, 30]);
}

fn report(entry: Entry) -> Report {
    Report {
        version: String::new(),
        commit: String::new(),
        device: String::new(),
        driver: None,
        precision: "f32".to_owned(),
        copy_gb_s: 1.0,
        product_gflop_s: 1000.0,
        product_size: 64,
        product_kernel: String::new(),
        scale: TINY.0,
        entries: vec![entry],
        skipped: Vec::new(),
    }
}

#[test]
fn only_differences_beyond_the_spread_count() {
    let bench = registry(TINY).remove(0);
    let entry = |ms| {
        Entry::of(
            &bench,
            Timed::Forward,
            timing(ms),
            bench.cost(Timed::Forward, Precision::F32),
            &roof(),
        )
    };
    let compare = |now, before| Comparison::new(&entry(now), &report(entry(before)), false).unwrap();
    let faster = compare([10, 11, 12], [20, 22, 24]);
    assert_eq!((faster.verdict, faster.speedup), (Verdict::Faster, 2.0));
    assert_eq!(compare([20, 22, 24], [10, 11, 12]).verdict, Verdict::Slower);
    assert_eq!(compare([10, 11, 12], [9, 10, 30]).verdict, Verdict::Same);
    let mut other = entry([1, 1, 1]);
    other.pass = "training".to_owned();
    assert_eq!(Comparison::new(&other, &report(entry([1, 1, 1])), false), None);
}

#[test]
fn a_device_at_half_its_speed_makes_no_kernel_slower() {
    let bench = registry(TINY).remove(0);
    let cost = bench.cost(Timed::Forward, Precision::F32);
    let run = |ms, speed: f64| {
        let roof = Roof {
            copy: 1e9 * speed,
            product: 1e12 * speed,
            ..roof()
        };
        let entry = Entry::of(&bench, Timed::Forward, timing(ms), cost, &roof);
        Report {
            copy_gb_s: roof.copy * 1e-9,
            product_gflop_s: roof.product * 1e-9,
            ..report(entry)
        }
    };
    let compare = |now: &Report, before: &Report| {
        let moved = now.roof_moved(before);
        let compared = Comparison::new(&now.entries[0], before, moved.is_some()).unwrap();
        (moved, compared)
    };
    let before = run([10, 11, 12], 1.0);
    let (moved, same) = compare(&run([20, 22, 24], 0.5), &before);
    let said = moved.unwrap();
    assert!(
        said.contains("copy 1.0 -> 0.5 GB/s") && said.contains("over the roof"),
        "{said}"
    );
    assert_eq!((same.verdict, same.speedup), (Verdict::Same, 0.5));
    assert!(
        (same.now_over_roof / same.before_over_roof - 1.0).abs() < 1e-9,
        "{same:?}"
    );
    assert_eq!(
        compare(&run([40, 44, 48], 0.5), &before).1.verdict,
        Verdict::Slower
    );
    assert_eq!(
        compare(&run([10, 11, 12], 0.5), &before).1.verdict,
        Verdict::Faster
    );
    assert_eq!(compare(&run([20, 22, 24], 1.0), &before).0, None);
}
