use super::SsmGate;
use crate::launch::{GpuOp, Lower, Views, grid_1d};
use crate::ops::linear::{Linear, gpu::grad_b};
use crate::ops::reduce::or_scratch;
use crate::ops::rows::{Layout, by_quads};
use crate::shader::Kernel;
use crate::tensor::Dtype;
use bytemuck::{Pod, Zeroable};

/// Mirrors `Params` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    h: u32,
    p: u32,
    accumulate: u32,
}

impl SsmGate {
    fn params(&self, accumulate: bool) -> Params {
        Params {
            rows: (self.rows * self.h) as u32,
            h: self.h as u32,
            p: self.p as u32,
            accumulate: u32::from(accumulate),
        }
    }
}

impl GpuOp for SsmGate {
    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let bindings = [
            ("x", io.read("x")),
            ("dt_raw", io.read("dt_raw")),
            ("dt_bias", io.read("dt_bias")),
            ("a_log", io.read("A_log")),
            ("g", io.write("g")),
            ("v", io.write("v")),
        ];
        let n = self.rows * self.h * self.p;
        let (kernel, threads) = by_quads("ssm_gate/ssm_gate_fwd", n, self.p);
        let grid = grid_1d(threads.div_ceil(256));
        l.run(kernel, &bindings, self.params(false), grid);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, dt_raw, dt_bias, a_log) = (
            io.read("x"),
            io.read("dt_raw"),
            io.read("dt_bias"),
            io.read("A_log"),
        );
        let (grad_g, grad_v) = (io.grad("g"), io.grad("v"));
        let heads = self.rows * self.h;
        let grad_x = or_scratch(l, io.wanted("x"), x.len);
        // The sum over rows is of gradients that nothing has rounded.
        let rounded = io.wanted("dt_raw").filter(|out| out.view.dtype == Dtype::F16);
        let exact = io.wanted("dt_raw").filter(|_| rounded.is_none());
        let grad_dt_raw = or_scratch(l, exact, heads);
        let layout = Layout::quads(self.p);
        let params = self.params(io.wanted("x").is_some_and(|out| out.accumulate));
        let bindings = [
            ("x", x),
            ("dt_raw", dt_raw),
            ("dt_bias", dt_bias),
            ("a_log", a_log),
            ("grad_g", grad_g),
            ("grad_y", grad_v),
            ("grad_x", grad_x),
            ("grad_dt_raw", grad_dt_raw),
        ];
        let kernel = layout.kernel("ssm_gate/ssm_gate_bwd");
        l.run(kernel, &bindings, params, grid_1d(layout.groups(heads)));
        if let Some(out) = rounded {
            let bindings = [("x", grad_dt_raw), ("y", out.view)];
            let grid = grid_1d(heads.div_ceil(256));
            l.run(Kernel::new("cast/cast_fwd"), &bindings, [heads as u32], grid);
        }
        let sums = Linear {
            rows: self.rows,
            inp: 1,
            out: self.h,
            bias: true,
        };
        if let Some(out) = io.wanted("dt_bias") {
            grad_b(l, &sums, grad_dt_raw, out);
        }
        if let Some(out) = io.wanted("A_log") {
            let terms = l.scratch(heads);
            let kernel = Kernel::new("ssm_gate/ssm_rate_bwd");
            let bindings = [
                ("dt_raw", dt_raw),
                ("dt_bias", dt_bias),
                ("a_log", a_log),
                ("grad_g", grad_g),
                ("terms", terms),
            ];
            l.run(kernel, &bindings, params, grid_1d(heads.div_ceil(256)));
            grad_b(l, &sums, terms, out);
        }
    }
}
