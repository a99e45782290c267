mod channel;

use super::{DeltaRule, EPS};
use crate::launch::{GpuOp, Lower, View, Views};
use crate::ops::Decay;
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::{FIELDS_BWD, FIELDS_FWD, Params, coop, deep};
use crate::ops::chunks::half::{HALF, HalfChunks};
use crate::ops::l2_norm::gpu::in_unit_rows;
use crate::ops::reduce::or_scratch;
use crate::port::Pass;
use crate::shader::Kernel;
use crate::tensor::Dtype;
use crate::variant::Variant;

impl DeltaRule {
    fn half(&self) -> HalfChunks {
        HalfChunks {
            sizes: self.sizes(),
            scale: self.scale,
            decay: self.decay,
            delta: true,
            householder: self.householder,
            shared: false,
            unit: self.unit.then_some(EPS),
        }
    }

    /// Launches of `lower` for this op with queries and keys at unit length, by other kernels before it where its own cannot.
    fn with_unit_rows(
        &self,
        l: &mut Lower<'_>,
        io: &Views,
        lower: impl FnOnce(&Self, &mut Lower<'_>, &Views),
    ) {
        if !self.unit || l.variant().name == HALF.name && self.half().fits_unit() {
            return lower(self, l, io);
        }
        let plain = Self {
            unit: false,
            ..self.clone()
        };
        let norms = [("q", self.norm(1)), ("k", self.norm(self.householder))];
        in_unit_rows(l, io, &norms, |l, io| lower(&plain, l, io));
    }

    fn params(&self, fields: usize) -> Params {
        self.sizes().params(self.scale, fields)
    }

    fn kernel(&self, path: &'static str) -> Kernel {
        self.of_writes(self.sizes().kernel(path))
    }

    fn tile_kernel(&self, path: &'static str) -> Kernel {
        self.of_writes(self.sizes().tile_kernel(path))
    }

    fn deep_kernel(&self, path: &'static str) -> Kernel {
        deep(self.tile_kernel(path))
    }

    /// Where keys are nearly equal, what is written are small differences: too small for products of single f16, in mixed
    /// precision, too.
    fn of_writes(&self, kernel: Kernel) -> Kernel {
        let kernel = match kernel.declares("SPLIT") {
            true => kernel.set("SPLIT", true),
            false => kernel,
        };
        kernel.set("HOUSEHOLDER", self.householder)
    }

    /// A kernel that looks at the decays of heads.
    fn head_kernel(&self, path: &'static str) -> Kernel {
        self.kernel(path)
            .set("DECAYS", self.decay != Decay::None)
            .set("SCALAR", self.decay == Decay::Scalar)
    }

    /// A kernel with a row a query: of a tile's C rows, only so many are computed.
    fn query_kernel(&self, path: &'static str) -> Kernel {
        self.deep_kernel(path).set("USED", self.chunk_tokens())
    }

    /// Row factors and P; Tm (`inverse`) or G to `lower`.
    fn prepare(&self, l: &mut Lower<'_>, io: &Views, scores: View, lower: View, table: View, inverse: bool) {
        let fields = if inverse { FIELDS_FWD } else { FIELDS_BWD };
        let kernel = self
            .head_kernel("delta_rule/chunk_prep_fwd")
            .set("INVERSE", inverse)
            .set("TRIANGLE", inverse);
        let mut bindings = vec![
            ("q", io.read("q")),
            ("k", io.read("k")),
            ("beta", io.read("beta")),
            ("scores", scores),
            ("lower", lower),
            ("table", table),
        ];
        bindings.extend(io.read_if("g").map(|g| ("g", g)));
        l.run(kernel, &bindings, self.params(fields), self.sizes().chunk_grid());
    }
}

impl GpuOp for DeltaRule {
    const VARIANTS: &'static [Variant] = &[HALF, coop(&[]), Variant::PLAIN];

