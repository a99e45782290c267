use super::Mesa;
use crate::launch::{GpuOp, grid_1d};
use crate::launch::{GpuOut, Lower, View};
use crate::ops::add::Add;
use crate::ops::chunks::Sizes;
use crate::ops::chunks::gpu::{FIELDS_FWD, Params};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::ops::rows::Layout;
use crate::shader::Kernel;
use bytemuck::{Pod, Zeroable};

/// Most partial sums of the gradient of lambda.
const MAX_PARTS: usize = 256;

/// Mirrors `Params` of `keys_bwd.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowParams {
    rows: u32,
    d: u32,
}

/// Mirrors `Params` of `lambda_bwd.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SumParams {
    rows: u32,
    n: u32,
    parts: u32,
}

/// What the solver reads besides the right sides.
#[derive(Clone, Copy)]
struct System {
    k: View,
    beta: View,
    lambda: View,
    /// Decay factors, `[B,H,chunks,fields,C]`.
    table: View,
    /// States M, `[B,H,chunks,D,D]`.
    m: View,
}

impl Mesa {
    fn sizes(&self) -> Sizes {
        self.memory(1.0).sizes()
    }

    fn params(&self) -> Params {
        self.sizes().params(1.0, FIELDS_FWD)
    }

    /// Written keys beta k and the table of decay factors.
    fn keys(&self, l: &mut Lower<'_>, k: View, g: View, beta: View) -> (View, View) {
        let kb = l.scratch(k.len);
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_FWD);
        let bindings = [k, g, beta, kb, table];
        l.run(
            sizes.kernel("mesa/keys_fwd"),
            &bindings,
            self.params(),
            sizes.chunk_grid(),
        );
        (kb, table)
    }

    /// `solution` = (M + diag(lambda))^-1 `rhs`, token by token.
    fn solve(&self, l: &mut Lower<'_>, system: System, rhs: View, solution: View) {
        let work = l.scratch(self.b * self.h * self.chunks() * self.solver_words());
        let System {
            k,
            beta,
            lambda,
            table,
            m,
        } = system;
        let bindings = [rhs, k, beta, table, m, lambda, solution, work];
        // Rows converge one by one, so that their directions differ in size: on matrix units they would share a scale.
        let kernel = self.sizes().kernel("mesa/solve").set("COOP", false);
        l.run(kernel, &bindings, self.params(), self.sizes().chunk_grid());
    }

    /// dlambda = -sum y * x over tokens.
    fn lambda_bwd(&self, l: &mut Lower<'_>, x: View, y: View, out: GpuOut) {
        let (rows, n) = (self.b * self.t, self.h * self.d);
        let parts = rows.min(MAX_PARTS);
        let sums = l.scratch(parts * n);
        let params = SumParams {
            rows: rows as u32,
            n: n as u32,
            parts: parts as u32,
        };
        let grid = [n.div_ceil(256) as u32, parts as u32, 1];
        l.run(Kernel::new("mesa/lambda_bwd"), &[x, y, sums], params, grid);
        column_sum(l, sums, parts, n, out);
    }
}

/// An output of a call within this one.
fn into(view: View) -> GpuOut {
    GpuOut {
        view,
        accumulate: false,
    }
}

impl GpuOp for Mesa {
    fn gpu_fwd(&self, l: &mut Lower<'_>, ins: &[View], outs: &[GpuOut]) {
        let [q, k, v, g, beta, lambda] = [0, 1, 2, 3, 4, 5].map(|i| ins[i]);
        let [x, m] = [outs[1].view, outs[2].view];
        let (kb, table) = self.keys(l, k, g, beta);
        let kernel = self.sizes().kernel("linear_attention/chunk_states");
        l.run(
            kernel,
            &[kb, k, table, m],
            self.params(),
            self.sizes().state_grid(),
        );
        let system = System {
            k,
            beta,
            lambda,
            table,
            m,
        };
        self.solve(l, system, q, x);
        self.memory(1.0).gpu_fwd(l, &[x, kb, v, g], &[outs[0], outs[3]]);
    }

    fn gpu_bwd(
        &self,
        l: &mut Lower<'_>,
        ins: &[Option<View>],
        outs: &[Option<View>],
        grad_outs: &[Option<View>],
        grad_ins: &[Option<GpuOut>],
    ) {
        let (Some(x), Some(m), Some(grad_o)) = (outs[1], outs[2], grad_outs[0]) else {
            return;
        };
        let [k, v, g, beta, lambda] =
            [1, 2, 3, 4, 5].map(|i| ins[i].expect("the backward call reads these inputs"));
        // Gradients that nobody wants still need a place.
        let [y, grad_k, grad_v] = [0, 1, 2].map(|i| or_scratch(l, grad_ins[i], k.len));
        let [grad_g, grad_beta] = [3, 4].map(|i| or_scratch(l, grad_ins[i], g.len));
        let [u, grad_kb_n, grad_kb_m, grad_value] = [(); 4].map(|()| l.scratch(k.len));
        let grad_g_m = l.scratch(g.len);
        let (kb, table) = self.keys(l, k, g, beta);

        let reads = [x, kb, v, g].map(Some);
        let writes = [u, grad_kb_n, grad_v, grad_g].map(|view| Some(into(view)));
        self.memory(1.0)
            .gpu_bwd(l, &reads, &[None, outs[3]], &[Some(grad_o), None], &writes);
        let system = System {
            k,
            beta,
            lambda,
            table,
            m,
        };
        self.solve(l, system, u, y);
        let reads = [x, kb, k, g].map(Some);
        let writes = [None, Some(grad_kb_m), Some(grad_value), Some(grad_g_m)].map(|view| view.map(into));
        self.memory(-1.0)
            .gpu_bwd(l, &reads, &[None, Some(m)], &[Some(y), None], &writes);

        Add { numel: g.len }.gpu_fwd(l, &[grad_g_m], &[into(grad_g)]);
        let layout = Layout::new(self.d);
        let params = RowParams {
            rows: (self.b * self.t * self.h) as u32,
            d: self.d as u32,
        };
        let bindings = [k, beta, grad_kb_n, grad_kb_m, grad_value, grad_k, grad_beta];
        let grid = grid_1d(layout.groups(self.b * self.t * self.h));
        l.run(layout.kernel("mesa/keys_bwd"), &bindings, params, grid);
        if let Some(out) = grad_ins[5] {
            self.lambda_bwd(l, x, y, out);
        }
    }
}
