use super::Linear;
use super::cases::{cases, shapes};
use crate::cases::Case;
use crate::cpu::CpuRuntime;
use crate::port::OpDef;
use crate::testing::{self, op_tests};

op_tests! {
    f32_twin_matches_f64: cases(),
    gpu kernels_match_oracle: cases(),
    gradients_accumulate: cases()[4..12],
}

/// Over the small shapes: the large ones differ only for the kernels. Magnitudes do not change the maths, but the
/// difference of two losses that are far larger than their changes has no digits left.
#[test]
fn grad_matches_finite_difference() {
    let numel = |c: &Case| -> usize {
        let ports = c.op.inputs().into_iter().chain(c.op.outputs());
        ports.map(|p| p.shape.iter().product::<usize>()).sum()
    };
    let mut cases = shapes();
    cases.retain(|c| numel(c) < 100_000);
    testing::grad_matches_finite_difference(&cases);
}

#[test]
fn fwd_is_x_times_w_transposed_plus_b() {
    let op = Linear {
        rows: 2,
        inp: 2,
        out: 3,
        bias: true,
    };
    let (x, w, b) = (
        [1.0, 2.0, 3.0, 4.0],
        [1.0, 0.0, 0.0, 1.0, 5.0, -1.0],
        [0.5, 0.0, 10.0],
    );
    let inputs = vec![x.to_vec().into(), w.to_vec().into(), b.to_vec().into()];
    let got = Case::new("by hand", op, inputs)
        .run(&mut CpuRuntime::<f64>::new())
        .unwrap();
    assert_eq!(got[0].1, [1.5, 2.0, 13.0, 3.5, 4.0, 21.0]);
}

#[test]
fn refuses_sizes_that_leave_32_bits() {
    let op = |rows, inp, out| Linear {
        rows,
        inp,
        out,
        bias: false,
    };
    assert!(op(1 << 20, 4095, 4095).validate().is_ok());
    for bad in [
        op(0, 1, 1),
        op(1, 0, 1),
        op(1 << 20, 4096, 1),
        op(1 << 20, 1, 4096),
        op(1, 1 << 16, 1 << 16),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.contains("less than 2^32 elements"), "{message}");
    }
}

#[cfg(feature = "gpu")]
mod gpu {
    use super::*;
    use crate::gpu::lower::lower;
    use crate::graph::Graph;
    use crate::launch::Caps;
    use crate::launch::Dispatch;
    use crate::shader::{Kernel, Value, reflection};
    use crate::tensor::Dtype;
    use crate::variant::Choice;

    #[test]
    fn what_is_not_finite_stays_so() {
        let (rows, inp, out) = (64, 64, 64);
        for bad in [f32::INFINITY, f32::NAN] {
            let mut x = vec![1.0; rows * inp];
            x[5 * inp + 7] = bad;
            let op = Linear {
                rows,
                inp,
                out,
                bias: false,
            };
            let case = Case::new("not finite", op, vec![x.into(), vec![1.0; inp * out].into()]);
            testing::gpu::each_device(|device, runtime| {
                let y = &case.run(runtime).unwrap()[0].1;
                let row = &y[5 * out..6 * out];
                assert!(row.iter().all(|v| !v.is_finite()), "{bad} on {device}: {row:?}");
            });
        }
    }

    /// Workgroup memory of a kernel; panics if it is not valid.
    fn workgroup_bytes(kernel: &Kernel) -> u32 {
        reflection(kernel)
            .unwrap_or_else(|e| panic!("{e}"))
            .workgroup_bytes
    }

    #[test]
    fn every_variant_validates_within_its_workgroup_memory() {
        for (ta, tb) in [(false, true), (false, false), (true, false)] {
            for flags in 0..16 {
                let with = |kernel: Kernel| {
                    let names = ["VA", "VB", "VC", "BIAS"];
                    names
                        .iter()
                        .enumerate()
                        .fold(kernel.set("TA", ta).set("TB", tb), |k, (i, name)| {
                            k.set(name, flags >> i & 1 == 1)
                        })
                };
                for tile in [32usize, 64, 128] {
                    let kernel = with(Kernel::new("linear/gemm").set("TILE", tile));
                    assert!(workgroup_bytes(&kernel) <= 16_384, "{}", kernel.key());
                }
                for guards in 0..8 {
                    let unguarded = |kernel: Kernel| {
                        let kernel = kernel.set("WITHIN_M", guards & 1 == 0);
                        let kernel = kernel
                            .set("WITHIN_N", guards & 2 == 0)
                            .set("WITHIN_K", guards & 4 == 0);
                        kernel.set("OVERLAP", guards & 4 == 0)
                    };
                    let kernel = unguarded(with(Kernel::new("linear/gemm_coop")));
                    assert!(workgroup_bytes(&kernel) <= 49_152, "{}", kernel.key());
                    for cols in [64usize, 128] {
                        let kernel = unguarded(with(Kernel::new("linear/gemm_half_coop").set("TN", cols)));
                        let kernel = ["t_a", "t_b"]
                            .into_iter()
                            .fold(kernel, |k, name| k.set(name, Value::Type("f16")));
                        assert!(workgroup_bytes(&kernel) <= 24_576, "{}", kernel.key());
                    }
                }
            }
        }
        for vec in [false, true] {
            workgroup_bytes(&Kernel::new("linear/amax").set("VEC", vec));
        }
    }

