//! What holds for every shader of the crate.

use super::adapter::{adapters, is_hardware, memory_bytes};
use super::lower::{check, lower};
use super::selftest::{Trial, trials};
use super::{Gpu, GpuRuntime, Options};
use crate::cases::{Case, Fill, Named, compare};
use crate::cpu::CpuRuntime;
use crate::error::Room;
use crate::graph::Graph;
use crate::launch::{Bound, Caps, Lower, Source, View};
use crate::models::{BLOCKS, ModelConfig, block, update_graph};
use crate::ops::cases::cases;
use crate::ops::delta_rule::DeltaRule;
use crate::ops::linear::Linear;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::{Decay, Op};
use crate::runtime::Runtime;
use crate::shader::{Kernel, reflection, shader_names};
use crate::tensor::{Bank, Dtype, Precision, TensorId};
use crate::testing::skipped;
use crate::variant::{Choice, Variant, Verdict};
use std::collections::BTreeSet;

/// Every file, with its default constants, expands, parses and is valid; and runs within WebGPU's default limits,
/// unless its name ends in `_coop` or `_subgroups`: variants for adapters with more to offer.
#[test]
fn every_shader_validates() {
    let limits = Caps::webgpu_default();
    let mut seen = 0;
    for name in shader_names() {
        let kernel = Kernel::new(name);
        let reflection = reflection(&kernel).unwrap_or_else(|e| panic!("{e}"));
        let storage = reflection.storage_bindings();
        if !name.ends_with("_coop") && !name.ends_with("_subgroups") {
            assert!(storage <= 8, "{name}: {storage} storage bindings");
            let (bytes, threads) = (
                reflection.workgroup_bytes,
                reflection.workgroup_size.iter().product::<u32>(),
            );
            assert!(
                bytes <= limits.workgroup_bytes,
                "{name}: {bytes} B of workgroup memory"
            );
            assert!(threads <= limits.workgroup_threads, "{name}: {threads} threads");
        }
        seen += 1;
    }
    assert!(seen > 0, "no shader is embedded");
}

/// Adapters that offer every variant of an op, and one that offers the last alone.
fn offers() -> [Caps; 2] {
    let plain = Caps {
        f16: true,
        ..Caps::webgpu_default()
    };
    let all = Caps {
        coop: true,
        int64: true,
        subgroups: true,
        subgroup_min: 32,
        subgroup_max: 32,
        workgroup_bytes: 49_152,
        workgroup_threads: 1024,
        storage_bindings: 16,
        ..plain.clone()
    };
    [plain, all]
}

/// A choice of the variant of that name.
fn forced(name: &'static str) -> Choice {
    Choice {
        forced: Some(name),
        ..Choice::default()
    }
}

/// In both precisions every variant, by its name, is valid and fits its adapter; every launch binds, by name, what its kernel declares,
/// in the storage type of the port; and every call writes what its ports say and nothing that it only reads.
#[test]
fn every_variant_binds_what_its_ports_say() {
    let mut narrow = 0;
    for caps in offers() {
        for case in cases() {
            for variant in case.op.variants().iter().filter(|v| caps.offers(v)) {
                for precision in [Precision::F32, Precision::Mixed] {
                    let graph = case.graph(precision).unwrap();
                    let lowered = lower(&graph, &caps, &forced(variant.name));
                    check(&graph, &lowered)
                        .unwrap_or_else(|e| panic!("{} {}: {e}", case.op.name(), case.name));
                    for d in &lowered.dispatches {
                        let found = d.check().unwrap();
                        let threads = found.workgroup_size.iter().product::<u32>();
                        let ran = lowered.variants[d.call];
                        let all = graph.calls()[d.call].op.variants();
                        let needs = &all.iter().find(|v| v.name == ran).unwrap().needs;
                        let fits = found.workgroup_bytes <= needs.workgroup_bytes
                            && threads <= needs.workgroup_threads
                            && d.bindings.len() <= needs.storage_bindings as usize
                            && d.grid.iter().all(|n| *n <= 65_535);
                        assert!(fits, "{}: {found:?} {:?}", d.kernel.key(), d.grid);
                        narrow += d.bindings.iter().filter(|(_, v)| v.dtype == Dtype::F16).count();
                    }
                }
            }
        }
    }
    assert!(narrow > 1000, "only {narrow} bindings are stored in f16");
}

