//! The launches of the delta rule with a decay by key channel.

use super::DeltaRule;
use crate::launch::{Lower, View, Views};
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::{FIELDS_FWD, Params};
use crate::ops::reduce::or_scratch;
use crate::shader::Kernel;
use crate::tensor::Dtype;

/// Words of a row of the table besides its decays: the write strength, and partial sums of its gradient.
const EXTRA: usize = 5;

impl DeltaRule {
    fn channel_params(&self) -> Params {
        self.params(FIELDS_FWD)
    }

    /// A kernel that looks up the decays of channels.
    fn channel_kernel(&self, path: &'static str) -> Kernel {
        self.kernel(path).set("CHANNEL", true).set("EXTRA", EXTRA)
    }

    /// A kernel of pairs of keys and queries in a chunk.
    fn pair_kernel(&self, path: &'static str) -> Kernel {
        let kernel = self.sizes().key_kernel(path);
        kernel.set("HOUSEHOLDER", self.householder)
    }

    /// The table of decay factors and write strengths, and P, `[B,H,chunks,C,C]`; G is left in `lower`.
    fn channel_prepare(&self, l: &mut Lower<'_>, io: &Views, lower: View) -> [View; 2] {
        let [k, gk] = ["k", "gk"].map(|name| (name, io.read(name)));
        let (sizes, params) = (self.sizes(), self.channel_params());
        let rows = self.b * self.t * self.householder * self.h;
        let table = l.scratch(rows * (2 * self.d_k + EXTRA));
        let scores = sizes.scratch(l, self.chunk);
        let kernel = self
            .channel_kernel("chunks/channel_factors_fwd")
            .set("DELTA", true);
        let bindings = [gk, ("table", table), ("beta", io.read("beta"))];
        l.run(kernel, &bindings, params, sizes.tile_grid(self.d_k));
        let kernel = self.pair_kernel("chunks/channel_prep_fwd");
        let bindings = [k, gk, ("scores", scores), ("q", io.read("q"))];
        l.run(kernel.clone(), &bindings, params, sizes.chunk_grid());
        let kernel = kernel.set("OF_KEYS", true);
        l.run(kernel, &[k, gk, ("scores", lower)], params, sizes.chunk_grid());
        [table, scores]
    }

