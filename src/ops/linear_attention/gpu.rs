use super::LinearAttention;
use crate::launch::{GpuOp, Lower, View, Views};
use crate::ops::Decay;
use crate::ops::chunks::TILE;
use crate::ops::chunks::gpu::{FIELDS_BWD, FIELDS_FWD, coop, deep};
use crate::ops::chunks::gpu_channel::Channels;
use crate::ops::chunks::half::{HALF, HalfChunks};
use crate::ops::reduce::or_scratch;
use crate::port::Pass;
use crate::shader::Kernel;
use crate::variant::Variant;

/// What both passes make first.
struct Prepared {
    /// P, `[B,H,chunks,C,C]`.
    scores: View,
    /// Decay factors.
    table: View,
}

impl LinearAttention {
    /// As the variant [`HALF`] takes it.
    pub(crate) fn half(&self) -> HalfChunks {
        HalfChunks {
            sizes: self.sizes(),
            scale: self.scale,
            decay: self.decay,
            delta: false,
            householder: 1,
            shared: self.shared_qk,
            unit: None,
        }
    }

    fn by_channel(&self) -> bool {
        self.decay == Decay::Channel
    }

    /// `per_head` workgroups for each head of q and k of each sequence.
    fn key_grid(&self, per_head: usize) -> [u32; 3] {
        [per_head as u32, self.key_heads() as u32, self.b as u32]
    }

    /// A kernel over chunks.
    fn kernel(&self, path: &'static str) -> Kernel {
        self.sizes().kernel(path)
    }

    /// A kernel that looks up rows of keys and their decay factors, forward and backward alike.
    fn keyed(&self, path: &'static str, backward: bool) -> Kernel {
        self.sizes()
            .tile_kernel(path)
            .set("SHARED", self.shared_qk)
            .set("CHANNEL", self.by_channel())
            .set("QUADS", self.by_channel())
            .set("BACKWARD", backward)
    }

    /// A kernel of decays by head.
    fn scalar(&self, path: &'static str) -> Kernel {
        self.kernel(path)
            .set("SHARED", self.shared_qk)
            .set("SCALAR", self.decay == Decay::Scalar)
    }

    fn decays(&self) -> bool {
        matches!(self.decay, Decay::Constant | Decay::Scalar)
    }

    fn channels(&self, fields: usize) -> Channels {
        Channels {
            sizes: self.sizes(),
            params: self.sizes().params(self.scale, fields),
            householder: 1,
            delta: false,
            extra: 0,
        }
    }

    /// Decay factors and P.
    fn prepare(&self, l: &mut Lower<'_>, io: &Views, fields: usize) -> Prepared {
        if self.by_channel() {
            let channels = self.channels(fields);
            let table = channels.factors(l, io);
            let scores = channels.scores(l, io, None);
            return Prepared { scores, table };
        }
        let sizes = self.sizes();
        let [scores, table] = [self.chunk, fields].map(|rows| sizes.scratch(l, rows));
        let kernel = self
            .scalar("linear_attention/chunk_prep_fwd")
            .set("DECAYS", self.decays())
            .set("TRIANGLE", false);
        let mut bindings = vec![("scores", scores), ("table", table)];
        bindings.extend(["q", "k"].map(|name| (name, io.read(name))));
        bindings.extend(io.read_if("g").map(|g| ("g", g)));
        let params = sizes.params(self.scale, fields);
        l.run(kernel, &bindings, params, self.key_grid(self.chunks()));
        Prepared { scores, table }
    }
}

impl GpuOp for LinearAttention {
    const VARIANTS: &'static [Variant] = &[HALF, coop(&[]), Variant::PLAIN];

    fn takes(&self, variant: &Variant, _: Pass, _: &Views) -> bool {
        self.sizes().takes(variant) && (variant.name != HALF.name || self.half().fits())
    }