/// So do the launches of a training step of every model at the paper's width, where loads of whole tiles run.
#[test]
fn every_step_binds_what_its_ports_say() {
    let [_, caps] = offers();
    let mut whole = 0;
    for block in BLOCKS {
        for precision in [Precision::F32, Precision::Mixed] {
            let model = ModelConfig::new(*block, 1, 1024, 41, 1601);
            let model = ModelConfig { precision, ..model };
            let graph = model.train_net(8, 128, 64).unwrap().graph;
            let lowered = lower(&graph, &caps, &Choice::default());
            check(&graph, &lowered).unwrap_or_else(|e| panic!("{}: {e}", block.name()));
            let on_units = lowered.dispatches.iter();
            whole += on_units.filter(|d| d.kernel.path.ends_with("_coop")).count();
        }
    }
    assert!(whole > 100, "only {whole} launches run on matrix units");
}

/// Every list ends with what runs everywhere, names differ, and every other variant has cases that prove it, forward and
/// backward, in each storage type.
#[test]
fn every_variant_has_a_self_test() {
    let [_, caps] = offers();
    let proved = trials(&caps);
    let mut variants = 0;
    for case in cases() {
        let (last, better) = case.op.variants().split_last().unwrap();
        assert_eq!(*last, Variant::PLAIN);
        for (i, variant) in better.iter().enumerate() {
            assert!(caps.offers(variant), "{}: {variant:?}", case.op.name());
            assert!(case.op.variants()[i + 1..].iter().all(|v| v.name != variant.name));
            for &storage in variant.storage {
                let proof = variant.proof(case.op.name(), storage);
                assert!(
                    proved.get(&proof).is_some_and(|t| !t.is_empty()),
                    "{proof} has no self-test"
                );
                variants += 1;
            }
        }
    }
    assert!(variants > 0);
}

/// What proves a variant is passed by what is right, so that a failure is the variant's: by the f32 twin and by the plain
/// kernels, of which drivers that compute on the CPU compile those of one op.
#[test]
fn what_is_right_passes_every_self_test() {
    let [_, caps] = offers();
    let passes = |trial: &Trial, got: &Named, oracle: &Named| {
        let (op, name) = (trial.case.op.name(), &trial.case.name);
        for d in compare(&trial.case, got, oracle) {
            assert!(d.passed(), "{op} {name} {:?}: {d:?}", trial.precision);
        }
    };
    let oracle = |trial: &Trial| trial.case.run(&mut CpuRuntime::<f64>::new()).unwrap();
    let all: Vec<Trial> = trials(&caps).into_values().flatten().collect();
    for trial in &all {
        let got = trial.case.run(&mut CpuRuntime::<f32>::new()).unwrap();
        passes(trial, &got, &oracle(trial));
    }
    for adapter in adapters() {
        let mut runtime = GpuRuntime::new(Gpu::open(&adapter, Options::default()).unwrap());
        runtime.force(Some(Variant::PLAIN.name));
        let (narrow, all_ops) = (runtime.gpu().caps().f16, is_hardware(&adapter));
        let runs = |t: &&Trial| {
            (narrow || t.precision == Precision::F32) && (all_ops || t.case.op.name() == "linear")
        };
        let mut ran = 0;
        for trial in all.iter().filter(runs) {
            let got = trial.case.run_in(trial.precision, &mut runtime).unwrap();
            passes(trial, &got, &oracle(trial));
            runtime.reset();
            ran += 1;
        }
        assert!(ran > 0, "no trial runs on {}", runtime.device());
    }
}

/// The first variant is taken that the adapter offers, that passed and that takes the size; a forced one before it.
#[test]
fn variants_are_chosen_in_order() {
    let [weak, caps] = offers();
    let graph = |rows| {
        let op = Linear {
            rows,
            inp: 64,
            out: 64,
            bias: false,
        };
        let mut graph = Graph::new();
        let x = graph.input("x", &[rows, 64], Dtype::F32);
        let w = graph.input("w", &[64, 64], Dtype::F32);
        graph.call(op, &[x, w]).unwrap();
        graph
    };
    let chosen = |rows, caps: &Caps, choice: &Choice| lower(&graph(rows), caps, choice).variants;
    let verdicts = |verdict: Verdict| Choice {
        verdicts: Some([("linear/coop f32".to_owned(), verdict)].into()),
        ..Choice::default()
    };
    let any = Choice::default();
    assert_eq!(chosen(64, &caps, &any), ["coop"]);
    assert_eq!(chosen(63, &caps, &any), ["plain"]);
    assert_eq!(chosen(64, &weak, &any), ["plain"]);
    assert_eq!(chosen(64, &caps, &forced("plain")), ["plain"]);
    assert_eq!(chosen(64, &weak, &forced("coop")), ["plain"]);
    assert_eq!(chosen(64, &caps, &verdicts(Ok(()))), ["coop"]);
    assert_eq!(chosen(64, &caps, &verdicts(Err(String::new()))), ["plain"]);
    let untested = Choice {
        verdicts: Some([].into()),
        ..Choice::default()
    };
    assert_eq!(chosen(64, &caps, &untested), ["plain"]);
}

