use super::{Decay, HALF, HalfChunks};
use crate::gpu::lower::{check, lower};
use crate::graph::Graph;
use crate::launch::{Caps, Lowered, SCRATCH_BYTES, Source};
use crate::ops::Op;
use crate::ops::chunks::Sizes;
use crate::ops::delta_rule::DeltaRule;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::mesa::Mesa;
use crate::tensor::Precision;
use crate::variant::Choice;

/// Forward and backward call of an op on an adapter with matrix units.
fn lowered(op: impl Into<Op>, scratch_bytes: u64) -> Lowered {
    let (op, precision) = (op.into(), Precision::Mixed);
    let mut graph = Graph::with_precision(precision);
    let mut inputs = Vec::new();
    for port in op.inputs() {
        inputs.push(graph.input(port.name, &port.shape, port.storage.dtype(precision)));
    }
    let port = &op.outputs()[0];
    let grad_o = graph.input("grad_o", &port.shape, port.storage.dtype(precision));
    let o = graph.call(op, &inputs).unwrap()[0];
    graph.backward(&[(o, grad_o)], &inputs).unwrap();
    let caps = Caps {
        coop: true,
        f16: true,
        subgroups: true,
        subgroup_min: 32,
        subgroup_max: 32,
        workgroup_bytes: 49_152,
        workgroup_threads: 1024,
        storage_bindings: 16,
        scratch_bytes,
        ..Caps::webgpu_default()
    };
    let lowered = lower(&graph, &caps, &Choice::default());
    check(&graph, &lowered).unwrap();
    assert_eq!(lowered.variants, [HALF.name; 2]);
    lowered
}

#[test]
fn small_heads_of_a_delta_rule_are_left_to_pairs() {
    let half = |delta, d_k, d_v| HalfChunks {
        sizes: Sizes {
            b: 1,
            t: 100,
            tokens: 64,
            h: 1,
            d_k,
            d_v,
            chunk: 64,
        },
        scale: 1.0,
        decay: Decay::Scalar,
        delta,
        householder: 1,
        shared: false,
        unit: None,
    };
    // At least half of the columns that a delta rule pads to, and of those of a tile.
    let fits = |delta, d_k, d_v| half(delta, d_k, d_v).fits();
    assert_eq!([31, 32, 64].map(|d_v| fits(true, 16, d_v)), [false, true, true]);
    assert_eq!([15, 16, 64].map(|d_v| fits(false, 128, d_v)), [false, true, true]);
    // Tiles of 32 columns, of 64 for wide heads of a delta rule.
    let columns = |delta, d_k, d_v| half(delta, d_k, d_v).padded_states() / (2 * d_k);
    assert_eq!([32, 72].map(|d_v| columns(true, 64, d_v)), [32, 96]);
    assert_eq!([32, 72].map(|d_v| columns(true, 128, d_v)), [64, 128]);
    assert_eq!([16, 72].map(|d_v| columns(false, 128, d_v)), [32, 96]);
}

/// Launches and bytes of scratch memory of both calls.
fn cost(op: impl Into<Op>) -> [(usize, u64); 2] {
    let lowered = lowered(op, SCRATCH_BYTES);
    [0, 1].map(|call| {
        let launches = lowered.dispatches.iter().filter(|d| d.call == call).count();
        let scratch = lowered.scratch.iter().filter(|s| s.calls == (call..=call));
        (launches, scratch.map(|s| 4 * s.words as u64).sum())
    })
}

/// A gated delta rule with the paper's heads.
fn paper(b: usize, t: usize, householder: usize) -> DeltaRule {
    DeltaRule {
        b,
        t,
        h: 8,
        d_k: 128,
        d_v: 256,
        scale: 1.0,
        decay: Decay::Scalar,
        householder,
        chunk: 64,
        unit: true,
    }
}

#[test]
fn scratch_of_a_large_batch_is_bounded() {
    let half = SCRATCH_BYTES / 2;
    let [(forward, _), (backward, scratch)] = cost(paper(64, 400, 1));
    assert_eq!((forward, backward), (2, 4));
    assert!((half..SCRATCH_BYTES).contains(&scratch), "{scratch}");
    // Gated DeltaProduct's backward pass by halves.
    let [(forward, _), (backward, scratch)] = cost(paper(64, 400, 4));
    assert_eq!((forward, backward), (2, 2 * 4));
    assert!((half..SCRATCH_BYTES).contains(&scratch), "{scratch}");
    for b in [200, 256, 1000] {
        for (_, scratch) in cost(paper(b, 400, 4)) {
            assert!((half..SCRATCH_BYTES).contains(&scratch), "B {b}: {scratch}");
        }
    }
}