    /// Launches of a forward and a backward call.
    fn launches(rows: usize, inp: usize, out: usize, caps: &Caps) -> Vec<Dispatch> {
        let op = Linear {
            rows,
            inp,
            out,
            bias: true,
        };
        let mut graph = Graph::new();
        let inputs = [("x", vec![rows, inp]), ("w", vec![out, inp]), ("b", vec![out])]
            .map(|(name, shape)| graph.input(name, &shape, Dtype::F32));
        let y = graph.call(op, &inputs).unwrap()[0];
        let grad_y = graph.input("dy", &[rows, out], Dtype::F32);
        graph.backward(&[(y, grad_y)], &inputs).unwrap();
        lower(&graph, caps, &Choice::default()).dispatches
    }

    fn count(launches: &[Dispatch], path: &str) -> usize {
        launches.iter().filter(|d| d.kernel.path == path).count()
    }

    fn with_matrix_units() -> Caps {
        Caps {
            coop: true,
            workgroup_bytes: 49_152,
            ..Caps::webgpu_default()
        }
    }

    #[test]
    fn matrix_units_scan_each_tensor_once() {
        let all = launches(25_600, 256, 1601, &with_matrix_units());
        assert_eq!(count(&all, "linear/gemm_coop"), 3);
        assert_eq!(count(&all, "linear/amax"), 3);
    }

    #[test]
    fn only_short_edges_and_rows_with_padding_are_guarded() {
        let guarded = |rows, inp, out| -> Vec<String> {
            let all = launches(rows, inp, out, &with_matrix_units());
            let gemms = all.iter().filter(|d| d.kernel.path == "linear/gemm_coop");
            let off = |d: &&Dispatch, name: &str| d.kernel.consts[name] == Value::Bool(false);
            let names = ["WITHIN_M", "WITHIN_N", "WITHIN_K"];
            gemms
                .map(|d| {
                    names
                        .map(|name| if off(&d, name) { 'g' } else { '-' })
                        .iter()
                        .collect()
                })
                .collect()
        };
        assert_eq!(guarded(25_600, 1024, 4368), ["---", "---", "---"]);
        assert_eq!(guarded(301, 333, 130), ["---", "---", "---"]);
        assert_eq!(guarded(64, 200, 333), ["g--", "g--", "---"]);
    }

    #[test]
    fn parts_of_a_sum_over_rows_fill_waves() {
        let parts = |rows, inp, out| {
            let all = launches(rows, inp, out, &with_matrix_units());
            let sum = |d: &&Dispatch| d.kernel.consts.get("TA") == Some(&Value::Bool(true));
            all.iter().find(sum).unwrap().grid[2]
        };
        // Tiles on 132 places: 128, 64, and 104, of which two and three parts would leave a wave nearly empty.
        assert_eq!(parts(25_600, 1024, 2048), 1);
        assert_eq!(parts(25_600, 1024, 1024), 2);
        assert_eq!(parts(12_800, 1024, 1604), 5);
    }

    #[test]
    fn narrow_products_and_weak_adapters_use_the_plain_kernel() {
        let no_memory = Caps {
            workgroup_bytes: 32_768,
            ..with_matrix_units()
        };
        let narrow = |out| launches(25_600, 256, out, &with_matrix_units());
        assert_eq!(count(&narrow(4), "linear/gemm_thin"), 1);
        assert_eq!(count(&narrow(4), "linear/gemm"), 2);
        for all in [
            narrow(5),
            launches(25_600, 256, 256, &Caps::webgpu_default()),
            launches(25_600, 256, 256, &no_memory),
        ] {
            assert_eq!(count(&all, "linear/gemm"), 3);
            assert_eq!(count(&all, "linear/amax"), 0);
        }
    }

    #[test]
    fn tiles_follow_the_shape() {
        let tiles = |rows, inp, out| -> Vec<String> {
            let all = launches(rows, inp, out, &Caps::webgpu_default());
            let gemms = all.iter().filter(|d| d.kernel.path == "linear/gemm");
            gemms.map(|d| d.kernel.consts["TILE"].to_string()).collect()
        };
        assert_eq!(tiles(25_600, 256, 256), ["128u", "128u", "128u"]);
        assert_eq!(tiles(25_600, 256, 5), ["32u", "128u", "32u"]);
        assert_eq!(tiles(1000, 250, 250), ["64u", "64u", "32u"]);
    }
}