/// No two ports of an op have one name, and what is saved has no gradient of its own unless it is an output proper.
#[test]
fn ports_have_names_of_their_own() {
    for case in cases() {
        let ports = [case.op.inputs(), case.op.outputs()].concat();
        let names: BTreeSet<&str> = ports.iter().map(|p| p.name).collect();
        assert_eq!(names.len(), ports.len(), "{}: {ports:?}", case.op.name());
    }
}

/// A wrong launch is refused with the names of kernel and binding.
#[test]
fn wrong_bindings_are_named() {
    let tensor = |id, dtype| View {
        source: Source::Tensor(TensorId(id)),
        offset: 0,
        len: 64,
        dtype,
    };
    let (x, y) = (tensor(0, Dtype::F32), tensor(1, Dtype::F32));
    let refused = |bindings: &[Bound]| {
        let caps = Caps::webgpu_default();
        let mut l = Lower::new(&caps, Precision::F32);
        l.run(Kernel::new("add/add_fwd"), bindings, [64u32], [1, 1, 1]);
        l.finish().dispatches[0]
            .check()
            .map(|_| ())
            .map_err(|e| e.message)
    };
    let no = |message: &str| Err(message.to_owned());
    assert_eq!(refused(&[("x", x), ("y", y)]), Ok(()));
    assert_eq!(refused(&[("x", x)]), no("binding `y` gets no view"));
    assert_eq!(refused(&[("x", x), ("z", y)]), no("binding `z` is not declared"));
    assert_eq!(
        refused(&[("x", x), ("x", x), ("y", y)]),
        no("binding `x` is bound twice")
    );
    let index = tensor(0, Dtype::U32);
    assert_eq!(
        refused(&[("x", index), ("y", y)]),
        no("binding `x` has elements of F32, the view U32")
    );
}

/// What a launch writes is known from its text.
#[test]
fn launches_know_what_they_write() {
    let caps = Caps::webgpu_default();
    let mut l = Lower::new(&caps, Precision::F32);
    let (x, y) = (l.scratch(64), l.scratch(64));
    let (slot, compute) = l.memo("amax", y);
    assert!(compute && l.memo("amax", y) == (slot, false));
    l.run(
        Kernel::new("add/add_fwd"),
        &[("x", y), ("y", x)],
        [64u32],
        [1, 1, 1],
    );
    assert_eq!(l.memo("amax", y), (slot, false), "y was only read");
    l.run(
        Kernel::new("add/add_fwd"),
        &[("x", x), ("y", y)],
        [64u32],
        [1, 1, 1],
    );
    assert!(l.memo("amax", y).1, "y was written");
}

/// Scratch memory counts: what is larger than a binding is refused by name before anything is allocated, and half the
/// samples fit.
#[test]
fn scratch_beyond_a_binding_is_refused() {
    let model = ModelConfig::new(block("mesa_net").unwrap(), 1, 64, 17, 97);
    for adapter in adapters() {
        let mut gpu = Gpu::open(&adapter, Options::default()).unwrap();
        gpu.caps.binding_bytes = 1 << 20;
        let runtime = GpuRuntime::new(gpu);
        let fits = |b| runtime.fits(&model.eval_net(b, 128, 64).unwrap().graph);
        let refused = (0..10).map(|i| 1 << i).find(|b| fits(*b).is_err()).unwrap();
        let error = fits(refused).unwrap_err();
        assert!(
            error.what.starts_with("scratch memory of mesa_fwd of layers.0"),
            "{error}"
        );
        assert_eq!(error.room, Room::Binding(1 << 20));
        assert!(error.needed > 1 << 20);
        assert!(fits(refused / 2).unwrap() > 0);
    }
}

