//! The launches that recurrences with a decay by channel share (`shaders/chunks/channel_*`).

use super::Sizes;
use super::gpu::Params;
use crate::launch::{Lower, View, Views};
use crate::ops::reduce::or_scratch;
use crate::shader::Kernel;

/// A recurrence with a decay by channel, as these kernels see it.
pub(crate) struct Channels {
    pub(crate) sizes: Sizes,
    pub(crate) params: Params,
    /// Writes a token.
    pub(crate) householder: usize,
    /// Whether writes correct the state.
    pub(crate) delta: bool,
    /// Words of a row of the table behind its decays.
    pub(crate) extra: usize,
}

/// Terms of the gradients of queries and keys that come from outside of the pairs of a chunk, `[B,T,H,d_k]`.
pub(crate) struct Sums {
    pub(crate) query: View,
    /// Of the keys as what is corrected: of the delta rule alone.
    pub(crate) erase: Option<View>,
    pub(crate) key: View,
    /// `[B,H,chunks,d_k]`: what a decay over the whole chunk takes part in.
    pub(crate) through: View,
}

impl Channels {
    fn kernel(&self, path: &'static str) -> Kernel {
        self.sizes
            .kernel(path)
            .set("HOUSEHOLDER", self.householder)
            .set("DELTA", self.delta)
    }

    /// A kernel of pairs of keys and queries in a chunk.
    fn pairs(&self, path: &'static str) -> Kernel {
        self.sizes.key_kernel(path).set("HOUSEHOLDER", self.householder)
    }

    /// The table of decay factors (and write strengths).
    pub(crate) fn factors(&self, l: &mut Lower<'_>, io: &Views) -> View {
        let sizes = self.sizes;
        let rows = sizes.b * sizes.t * self.householder * sizes.h;
        let table = l.scratch(rows * (2 * sizes.d_k + self.extra));
        let mut bindings = vec![("gk", io.read("gk")), ("table", table)];
        bindings.extend(self.delta.then(|| ("beta", io.read("beta"))));
        let kernel = self
            .kernel("chunks/channel_factors_fwd")
            .set("CHANNEL", true)
            .set("EXTRA", self.extra);
        l.run(kernel, &bindings, self.params, sizes.tile_grid(sizes.d_k));
        table
    }

    /// P, `[B,H,chunks,C,C]`; with `lower`, G there.
    pub(crate) fn scores(&self, l: &mut Lower<'_>, io: &Views, lower: Option<View>) -> View {
        let sizes = self.sizes;
        let [q, k, gk] = ["q", "k", "gk"].map(|name| (name, io.read(name)));
        let scores = sizes.scratch(l, sizes.chunk);
        let kernel = self.pairs("chunks/channel_prep_fwd");
        let bindings = [k, gk, ("scores", scores), q];
        l.run(kernel.clone(), &bindings, self.params, sizes.chunk_grid());
        if let Some(lower) = lower {
            let kernel = kernel.set("OF_KEYS", true);
            let bindings = [k, gk, ("scores", lower)];
            l.run(kernel, &bindings, self.params, sizes.chunk_grid());
        }
        scores
    }

    /// Room for the sums.
    pub(crate) fn sums(&self, l: &mut Lower<'_>, io: &Views) -> Sums {
        let Sizes { b, h, d_k, .. } = self.sizes;
        let len = io.read("k").len;
        let [query, key] = [(); 2].map(|()| l.scratch(len));
        Sums {
            query,
            erase: self.delta.then(|| l.scratch(len)),
            key,
            through: l.scratch(b * h * self.sizes.chunks() * d_k),
        }
    }

    /// The gradients of queries, keys and decays, from the sums and the gradients of P and G.
    pub(crate) fn lower_bwd(
        &self,
        l: &mut Lower<'_>,
        io: &Views,
        sums: &Sums,
        (grad_scores, grad_lower): (View, Option<View>),
        [grad_q, grad_k]: [View; 2],
    ) {
        let (params, grid) = (self.params, self.sizes.tile_grid(self.sizes.d_k));
        let [q, k, gk] = ["q", "k", "gk"].map(|name| (name, io.read(name)));
        let (x1, x3) = (("x1", sums.query), ("x3", sums.key));
        let of_scores = ("grad_p", grad_scores);
        let of_keys = grad_lower.zip(sums.erase);
        let of_keys = of_keys.map(|(grad, x2)| [("grad_p", grad), ("x1", x2)]);

        let kernel = self.pairs("chunks/channel_query_bwd");
        let bindings = [k, gk, of_scores, x1, ("grad_q", grad_q)];
        l.run(kernel.clone(), &bindings, params, grid);
        if let Some([of_lower, x2]) = of_keys {
            let bindings = [k, gk, of_lower, x2, ("grad_q", grad_k)];
            l.run(kernel.set("OF_KEYS", true), &bindings, params, grid);
        }
        let kernel = self.pairs("chunks/channel_key_bwd").set("ADD", self.delta);
        let grad_k = ("grad_k", grad_k);
        let bindings = [k, gk, of_scores, x1, grad_k, q, x3];
        l.run(kernel.clone(), &bindings, params, grid);
        if let Some([of_lower, x2]) = of_keys {
            let bindings = [k, gk, of_lower, x2, grad_k];
            l.run(kernel.set("OF_KEYS", true), &bindings, params, grid);
        }
        let grad_gk = or_scratch(l, io.wanted("gk"), gk.1.len);
        let mut bindings = vec![k, ("u", sums.query), x3];
        bindings.extend([("through", sums.through), ("grad_gk", grad_gk)]);
        bindings.extend(sums.erase.map(|x2| ("u_keys", x2)));
        let kernel = self.kernel("chunks/channel_gate_bwd");
        l.run(kernel, &bindings, params, grid);
    }
}
