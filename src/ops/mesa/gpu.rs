use super::Mesa;
use crate::launch::{GpuOp, GpuOut, Lower, View, Views, grid_1d};
use crate::ops::add::Add;
use crate::ops::chunks::Sizes;
use crate::ops::chunks::gpu::{FIELDS_FWD, Params, coop};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::ops::rows::Layout;
use crate::shader::Kernel;
use crate::variant::Variant;
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
        let bindings = [("k", k), ("g", g), ("beta", beta), ("kb", kb), ("table", table)];
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
        let bindings = [
            ("rhs", rhs),
            ("k", k),
            ("beta", beta),
            ("table", table),
            ("m", m),
            ("lambda", lambda),
            ("solution", solution),
            ("work", work),
        ];
        let kernel = self.sizes().kernel("mesa/solve");
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
        l.run(
            Kernel::new("mesa/lambda_bwd"),
            &[("x", x), ("y", y), ("sums", sums)],
            params,
            grid,
        );
        column_sum(l, sums, parts, n, out);
    }
}

impl GpuOp for Mesa {
    /// Not `solve`: wrong by 0.4 on the one driver with matrix units where it was tried, and by 0.8 with each row's direction scaled to
    /// the others' size, so that a scale shared by rows is not why.
    const VARIANTS: &'static [Variant] = &[
        coop(&["mesa/solve", "linear_attention/chunk_bwd"]),
        Variant::PLAIN,
    ];

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (q, k, v) = (io.read("q"), io.read("k"), io.read("v"));
        let (g, beta, lambda) = (io.read("g"), io.read("beta"), io.read("lambda"));
        let [x, m] = [io.write("x"), io.write("m")];
        let (kb, table) = self.keys(l, k, g, beta);
        let kernel = self.sizes().kernel("chunks/chunk_states");
        l.run(
            kernel,
            &[("keys", kb), ("values", k), ("table", table), ("states", m)],
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
        let read_out = Views::forward(
            &[("q", x), ("k", kb), ("v", v), ("g", g)],
            &[("o", io.out("o")), ("states", io.out("n"))],
        );
        self.memory(1.0).gpu_fwd(l, &read_out);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, m, grad_o) = (io.read("x"), io.read("m"), io.grad("o"));
        let (k, v, g) = (io.read("k"), io.read("v"), io.read("g"));
        let (beta, lambda) = (io.read("beta"), io.read("lambda"));
        // Gradients that nobody wants still need a place.
        let [y, grad_k, grad_v] = ["q", "k", "v"].map(|name| or_scratch(l, io.wanted(name), k.len));
        let [grad_g, grad_beta] = ["g", "beta"].map(|name| or_scratch(l, io.wanted(name), g.len));
        let [u, grad_kb_n, grad_kb_m, grad_value] = [(); 4].map(|()| l.scratch(k.len));
        let grad_g_m = l.scratch(g.len);
        let (kb, table) = self.keys(l, k, g, beta);

        let values = Views {
            reads: vec![("q", x), ("k", kb), ("v", v), ("g", g), ("states", io.read("n"))],
            grads: vec![("o", grad_o)],
            wanted: [("q", u), ("k", grad_kb_n), ("v", grad_v), ("g", grad_g)]
                .map(|(name, view)| (name, GpuOut::new(view)))
                .to_vec(),
            ..Views::default()
        };
        self.memory(1.0).gpu_bwd(l, &values);
        let system = System {
            k,
            beta,
            lambda,
            table,
            m,
        };
        self.solve(l, system, u, y);
        let keys = Views {
            reads: vec![("q", x), ("k", kb), ("v", k), ("g", g), ("states", m)],
            grads: vec![("o", y)],
            wanted: [("k", grad_kb_m), ("v", grad_value), ("g", grad_g_m)]
                .map(|(name, view)| (name, GpuOut::new(view)))
                .to_vec(),
            ..Views::default()
        };
        self.memory(-1.0).gpu_bwd(l, &keys);

        let sum = Views::forward(&[("x", grad_g_m)], &[("y", GpuOut::new(grad_g))]);
        Add { numel: g.len }.gpu_fwd(l, &sum);
        let layout = Layout::new(self.d);
        let params = RowParams {
            rows: (self.b * self.t * self.h) as u32,
            d: self.d as u32,
        };
        let bindings = [
            ("k", k),
            ("beta", beta),
            ("grad_kb_n", grad_kb_n),
            ("grad_kb_m", grad_kb_m),
            ("grad_value", grad_value),
            ("grad_k", grad_k),
            ("grad_beta", grad_beta),
        ];
        let grid = grid_1d(layout.groups(self.b * self.t * self.h));
        l.run(layout.kernel("mesa/keys_bwd"), &bindings, params, grid);
        if let Some(out) = io.wanted("lambda") {
            self.lambda_bwd(l, x, y, out);
        }
    }
}
