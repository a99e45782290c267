use super::Mesa;
use crate::launch::{GpuOp, GpuOut, Lower, View, Views, grid_1d};
use crate::ops::add::Add;
use crate::ops::chunks::gpu::{FIELDS_FWD, Params, coop};
use crate::ops::chunks::half::HALF;
use crate::ops::chunks::{Sizes, TILE};
use crate::ops::reduce::{column_sum, or_scratch};
use crate::ops::rows::Layout;
use crate::port::Pass;
use crate::shader::Kernel;
use crate::variant::{Needs, Variant};
use bytemuck::{Pod, Zeroable};

/// The solver in registers, its products on matrix units with operands split into two f16.
const SPLIT: Variant = Variant {
    name: "split_coop",
    needs: Needs {
        workgroup_threads: 512,
        ..coop(&[]).needs
    },
    ..coop(&[])
};

/// Rows and columns of a block of a matrix unit.
const BLOCK: usize = 16;

/// Workgroups that sum up the gradient of lambda: about eight a multiprocessor of a large GPU.
const SUMMING: usize = 1024;

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

/// Written keys, and what else depends on keys and decays alone.
struct Keys {
    /// beta k; backward that in f16, if there is one.
    kb: View,
    /// beta k and k in f16, for [`HALF`].
    half: Option<[View; 2]>,
    /// Decay factors, `[B,H,chunks,fields,C]`.
    table: View,
}

/// What [`HALF`] needs besides a solution, for the gradients of M.
#[derive(Clone, Copy)]
struct ForHalf {
    /// M as it keeps states.
    states: View,
    /// The solution in f16.
    rounded: View,
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