/// Recurrences on matrix units give the same bits whether all sequences run at once or a third of them at a time.
#[test]
fn parts_of_a_batch_change_no_bits() {
    let [_, units] = offers();
    for case in batches() {
        let graph = case.graph(Precision::Mixed).unwrap();
        let [once, thrice] = [u64::MAX, 1].map(|scratch_bytes| {
            let caps = Caps {
                scratch_bytes,
                ..units.clone()
            };
            lower(&graph, &caps, &Choice::default()).dispatches.len()
        });
        assert_eq!(3 * once, thrice, "{}", case.name);
    }
    for adapter in adapters() {
        let runtime = |scratch_bytes| {
            let mut gpu = Gpu::open(&adapter, Options::default()).unwrap();
            gpu.caps.scratch_bytes = scratch_bytes;
            GpuRuntime::new(gpu)
        };
        let (mut whole, mut parts) = (runtime(u64::MAX), runtime(1));
        if !whole.gpu().caps.coop {
            skipped("parts_of_a_batch_change_no_bits", "no matrix units");
            continue;
        }
        for case in batches() {
            let [want, got] = [&mut whole, &mut parts].map(|runtime| {
                let values = case.run_in(Precision::Mixed, runtime).unwrap();
                let bits = |x: Vec<f64>| x.into_iter().map(f64::to_bits).collect::<Vec<_>>();
                let each = values.into_iter().map(|(name, x)| (name, bits(x)));
                each.collect::<Vec<_>>()
            });
            for (got, want) in got.iter().zip(&want) {
                assert!(got == want, "{}: other bits of {}", case.name, got.0);
            }
        }
    }
}

/// Recurrences of 12 sequences with as many heads as keep a GPU busy with 4 of them.
fn batches() -> Vec<Case> {
    let (b, t, h, d_k, d_v, scale, chunk) = (12, 70, 64, 64, 64, 0.125, 64);
    let delta = |decay, householder, unit| {
        Op::DeltaRule(DeltaRule {
            b,
            t,
            h,
            d_k,
            d_v,
            scale,
            decay,
            householder,
            chunk,
            unit,
        })
    };
    let additive = |decay, shared_qk| {
        Op::LinearAttention(LinearAttention {
            b,
            t,
            h,
            d_k,
            d_v,
            scale,
            decay,
            shared_qk,
            chunk,
        })
    };
    let ops = [
        delta(Decay::Scalar, 4, true),
        delta(Decay::Channel, 1, false),
        additive(Decay::Scalar, true),
        additive(Decay::Channel, false),
    ];
    let mut fill = Fill::new(31);
    let mut case = |op: Op| {
        let inputs = op.inputs().into_iter().map(|port| {
            let n = port.numel();
            let x = match port.name {
                "g" | "gk" => fill.uniform(n, -0.3, 0.0),
                "beta" => fill.uniform(n, 0.05, 0.95),
                "q" | "k" => fill.unit_rows(n / d_k, d_k),
                _ => fill.normal(n),
            };
            x.into()
        });
        let inputs = inputs.collect();
        Case::new(format!("{} of {b} sequences", op.name()), op, inputs)
    };
    ops.map(&mut case).into()
}

/// A card whose driver tells its memory is never asked for more: the plan says what is needed and what is there.
#[test]
fn more_than_a_card_has_is_refused_from_the_plan() {
    let model = ModelConfig::new(block("gla").unwrap(), 1, 64, 17, 97);
    let net = model.eval_net(1, 128, 64).unwrap();
    for adapter in adapters() {
        let with_memory = |bytes| {
            let mut gpu = Gpu::open(&adapter, Options::default()).unwrap();
            gpu.caps.software = false;
            gpu.caps.memory_bytes = Some(bytes);
            GpuRuntime::new(gpu)
        };
        let mut small = with_memory(64 << 10);
        let error = small.fits(&net.graph).unwrap_err();
        assert_eq!(error.room, Room::Own(64 << 10));
        assert!(error.needed > 64 << 10 && error.foreseen());
        assert_eq!(small.load(&net.graph).unwrap_err().exit_code(), 2);
        with_memory(error.needed).load(&net.graph).unwrap();
        if adapter.get_info().backend == wgpu::Backend::Vulkan {
            assert!(memory_bytes(&adapter).is_some_and(|bytes| bytes > 64 << 20));
        }
    }
}

/// What is copied by several threads arrives whole, every part at its place.
#[test]
fn a_bank_of_many_parts_is_read_back() {
    let values: Vec<f32> = (0..9_000_001u32).map(|i| i as f32).collect();
    let update = update_graph(values.len(), Precision::F32).unwrap();
    for adapter in adapters() {
        let mut runtime = GpuRuntime::new(Gpu::open(&adapter, Options::default()).unwrap());
        runtime.load(&update.graph).unwrap();
        runtime.write_bank(Bank::Param, &values).unwrap();
        assert!(
            runtime.read_bank(Bank::Param).unwrap() == values,
            "{}",
            runtime.device()
        );
    }
}