    fn gpu_fwd(&self, l: &mut Lower<'_>, io: &Views) {
        if l.variant().name == HALF.name {
            return self.half().lower_fwd(l, io);
        }
        let [q, k, v] = [io.read("q"), io.read("k"), io.read("v")];
        let [o, states] = [io.write("o"), io.write("states")];
        let Prepared { scores, table } = self.prepare(l, io, FIELDS_FWD);
        let (sizes, params) = (self.sizes(), self.sizes().params(self.scale, FIELDS_FWD));
        let kernel = self.keyed("chunks/chunk_states", false);
        l.run(
            kernel,
            &[("keys", k), ("values", v), ("table", table), ("states", states)],
            params,
            sizes.state_grid(),
        );
        let kernel = deep(self.keyed("linear_attention/chunk_values", false));
        l.run(
            kernel,
            &[
                ("keys", q),
                ("values", v),
                ("states", states),
                ("scores", scores),
                ("table", table),
                ("result", o),
            ],
            params,
            sizes.tile_grid(self.d_v),
        );
    }

    fn gpu_bwd(&self, l: &mut Lower<'_>, io: &Views) {
        if l.variant().name == HALF.name {
            return self.half().lower_bwd(l, io);
        }
        let (states, grad_o) = (io.read("states"), io.grad("o"));
        let [q, k, v] = [io.read("q"), io.read("k"), io.read("v")];
        // Gradients that nobody wants still need a place.
        let grad_of = |name, l: &mut Lower<'_>| or_scratch(l, io.wanted(name), io.read(name).len);
        let [grad_q, grad_k, grad_v] = ["q", "k", "v"].map(|name| grad_of(name, l));
        let Prepared { scores, table } = self.prepare(l, io, FIELDS_BWD);
        let grad_states = l.scratch(states.len);
        let (sizes, params) = (self.sizes(), self.sizes().params(self.scale, FIELDS_BWD));

        let kernel = self.keyed("chunks/chunk_states", true);
        l.run(
            kernel,
            &[
                ("keys", q),
                ("values", grad_o),
                ("table", table),
                ("states", grad_states),
            ],
            params,
            sizes.state_grid(),
        );
        let kernel = deep(self.keyed("linear_attention/chunk_values", true));
        l.run(
            kernel,
            &[
                ("keys", k),
                ("values", grad_o),
                ("states", grad_states),
                ("scores", scores),
                ("table", table),
                ("result", grad_v),
            ],
            params,
            sizes.tile_grid(self.d_v),
        );
        let scalar = self.decay == Decay::Scalar;
        let kernel = self
            .scalar("linear_attention/chunk_bwd")
            .set("DECAYS", self.decays())
            .set("TRIANGLE", scalar);
        // The sums for the decays' gradients take longer beside products on matrix units than these save.
        let kernel = if scalar { kernel.set("COOP", false) } else { kernel };
        l.run(
            kernel,
            &[("grad_o", grad_o), ("v", v), ("scores", scores), ("table", table)],
            params,
            sizes.chunk_grid(),
        );
        if self.by_channel() {
            let channels = self.channels(FIELDS_BWD);
            let sums = channels.sums(l, io);
            let kernel = sizes
                .tile_kernel("chunks/channel_state_bwd")
                .set("CHANNEL", true)
                .set("QUADS", true);
            l.run(
                kernel,
                &[
                    ("v", v),
                    ("grad_o", grad_o),
                    ("states", states),
                    ("grad_states", grad_states),
                    ("table", table),
                    ("x1", sums.query),
                    ("x3", sums.key),
                    ("through", sums.through),
                ],
                params,
                sizes.tile_grid(self.d_k),
            );
            channels.lower_bwd(l, io, &sums, (scores, None), [grad_q, grad_k]);
            return;
        }
        let grid = self.key_grid(self.d_k.div_ceil(TILE) * self.chunks());
        let kernel = deep(self.scalar("chunks/query_key_bwd"));
        let bindings = [
            ("own", q),
            ("other", k),
            ("values", grad_o),
            ("states", states),
            ("e", scores),
            ("table", table),
            ("grad_own", grad_q),
        ];
        l.run(kernel.clone(), &bindings, params, grid);
        let bindings = [
            ("own", k),
            ("other", q),
            ("values", v),
            ("states", states),
            ("e", scores),
            ("table", table),
            ("grad_own", grad_k),
            ("grad_states", grad_states),
        ];
        l.run(kernel.set("KEYS", true), &bindings, params, grid);
        if scalar {
            let kernel = self.kernel("chunks/gate_bwd");
            let grad_g = grad_of("g", l);
            l.run(
                kernel,
                &[("table", table), ("grad_g", grad_g)],
                params,
                sizes.chunk_grid(),
            );
        }
    }
}