    fn takes(&self, variant: &Variant, _: Pass, _: &Views) -> bool {
        self.sizes().takes(variant) && (variant.name != HALF.name || self.half().fits())
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        self.with_unit_rows(l, io, Self::lower_fwd);
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        self.with_unit_rows(l, io, Self::lower_bwd);
    }
}

impl DeltaRule {
    fn lower_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        if l.variant().name == HALF.name {
            return self.half().lower_fwd(l, io);
        }
        if self.decay == Decay::Channel {
            return self.lower_channel_fwd(l, io);
        }
        let [q, k, v] = [io.read("q"), io.read("k"), io.read("v")];
        let [o, tm, states] = [io.write("o"), io.write("tm"), io.write("states")];
        // Vn has a row a write, in f32: `o` has room for it where a token is one write and `o` is not rounded.
        let apart = self.householder > 1 || o.dtype != Dtype::F32;
        let vn = if apart { l.scratch(v.len) } else { o };
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_FWD);
        let scores = sizes.scratch(l, self.chunk_tokens());
        let params = self.params(FIELDS_FWD);
        self.prepare(l, io, scores, tm, table, true);
        l.run(
            self.deep_kernel("delta_rule/state_fwd"),
            &[
                ("k", k),
                ("v", v),
                ("table", table),
                ("tm", tm),
                ("states", states),
                ("vn", vn),
            ],
            params,
            sizes.grid(self.d_v.div_ceil(TILE)),
        );
        let grid = sizes.tile_grid(self.d_v);
        let mut bindings = vec![
            ("q", q),
            ("states", states),
            ("scores", scores),
            ("table", table),
            ("o", o),
        ];
        if apart {
            bindings.push(("vn", vn));
        }
        l.run(
            self.query_kernel("delta_rule/output_fwd").set("APART", apart),
            &bindings,
            params,
            grid,
        );
    }

    fn lower_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        if l.variant().name == HALF.name {
            return self.half().lower_bwd(l, io);
        }
        if self.decay == Decay::Channel {
            return self.lower_channel_bwd(l, io);
        }
        let (tm, states, grad_o) = (io.read("tm"), io.read("states"), io.grad("o"));
        let [q, k, v] = [io.read("q"), io.read("k"), io.read("v")];
        // Gradients that nobody wants still need a place: others come out of them.
        let grad_of = |name, l: &mut Lower<'_>| or_scratch(l, io.wanted(name), io.read(name).len);
        let [grad_q, grad_k, grad_v, grad_beta] = ["q", "k", "v", "beta"].map(|name| grad_of(name, l));
        let sizes = self.sizes();
        let table = sizes.scratch(l, FIELDS_BWD);
        let [scores, lower] = [self.chunk_tokens(), self.chunk].map(|rows| sizes.scratch(l, rows));
        let vn = l.scratch(v.len);
        let grad_states = l.scratch(states.len);

        let params = self.params(FIELDS_BWD);
        let [key_grid, value_grid] = [self.d_k, self.d_v].map(|width| sizes.tile_grid(width));
        let chunk_grid = sizes.chunk_grid();

        self.prepare(l, io, scores, lower, table, false);
        let bindings = [
            ("q", q),
            ("k", k),
            ("table", table),
            ("tm", tm),
            ("scores", scores),
            ("grad_o", grad_o),
            ("grad_v", grad_v),
            ("grad_states", grad_states),
        ];
        l.run(
            self.deep_kernel("delta_rule/state_bwd"),
            &bindings,
            params,
            sizes.grid(self.d_v.div_ceil(TILE)),
        );
        let bindings = [
            ("k", k),
            ("v", v),
            ("states", states),
            ("tm", tm),
            ("lower", lower),
            ("table", table),
            ("vn", vn),
            ("grad_v", grad_v),
        ];
        let kernel = self.deep_kernel("delta_rule/error_bwd");
        l.run(kernel, &bindings, params, value_grid);
        let mut bindings = vec![
            ("grad_o", grad_o),
            ("grad_v", grad_v),
            ("vn", vn),
            ("scores", scores),
            ("lower", lower),
            ("table", table),
        ];
        bindings.extend(io.read_if("g").map(|g| ("g", g)));
        let kernel = self
            .head_kernel("delta_rule/chunk_bwd")
            .set("TRIANGLE", self.decay == Decay::Scalar);
        l.run(kernel, &bindings, params, chunk_grid);
        let bindings = [
            ("own", q),
            ("other", k),
            ("values", grad_o),
            ("states", states),
            ("e", scores),
            ("table", table),
            ("grad_own", grad_q),
        ];
        l.run(
            self.query_kernel("chunks/query_key_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let bindings = [
            ("k", k),
            ("states", states),
            ("grad_states", grad_states),
            ("table", table),
            ("vn", vn),
            ("grad_v", grad_v),
            ("grad_k", grad_k),
        ];
        l.run(
            self.deep_kernel("delta_rule/key_state_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let bindings = [
            ("q", q),
            ("k", k),
            ("e", scores),
            ("f", lower),
            ("grad_k", grad_k),
        ];
        l.run(
            self.tile_kernel("delta_rule/key_chunk_bwd"),
            &bindings,
            params,
            key_grid,
        );
        let mut bindings = vec![("table", table), ("grad_beta", grad_beta)];
        if self.decay == Decay::Scalar {
            bindings.push(("grad_g", grad_of("g", l)));
        }
        let kernel = self
            .kernel("chunks/gate_bwd")
            .set("DELTA", true)
            .set("DECAYS", self.decay == Decay::Scalar);
        l.run(kernel, &bindings, params, chunk_grid);
    }
}
