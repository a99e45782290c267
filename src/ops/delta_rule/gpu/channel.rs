//! The launches of the delta rule with a decay by key channel.

use super::DeltaRule;
use crate::launch::{Lower, Views};
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::{FIELDS_FWD, Params};
use crate::ops::chunks::gpu_channel::Channels;
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

    /// One that forms no triangle.
    fn channel_tile_kernel(&self, path: &'static str) -> Kernel {
        self.channel_kernel(path).set("TRIANGLE", false)
    }

    fn channels(&self) -> Channels {
        Channels {
            sizes: self.sizes(),
            params: self.channel_params(),
            householder: self.householder,
            delta: true,
            extra: EXTRA,
        }
    }

    pub(super) fn lower_channel_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        let [q, k, v] = ["q", "k", "v"].map(|name| (name, io.read(name)));
        let [o, tm, states] = ["o", "tm", "states"].map(|name| (name, io.write(name)));
        // As in the other rule, `o` has room for Vn where a token is one write and `o` is not rounded.
        let apart = self.householder > 1 || o.1.dtype != Dtype::F32;
        let vn = ("vn", if apart { l.scratch(v.1.len) } else { o.1 });
        let (sizes, params) = (self.sizes(), self.channel_params());
        let channels = self.channels();
        let table = channels.factors(l, io);
        let scores = channels.scores(l, io, Some(tm.1));
        let (table, scores) = (("table", table), ("scores", scores));
        let kernel = self.channel_kernel("delta_rule/inverse_fwd");
        l.run(kernel, &[table, tm], params, sizes.chunk_grid());
        let kernel = self.channel_tile_kernel("delta_rule/state_fwd");
        let grid = sizes.grid(self.d_v.div_ceil(TILE));
        l.run(kernel, &[k, v, table, tm, states, vn], params, grid);
        let kernel = self
            .channel_tile_kernel("delta_rule/output_fwd")
            .set("APART", apart)
            .set("USED", self.chunk_tokens());
        let mut bindings = vec![q, states, scores, table, o];
        if apart {
            bindings.push(vn);
        }
        l.run(kernel, &bindings, params, sizes.tile_grid(self.d_v));
    }

    pub(super) fn lower_channel_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        let [q, k, v] = ["q", "k", "v"].map(|name| (name, io.read(name)));
        let [tm, states] = ["tm", "states"].map(|name| (name, io.read(name)));
        let grad_o = ("grad_o", io.grad("o"));
        // Gradients that nobody wants still need a place: others come out of them.
        let grad_of = |name, l: &mut Lower<'_>| or_scratch(l, io.wanted(name), io.read(name).len);
        let [grad_q, grad_k, grad_v] = ["q", "k", "v"].map(|name| grad_of(name, l));
        let grad_beta = ("grad_beta", grad_of("beta", l));
        let channels = self.channels();
        let (sizes, params) = (self.sizes(), self.channel_params());
        let [key_grid, value_grid] = [self.d_k, self.d_v].map(|width| sizes.tile_grid(width));
        let lower = sizes.scratch(l, self.chunk);
        let table = channels.factors(l, io);
        let scores = channels.scores(l, io, Some(lower));
        let vn = l.scratch(v.1.len);
        let grad_states = ("grad_states", l.scratch(states.1.len));
        let sums = channels.sums(l, io);
        let of_pairs = (scores, Some(lower));
        let (table, scores, lower) = (("table", table), ("scores", scores), ("lower", lower));
        let (grad_v, vn) = (("grad_v", grad_v), ("vn", vn));

        let kernel = self.channel_tile_kernel("delta_rule/state_bwd");
        let bindings = [q, k, table, tm, scores, grad_o, grad_v, grad_states];
        let grid = sizes.grid(self.d_v.div_ceil(TILE));
        l.run(kernel, &bindings, params, grid);
        let kernel = self.channel_tile_kernel("delta_rule/error_bwd");
        let bindings = [k, v, states, tm, lower, table, vn, grad_v];
        l.run(kernel, &bindings, params, value_grid);
        let kernel = self
            .tile_kernel("delta_rule/chunk_bwd")
            .set("CHANNEL", true)
            .set("DECAYS", false)
            .set("SCALAR", false);
        let bindings = [grad_o, grad_v, vn, scores, lower, table];
        l.run(kernel, &bindings, params, sizes.chunk_grid());

        let kernel = self.channel_tile_kernel("chunks/channel_state_bwd");
        let bindings = [
            ("v", vn.1),
            grad_o,
            states,
            grad_states,
            table,
            ("x1", sums.query),
            ("x3", sums.key),
            ("through", sums.through),
        ];
        l.run(kernel, &bindings, params, key_grid);
        let kernel = self.channel_tile_kernel("delta_rule/channel_erase_bwd");
        let mut bindings = vec![grad_v, states, table];
        bindings.extend(sums.erase.map(|x2| ("x2", x2)));
        l.run(kernel, &bindings, params, key_grid);

        channels.lower_bwd(l, io, &sums, of_pairs, [grad_q, grad_k]);
        let kernel = self
            .channel_kernel("chunks/gate_bwd")
            .set("DELTA", true)
            .set("DECAYS", false);
        let bindings = [table, grad_beta];
        l.run(kernel, &bindings, params, sizes.chunk_grid());
    }
}