    /// What both passes make first.
    fn keys(&self, l: &mut Lower<'_>, pass: Pass, k: View, g: View, beta: View) -> Keys {
        let half = (l.variant().name == HALF.name).then(|| [l.scratch_f16(k.len), l.scratch_f16(k.len)]);
        let exact = pass == Pass::Forward || half.is_none();
        let kb = match half {
            Some([kb, _]) if !exact => kb,
            _ => l.scratch(k.len),
        };
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_FWD);
        let mut bindings = vec![("k", k), ("g", g), ("beta", beta), ("table", table)];
        bindings.extend(exact.then_some(("kb", kb)));
        if let Some([kb_half, k_half]) = half {
            bindings.extend([("kb_half", kb_half), ("k_half", k_half)]);
        }
        let kernel = sizes
            .kernel("mesa/keys_fwd")
            .set("EXACT", exact)
            .set("HALF", half.is_some());
        l.run(kernel, &bindings, self.params(), sizes.chunk_grid());
        Keys { kb, half, table }
    }

    /// `solution` = (M + diag(lambda))^-1 `rhs`, token by token; in the variant [`HALF`] what it needs, if there is a place for it.
    fn solve(&self, l: &mut Lower<'_>, system: System, rhs: View, solution: View, half: Option<ForHalf>) {
        if [HALF.name, SPLIT.name].contains(&l.variant().name) {
            self.solve_split(l, system, rhs, solution, half);
        } else {
            self.solve_tiles(l, system, rhs, solution);
        }
    }

    /// By products of tiles.
    fn solve_tiles(&self, l: &mut Lower<'_>, system: System, rhs: View, solution: View) {
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

    /// On matrix units, operands split into two f16.
    fn solve_split(
        &self,
        l: &mut Lower<'_>,
        system: System,
        rhs: View,
        solution: View,
        half: Option<ForHalf>,
    ) {
        let System {
            k,
            beta,
            lambda,
            table,
            m,
        } = system;
        let blocks = self.b * self.h * self.chunks();
        let key_blocks = self.d.div_ceil(BLOCK);
        let row_blocks = self.d.div_ceil(TILE) * TILE / BLOCK;
        let operands =
            l.scratch_f16(blocks * 2 * (key_blocks + self.chunk / BLOCK) * row_blocks * BLOCK * BLOCK);
        let scales = l.scratch(blocks * 4);
        let kernel = |path| self.sizes().kernel(path).set("KEY_BLOCKS", key_blocks);
        let grid = self.sizes().chunk_grid();
        let made = [("operands", operands), ("scales", scales)];
        let mut bindings = vec![("k", k), ("beta", beta), ("m", m), ("lambda", lambda)];
        bindings.extend(made);
        bindings.extend(half.map(|half| ("states", half.states)));
        let operands_kernel = kernel("mesa/operands_split_coop").set("STATES", half.is_some());
        l.run(operands_kernel, &bindings, self.params(), grid);
        let mut bindings = vec![("rhs", rhs), ("beta", beta), ("table", table), ("lambda", lambda)];
        bindings.extend(made);
        bindings.push(("solution", solution));
        bindings.extend(half.map(|half| ("rounded", half.rounded)));
        let solve_kernel = kernel("mesa/solve_split_coop")
            .set("LOOSE", l.mixed())
            .set("ROUNDED", half.is_some());
        // 16 rows a workgroup.
        let sections = self.sizes().grid(self.chunk / BLOCK * self.chunks());
        l.run(solve_kernel, &bindings, self.params(), sections);
    }

    /// dlambda = -sum y * x over tokens.
    fn lambda_bwd(&self, l: &mut Lower<'_>, x: View, y: View, out: GpuOut) {
        let (rows, n) = (self.b * self.t, self.h * self.d);
        let parts = rows.min(SUMMING / n.div_ceil(256).min(SUMMING));
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
    /// `HALF`: the memories by it and the solver of `SPLIT`. Other sizes take `solve` without matrix units: with them it was wrong by 0.4
    /// on the one driver where that was tried.
    const VARIANTS: &'static [Variant] = &[HALF, SPLIT, coop(&["mesa/solve"]), Variant::PLAIN];

    fn takes(&self, variant: &Variant, _: Pass, _: &Views) -> bool {
        if variant.name == HALF.name {
            return self.memory(1.0).half().fits();
        }
        self.sizes().takes(variant) && (variant.name != SPLIT.name || self.d <= 2 * TILE)
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (q, k, v) = (io.read("q"), io.read("k"), io.read("v"));
        let (g, beta, lambda) = (io.read("g"), io.read("beta"), io.read("lambda"));
        let [x, m] = [io.write("x"), io.write("m")];
        let Keys { kb, half, table } = self.keys(l, Pass::Forward, k, g, beta);
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
        self.solve(l, system, q, x, None);
        let kb = half.map_or(kb, |[kb, _]| kb);
        let read_out = Views::forward(
            &[("q", x), ("k", kb), ("v", v), ("g", g)],
            &[("o", io.out("o")), ("states", io.out("n"))],
        );
        match half {
            Some(_) => self.memory(1.0).half().lower_fwd(l, &read_out),
            None => self.memory(1.0).gpu_fwd(l, &read_out),
        }
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let (x, m, grad_o) = (io.read("x"), io.read("m"), io.grad("o"));
        let (k, v, g) = (io.read("k"), io.read("v"), io.read("g"));
        let (beta, lambda) = (io.read("beta"), io.read("lambda"));
        let Keys { kb, half, table } = self.keys(l, Pass::Backward, k, g, beta);
        let room = |l: &mut Lower<'_>| match half {
            Some(_) => l.scratch_f16(k.len),
            None => l.scratch(k.len),
        };
        // Gradients that nobody wants still need a place.
        let [y, grad_k] = ["q", "k"].map(|name| or_scratch(l, io.wanted(name), k.len));
        let grad_v = match io.wanted("v") {
            Some(out) => out.view,
            None => room(l),
        };
        let [grad_g, grad_beta] = ["g", "beta"].map(|name| or_scratch(l, io.wanted(name), g.len));
        let [u, grad_kb_n, grad_kb_m, grad_value] = [(); 4].map(|()| room(l));
        let grad_g_m = l.scratch(g.len);
        let of_memory = |scale: f32, l: &mut Lower<'_>, io: &Views| match half {
            Some(_) => self.memory(scale).half().lower_bwd(l, io),
            None => self.memory(scale).gpu_bwd(l, io),
        };
        let for_half = half.map(|_| ForHalf {
            states: l.scratch_f16(self.memory(1.0).half().padded_states()),
            rounded: l.scratch_f16(y.len),
        });
        // M's values and states, and the gradient of its read-out.
        let value = half.map_or(k, |[_, k]| k);
        let (states, through) = for_half.map_or((m, y), |half| (half.states, half.rounded));

        let values = Views {
            reads: vec![("q", x), ("k", kb), ("v", v), ("g", g), ("states", io.read("n"))],
            grads: vec![("o", grad_o)],
            wanted: [("q", u), ("k", grad_kb_n), ("v", grad_v), ("g", grad_g)]
                .map(|(name, view)| (name, GpuOut::new(view)))
                .to_vec(),
            ..Views::default()
        };
        of_memory(1.0, l, &values);
        let system = System {
            k,
            beta,
            lambda,
            table,
            m,
        };
        self.solve(l, system, u, y, for_half);
        let keys = Views {
            reads: vec![("q", x), ("k", kb), ("v", value), ("g", g), ("states", states)],
            grads: vec![("o", through)],
            wanted: [("k", grad_kb_m), ("v", grad_value), ("g", grad_g_m)]
                .map(|(name, view)| (name, GpuOut::new(view)))
                .to_vec(),
            ..Views::default()
        };
        of_memory(-1.0, l, &keys);

        let sum = Views::forward(&[("x", grad_g_m)], &[("y", GpuOut::new(grad_g))]);
        Add { numel: g.len }.gpu_fwd(l, &sum);
        let layout = Layout::quads(self.d);
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