#[test]
fn parts_keep_a_large_gpu_busy() {
    let [_, (launches, scratch)] = cost(paper(8, 8192, 4));
    assert!(launches == 4 && scratch > SCRATCH_BYTES);
    let [_, (launches, scratch)] = cost(paper(16, 8192, 4));
    assert!(launches == 2 * 4 && scratch > SCRATCH_BYTES);
}

/// Ops of 40 sequences whose parts can begin at every eighth, 32 workgroups each: those of a part are 16, 16 and 8.
fn ops() -> Vec<Op> {
    let (b, t, h, d_v, chunk) = (40, 33, 8, 100, 64);
    let delta = |decay, householder, d_k, unit| {
        Op::from(DeltaRule {
            b,
            t,
            h,
            d_k,
            d_v,
            scale: 1.0,
            decay,
            householder,
            chunk,
            unit,
        })
    };
    let additive = |decay, d_k, shared_qk| {
        Op::from(LinearAttention {
            b,
            t,
            h,
            d_k,
            d_v,
            scale: 1.0,
            decay,
            shared_qk,
            chunk,
        })
    };
    vec![
        delta(Decay::None, 1, 128, false),
        delta(Decay::Constant, 2, 81, false),
        delta(Decay::Scalar, 3, 64, true),
        delta(Decay::Channel, 1, 81, false),
        additive(Decay::None, 81, false),
        additive(Decay::Constant, 64, false),
        additive(Decay::Scalar, 128, true),
        additive(Decay::Channel, 100, false),
    ]
}

/// Each part has the launches of the whole on its own sequences of each tensor, and all of them the same scratch memory.
#[test]
fn parts_cover_all_sequences() {
    for op in ops() {
        let (whole, parts) = (lowered(op.clone(), u64::MAX), lowered(op.clone(), 1));
        let most = |l: &Lowered| l.scratch.iter().map(|s| s.words).sum::<usize>();
        assert_eq!(5 * most(&parts), 2 * most(&whole), "{op:?}");
        for call in [0, 1] {
            let of_call = |l: &Lowered| -> Vec<_> {
                let all = l.dispatches.iter().filter(|d| d.call == call);
                all.cloned().collect()
            };
            let (whole, parts) = (of_call(&whole), of_call(&parts));
            assert_eq!(parts.len(), 3 * whole.len());
            for (i, all) in whole.iter().enumerate() {
                let name = all.kernel.key();
                let of_parts = [0, 1, 2].map(|part| &parts[part * whole.len() + i]);
                assert!(of_parts.iter().all(|d| d.kernel.key() == name));
                // A thread an element and not a workgroup a sequence.
                if !["chunks/head_sums_bwd", "slice/wide_rows"].contains(&all.kernel.path) {
                    assert!(of_parts.iter().all(|d| d.params == all.params));
                    let [x, y, _] = all.grid;
                    assert_eq!(of_parts.map(|d| d.grid), [[x, y, 16], [x, y, 16], [x, y, 8]]);
                }
                for (j, (binding, view)) in all.bindings.iter().enumerate() {
                    let views = of_parts.map(|d| d.bindings[j].1);
                    let each = view.len / 40;
                    assert!(of_parts.iter().all(|d| d.bindings[j].0 == *binding));
                    assert!(views.iter().all(|v| v.dtype == view.dtype));
                    assert_eq!(views.map(|v| v.len), [16, 16, 8].map(|n| n * each), "{name}");
                    if let Source::Tensor(_) = view.source {
                        let offsets = [0, 16, 32].map(|n| view.offset + n * each);
                        assert!(views.iter().all(|v| v.source == view.source));
                        assert_eq!(views.map(|v| v.offset), offsets, "{name}");
                        let bytes = offsets.map(|at| at * view.dtype.bytes());
                        assert!(bytes.iter().all(|at| at.is_multiple_of(256)), "{name}");
                    } else {
                        assert!(views.iter().all(|v| (v.source, v.offset) == (views[0].source, 0)));
                    }
                }
            }
        }
    }
}

/// The two memories of `MesaNet`, one after the other in a call, each by parts.
#[test]
fn each_of_two_memories_runs_by_parts() {
    let op = Mesa {
        b: 40,
        t: 33,
        h: 8,
        d: 128,
        chunk: 64,
    };
    let count = |scratch_bytes| {
        let lowered = lowered(op.clone(), scratch_bytes);
        let states = lowered.dispatches.iter();
        let states = states.filter(|d| d.kernel.path == "chunks/state_bwd_half_coop");
        states.map(|d| d.grid[2]).collect::<Vec<_>>()
    };
    assert_eq!(count(u64::MAX), [40, 40]);
    assert_eq!(count(1), [16, 16, 8, 16, 16, 8]);
}