    pub(super) fn lower_channel_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let [q, k, v] = ["q", "k", "v"].map(|name| (name, io.read(name)));
        let [o, tm, states] = ["o", "tm", "states"].map(|name| (name, io.write(name)));
        // As in the other rule, `o` has room for Vn where a token is one write and `o` is not rounded.
        let apart = self.householder > 1 || o.1.dtype != Dtype::F32;
        let vn = ("vn", if apart { l.scratch(v.1.len) } else { o.1 });
        let (sizes, params) = (self.sizes(), self.channel_params());
        let [table, scores] = self.channel_prepare(l, io, tm.1);
        let (table, scores) = (("table", table), ("scores", scores));
        let kernel = self.channel_kernel("delta_rule/inverse_fwd");
        l.run(kernel, &[table, tm], params, sizes.chunk_grid());
        let kernel = self.channel_kernel("delta_rule/state_fwd");
        let grid = sizes.grid(self.d_v.div_ceil(TILE));
        l.run(kernel, &[k, v, table, tm, states, vn], params, grid);
        let kernel = self
            .channel_kernel("delta_rule/output_fwd")
            .set("APART", apart)
            .set("USED", self.chunk_tokens());
        let mut bindings = vec![q, states, scores, table, o];
        if apart {
            bindings.push(vn);
        }
        l.run(kernel, &bindings, params, sizes.tile_grid(self.d_v));
    }

    pub(super) fn lower_channel_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let [q, k, v, gk] = ["q", "k", "v", "gk"].map(|name| (name, io.read(name)));
        let [tm, states] = ["tm", "states"].map(|name| (name, io.read(name)));
        let grad_o = ("grad_o", io.grad("o"));
        // Gradients that nobody wants still need a place: others come out of them.
        let grad_of = |name, l: &mut Lower<'_>| or_scratch(l, io.wanted(name), io.read(name).len);
        let [grad_q, grad_k, grad_v] = ["q", "k", "v"].map(|name| grad_of(name, l));
        let [grad_beta, grad_gk] = ["beta", "gk"].map(|name| grad_of(name, l));
        let (sizes, params) = (self.sizes(), self.channel_params());
        let [key_grid, value_grid] = [self.d_k, self.d_v].map(|width| sizes.tile_grid(width));
        let lower = sizes.scratch(l, self.chunk);
        let [table, scores] = self.channel_prepare(l, io, lower);
        let vn = l.scratch(v.1.len);
        let grad_states = ("grad_states", l.scratch(states.1.len));
        let [x1, x2, x3] = [(); 3].map(|()| l.scratch(k.1.len));
        let through = ("through", l.scratch(self.b * self.h * self.chunks() * self.d_k));
        let (of_scores, of_lower) = (("grad_p", scores), ("grad_p", lower));
        let (table, scores, lower) = (("table", table), ("scores", scores), ("lower", lower));
        let (grad_v, vn) = (("grad_v", grad_v), ("vn", vn));

        let kernel = self.channel_kernel("delta_rule/state_bwd");
        let bindings = [q, k, table, tm, scores, grad_o, grad_v, grad_states];
        let grid = sizes.grid(self.d_v.div_ceil(TILE));
        l.run(kernel, &bindings, params, grid);
        let kernel = self.channel_kernel("delta_rule/error_bwd");
        let bindings = [k, v, states, tm, lower, table, vn, grad_v];
        l.run(kernel, &bindings, params, value_grid);
        let kernel = self
            .kernel("delta_rule/chunk_bwd")
            .set("CHANNEL", true)
            .set("DECAYS", false)
            .set("SCALAR", false);
        let bindings = [grad_o, grad_v, vn, scores, lower, table];
        l.run(kernel, &bindings, params, sizes.chunk_grid());

        let kernel = self.channel_kernel("chunks/channel_state_bwd");
        let bindings = [
            ("v", vn.1),
            grad_o,
            states,
            grad_states,
            table,
            ("x1", x1),
            ("x3", x3),
            through,
        ];
        l.run(kernel, &bindings, params, key_grid);
        let kernel = self.channel_kernel("delta_rule/channel_erase_bwd");
        let bindings = [grad_v, states, table, ("x2", x2)];
        l.run(kernel, &bindings, params, key_grid);

        let kernel = self.pair_kernel("chunks/channel_query_bwd");
        let bindings = [k, gk, of_scores, ("x1", x1), ("grad_q", grad_q)];
        l.run(kernel.clone(), &bindings, params, key_grid);
        let kernel = kernel.set("OF_KEYS", true);
        let bindings = [k, gk, of_lower, ("x1", x2), ("grad_q", grad_k)];
        l.run(kernel, &bindings, params, key_grid);
        let kernel = self.pair_kernel("chunks/channel_key_bwd").set("ADD", true);
        let grad_k = ("grad_k", grad_k);
        let bindings = [k, gk, of_scores, ("x1", x1), grad_k, q, ("x3", x3)];
        l.run(kernel.clone(), &bindings, params, key_grid);
        let kernel = kernel.set("OF_KEYS", true);
        let bindings = [k, gk, of_lower, ("x1", x2), grad_k];
        l.run(kernel, &bindings, params, key_grid);
        let kernel = self.kernel("chunks/channel_gate_bwd").set("DELTA", true);
        let bindings = [
            k,
            ("u", x1),
            ("x3", x3),
            through,
            ("grad_gk", grad_gk),
            ("u_keys", x2),
        ];
        l.run(kernel, &bindings, params, key_grid);
        let kernel = self
            .channel_kernel("chunks/gate_bwd")
            .set("DELTA", true)
            .set("DECAYS", false);
        let bindings = [table, ("grad_beta", grad_beta)];
        l.run(kernel, &bindings, params, sizes.chunk_grid());
    }
}
