//! Hostile shapes and values of the op, for its tests and for `check`.

use super::{CHUNK, DeltaRule};
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, D_V, Extents, HEADS, Scale};
use crate::cases::{Case, Golden, Values};
use crate::error::Result;
use crate::ops::Decay;
use crate::ops::chunks::cases::{Draw, LONG};
use crate::tensor::TensorId;

/// dg with (nearly) equal keys and no decay is a difference of sums that cancel; see the module docs.
const ILL_CONDITIONED: f64 = 1e-4;

/// Sizes: `B, T, H, d_k, d_v`.
type Sizes = (usize, usize, usize, usize, usize);

/// What a case is made of.
struct Recipe {
    name: &'static str,
    sizes: Sizes,
    /// Writes a token.
    householder: usize,
    chunk: usize,
    /// Pairwise correlation of the keys of a head.
    correlation: f32,
    beta: Draw,
    decay: Decay,
    /// Log decays, of which `decay` says how many.
    g: Draw,
    /// Whether queries and keys come at other lengths than 1.
    unit: bool,
}

impl Recipe {
    fn new(name: &'static str, sizes: Sizes, chunk: usize) -> Self {
        let (beta, g) = (Draw::Uniform(0.05, 0.95), Draw::Uniform(-0.3, 0.0));
        Self {
            name,
            sizes,
            householder: 1,
            chunk,
            correlation: 0.0,
            beta,
            decay: Decay::Scalar,
            g,
            unit: false,
        }
    }

    fn householder(mut self, householder: usize) -> Self {
        self.householder = householder;
        self
    }

    fn correlation(mut self, correlation: f32) -> Self {
        self.correlation = correlation;
        self
    }

    fn beta(mut self, beta: Draw) -> Self {
        self.beta = beta;
        self
    }

    fn g(mut self, g: Draw) -> Self {
        self.g = g;
        self
    }

    fn unit(mut self) -> Self {
        self.unit = true;
        self
    }

    fn plain(self) -> Self {
        self.decay(Decay::None)
    }

    fn channel(self) -> Self {
        self.decay(Decay::Channel)
    }

    fn decay(mut self, decay: Decay) -> Self {
        self.decay = decay;
        self
    }

    /// Run everywhere: of one write a token, chunks of 16, those of 32 by elements but not with decays by channel, and those
    /// of 64 by quads; two writes in chunks of 16; three, which leave a row over; four without decays by channel.
    fn alike(&self) -> bool {
        let (.., d_k, d_v) = self.sizes;
        let quads = d_k % 4 == 0 && d_v % 4 == 0;
        let channel = self.decay == Decay::Channel;
        match (self.householder, self.chunk) {
            (1, 32) => quads || channel,
            (1, 64) => !quads && d_k > 1,
            (1, _) | (3, _) => false,
            (2, chunk) => chunk > 16,
            (4, _) => channel,
            _ => true,
        }
    }

    fn case(&self) -> Case {
        let (b, t, h, d_k, d_v) = self.sizes;
        let scale = (d_k as f32).powf(-0.5);
        let op = DeltaRule {
            b,
            t,
            h,
            d_k,
            d_v,
            scale,
            decay: self.decay,
            householder: self.householder,
            chunk: self.chunk,
            unit: self.unit,
        };
        let tokens = b * t * h;
        let rows = tokens * self.householder;
        let mut fill = Fill::new((t * 7 + d_k * 31 + d_v) as u64);
        let mut q = fill.unit_rows(tokens, d_k);
        let mut k = fill.unit_rows(rows, d_k);
        if self.correlation > 0.0 {
            let common = fill.unit_rows(h, d_k);
            let (shared, own) = (self.correlation.sqrt(), (1.0 - self.correlation).sqrt());
            for (i, row) in k.chunks_mut(d_k).enumerate() {
                let common = &common[i % h * d_k..][..d_k];
                row.iter_mut()
                    .zip(common)
                    .for_each(|(x, c)| *x = own * *x + shared * c);
                let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter_mut().for_each(|x| *x /= norm);
            }
        }
        if self.unit {
            for (i, row) in q.chunks_mut(d_k).chain(k.chunks_mut(d_k)).enumerate() {
                row.iter_mut().for_each(|x| *x *= [1.0, 0.3, 4.0][i % 3]);
            }
        }
        let v = fill.normal(rows * d_v);
        let mut inputs: Vec<Values> = vec![
            q.into(),
            k.into(),
            v.into(),
            self.beta.fill(&mut fill, rows).into(),
        ];
        let gates = tokens * self.decay.width(d_k);
        if gates > 0 {
            inputs.push(self.g.fill(&mut fill, gates).into());
        }
        let decay = match self.decay {
            Decay::None => " plain",
            Decay::Constant => " constant",
            Decay::Scalar => "",
            Decay::Channel => " channel",
        };
        let householder = match self.householder {
            1 => String::new(),
            n => format!(" n{n}"),
        };
        let name = format!(
            "B{b} T{t} H{h} dk{d_k} dv{d_v} C{}{householder}{decay}{} {}",
            self.chunk,
            if self.unit { " unit" } else { "" },
            self.name
        );
        let mut case = Case::new(name.trim_end(), op, inputs).alike_if(self.alike());
        if self.correlation > 0.9 && matches!(self.g, Draw::All(0.0)) {
            case.allowed.push(("d g", ILL_CONDITIONED));
        }
        case
    }
}

/// Sizes around the chunk and around the tiles of the kernels; gates at their limits; keys that break a product-form
/// inverse; decay that breaks differences of prefix sums; then long sequences.
pub fn cases() -> Vec<Case> {
    const STRONG: Draw = Draw::Uniform(-16.0, 0.0);
    const MIXTURE: Draw = Draw::OneOf(&[0.0, -0.01, -1.0, -50.0, -1e4]);
    const REFLECTING: Draw = Draw::Uniform(0.0, 1.98);
    let recipes = [
        Recipe::new("", (1, 1, 1, 4, 4), 16),
        Recipe::new("", (2, 15, 2, 4, 4), 16),
        Recipe::new("", (1, 16, 1, 4, 4), 16),
        Recipe::new("strong decay", (1, 17, 1, 16, 32), 16).g(STRONG),
        Recipe::new("gate limits", (1, 17, 2, 3, 5), 16)
            .beta(Draw::OneOf(&[0.0, 1.0]))
            .g(Draw::OneOf(&[0.0, -1e4])),
        Recipe::new("one element", (1, 3, 1, 1, 1), 64).plain(),
        Recipe::new("", (1, 33, 2, 7, 3), 32).beta(REFLECTING),
        Recipe::new("", (2, 63, 1, 16, 32), 64),
        Recipe::new("", (1, 64, 2, 4, 4), 64).plain(),
        Recipe::new("", (2, 65, 2, 60, 100), 64),
        Recipe::new("decay e^-50", (1, 65, 1, 16, 32), 64).g(Draw::All(-50.0)),
        Recipe::new("decay 0", (1, 65, 1, 16, 32), 64).g(Draw::All(-1e4)),
        Recipe::new("mixed decay", (1, 130, 1, 16, 32), 64)
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("beta 0", (1, 70, 1, 16, 32), 64).beta(Draw::All(0.0)),
        Recipe::new("beta 1", (1, 70, 1, 16, 32), 64).beta(Draw::All(1.0)),
        Recipe::new("", (1, 70, 2, 64, 128), 64),
        Recipe::new("", (1, 33, 1, 81, 162), 32),
        Recipe::new("strong decay", (1, 20, 2, 128, 256), 64).g(STRONG),
        Recipe::new("", (1, 9, 1, 256, 256), 16),
        Recipe::new("", (1, 65, 1, 256, 256), 64),
        Recipe::new("aligned keys, strong decay", (1, 130, 1, 16, 16), 64)
            .correlation(0.99)
            .g(STRONG)
            .beta(REFLECTING),
        Recipe::new("keys correlated 0.99", (1, 130, 1, 32, 16), 64)
            .correlation(0.99)
            .g(Draw::All(0.0))
            .beta(REFLECTING),
        Recipe::new("equal keys", (1, 200, 1, 32, 16), 64)
            .correlation(1.0)
            .g(Draw::All(0.0))
            .beta(REFLECTING),
        Recipe::new("equal keys", (1, 130, 1, 32, 16), 32)
            .correlation(1.0)
            .g(Draw::Uniform(-0.1, 0.0))
            .beta(REFLECTING),
        Recipe::new("equal keys", (1, 250, 1, 16, 20), 64)
            .plain()
            .correlation(1.0)
            .beta(REFLECTING),
        Recipe::new("", (2, 9, 2, 4, 4), 16)
            .householder(2)
            .beta(REFLECTING),
        Recipe::new("", (1, 21, 1, 4, 5), 64).householder(3),
        Recipe::new("mixed decay", (1, 47, 2, 9, 18), 64)
            .householder(3)
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("", (1, 3, 1, 8, 4), 64)
            .householder(4)
            .beta(REFLECTING),
        Recipe::new("", (2, 16, 1, 16, 32), 64).householder(4),
        Recipe::new("strong decay", (1, 33, 2, 72, 144), 64)
            .householder(4)
            .g(STRONG)
            .beta(Draw::All(1.98)),
        Recipe::new("keys correlated 0.99", (1, 33, 1, 32, 16), 64)
            .householder(4)
            .correlation(0.99)
            .g(Draw::All(0.0))
            .beta(REFLECTING),
        Recipe::new("equal keys", (1, 50, 1, 32, 16), 64)
            .householder(4)
            .correlation(1.0)
            .g(Draw::All(0.0))
            .beta(REFLECTING),
        Recipe::new("beta 1", (1, 18, 1, 16, 16), 64)
            .householder(4)
            .beta(Draw::All(1.0)),
        Recipe::new("gate limits", (1, 13, 2, 7, 3), 32)
            .householder(5)
            .beta(Draw::OneOf(&[0.0, 1.0, 2.0]))
            .g(Draw::OneOf(&[0.0, -1e4])),
        Recipe::new("", (1, 12, 1, 5, 6), 64).householder(6).plain(),
        Recipe::new("beta 0", (1, 5, 2, 4, 4), 16)
            .householder(7)
            .beta(Draw::All(0.0)),
        Recipe::new("aligned keys, strong decay", (1, 17, 1, 16, 16), 64)
            .householder(8)
            .correlation(0.99)
            .g(STRONG)
            .beta(REFLECTING),
        Recipe::new("", (1, 1, 2, 4, 256), 32),
        Recipe::new("", (1, 1, 1, 256, 4), 64),
        Recipe::new("", (1, 1, 1, 4, 4), 64).householder(2),
        Recipe::new("no decay", (1, 65, 1, 16, 32), 64).g(Draw::All(0.0)),
        Recipe::new("gate limits", (1, 65, 2, 4, 8), 64)
            .beta(Draw::OneOf(&[0.0, 1.0]))
            .g(Draw::OneOf(&[0.0, -1e4])),
        Recipe::new("equal keys", (1, 50, 1, 16, 8), 16)
            .correlation(1.0)
            .beta(REFLECTING),
        Recipe::new("equal keys, beta 1", (1, 40, 1, 8, 4), 32)
            .plain()
            .correlation(1.0)
            .beta(Draw::All(1.0)),
        Recipe::new("beta 2", (1, 40, 1, 16, 16), 64)
            .householder(2)
            .beta(Draw::All(2.0)),
        Recipe::new("equal keys, beta 2", (1, 40, 1, 8, 4), 32)
            .householder(2)
            .plain()
            .correlation(1.0)
            .beta(Draw::All(2.0)),
        Recipe::new("", (2, 15, 2, 4, 4), 16).unit(),
        Recipe::new("", (1, 20, 1, 5, 3), 16)
            .unit()
            .householder(3)
            .plain(),
        Recipe::new("", (1, 70, 2, 48, 32), 64).unit(),
        Recipe::new("mixed decay", (1, 70, 2, 128, 72), 64)
            .unit()
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("", (1, 33, 2, 64, 36), 64).unit().householder(4),
        Recipe::new("", (1, 70, 1, 7, 16), 64).unit().plain(),
        Recipe::new("", (1, 70, 2, 81, 162), 64),
        Recipe::new("", (1, 65, 1, 81, 162), 64).unit(),
        Recipe::new("mixed decay", (1, 36, 1, 45, 90), 64)
            .unit()
            .householder(4)
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("", (1, 17, 1, 4, 8), 16).unit().channel(),
        Recipe::new("", (1, 3, 1, 4, 4), 16).decay(Decay::Constant),
        Recipe::new("", (1, 1, 1, 4, 4), 16).channel(),
        Recipe::new("", (2, 15, 2, 4, 4), 16).channel(),
        Recipe::new("gate limits", (1, 17, 2, 3, 5), 16)
            .channel()
            .beta(Draw::OneOf(&[0.0, 1.0]))
            .g(Draw::OneOf(&[0.0, -1e4])),
        Recipe::new("strong decay", (1, 33, 1, 5, 3), 32)
            .channel()
            .g(STRONG),
        Recipe::new("one channel", (1, 20, 1, 1, 2), 16)
            .channel()
            .g(MIXTURE),
        Recipe::new("", (2, 65, 2, 60, 100), 64).channel(),
        Recipe::new("mixed decay", (1, 130, 1, 16, 32), 64)
            .channel()
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("decay 0", (1, 65, 1, 16, 8), 64)
            .channel()
            .g(Draw::All(-1e4)),
        Recipe::new("beta 0", (1, 70, 1, 16, 32), 32)
            .channel()
            .beta(Draw::All(0.0)),
        Recipe::new("equal keys", (1, 130, 1, 16, 16), 64)
            .channel()
            .correlation(1.0)
            .beta(REFLECTING),
        Recipe::new("equal keys", (1, 70, 1, 16, 8), 32)
            .channel()
            .correlation(1.0)
            .g(Draw::All(0.0)),
        Recipe::new("", (1, 33, 1, 81, 162), 32).channel(),
        Recipe::new("", (1, 9, 1, 256, 256), 16).channel(),
        Recipe::new("strong decay", (1, 20, 1, 128, 256), 64)
            .channel()
            .g(STRONG),
        Recipe::new("", (2, 9, 2, 4, 4), 16)
            .channel()
            .householder(2)
            .beta(REFLECTING),
        Recipe::new("mixed decay", (1, 47, 2, 9, 18), 64)
            .channel()
            .householder(3)
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("strong decay", (1, 33, 1, 20, 12), 64)
            .channel()
            .householder(4)
            .g(STRONG)
            .beta(Draw::All(1.98)),
        Recipe::new("gate limits", (1, 13, 2, 7, 3), 32)
            .channel()
            .householder(5)
            .beta(Draw::OneOf(&[0.0, 1.0, 2.0]))
            .g(Draw::OneOf(&[0.0, -1e4])),
    ];
    let proof = [
        Recipe::new("", (1, 70, 2, 72, 100), 64).householder(2),
        Recipe::new("", (1, 40, 1, 33, 81), 32),
        Recipe::new("", (1, 70, 2, 81, 162), 64).unit(),
        Recipe::new("", (1, 70, 1, 81, 162), 64).channel(),
        Recipe::new("", (1, 70, 2, 72, 100), 64).channel(),
        Recipe::new("", (1, 70, 2, 8, 5), 64)
            .decay(Decay::Constant)
            .householder(2),
        Recipe::new("", (1, 30, 1, 16, 16), 32).plain(),
        Recipe::new("", (1, 130, 2, 128, 96), 64).beta(REFLECTING),
        Recipe::new("mixed decay", (2, 65, 1, 32, 64), 64).g(MIXTURE),
        Recipe::new("", (1, 40, 1, 48, 64), 64)
            .decay(Decay::Constant)
            .householder(4),
        Recipe::new("", (1, 70, 2, 128, 64), 64).unit(),
        Recipe::new("", (1, 40, 1, 16, 32), 64)
            .unit()
            .householder(4)
            .plain(),
    ];
    let long = [
        Recipe::new("", (1, LONG, 2, 16, 32), 64),
        Recipe::new("no decay", (1, LONG, 1, 4, 8), 32).g(Draw::All(0.0)),
        Recipe::new("mixed decay", (1, LONG, 1, 8, 4), 16)
            .g(MIXTURE)
            .beta(REFLECTING),
        Recipe::new("", (1, LONG, 2, 16, 8), 64).plain(),
        Recipe::new("equal keys", (1, LONG, 1, 8, 4), 64)
            .correlation(1.0)
            .beta(REFLECTING),
        Recipe::new("", (1, LONG, 1, 8, 16), 64)
            .householder(2)
            .beta(REFLECTING),
        Recipe::new("", (1, LONG, 1, 8, 4), 32).householder(2).plain(),
        Recipe::new("", (1, LONG, 2, 16, 8), 64).channel(),
        Recipe::new("mixed decay", (1, LONG, 1, 8, 4), 32)
            .channel()
            .g(MIXTURE)
            .beta(REFLECTING),
    ];
    let proof = proof.iter().map(|recipe| recipe.case().self_test());
    let long = long.iter().map(|recipe| recipe.case().long());
    recipes
        .iter()
        .map(Recipe::case)
        .chain(proof)
        .chain(long)
        .collect()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let of = |kind, width, decay, householder| {
        Bench::suite(scale, kind, HEADS, width, |Extents { b, t, h }| {
            let (d_k, d_v, chunk) = (D_K, D_V, CHUNK);
            let scale = (D_K as f32).powf(-0.5);
            let op = DeltaRule {
                b,
                t,
                h,
                d_k,
                d_v,
                scale,
                decay,
                householder,
                chunk,
                unit: false,
            };
            op.into()
        })
    };
    [
        of("delta_rule", "128x256", Decay::None, 1),
        of("gated_delta_rule", "128x256", Decay::Scalar, 1),
        of("gated_delta_product", "128x256 n4", Decay::Scalar, 4),
        of("kda", "128x256", Decay::Channel, 1),
    ]
    .concat()
}

/// `delta_rule`, `gated_delta_rule`, `gated_delta_product` and `kda`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    let (decay, names): (Decay, &[&str]) = match g.name {
        "delta_rule" => (Decay::None, &["q", "k", "v", "beta"]),
        "gated_delta_rule" | "gated_delta_product" => (Decay::Scalar, &["q", "k", "v", "beta", "g"]),
        "kda" => (Decay::Channel, &["q", "k", "v", "beta", "gk"]),
        _ => return None,
    };
    let build = |g: &mut Golden<'_>| {
        let [[b, t, h, d_k], [_, rows, ..], [.., d_v]] = [g.sizes("q")?, g.sizes("k")?, g.sizes("v")?];
        let op = DeltaRule {
            b,
            t,
            h,
            d_k,
            d_v,
            scale: g.scale(d_k),
            decay,
            householder: rows / t.max(1),
            chunk: CHUNK,
            unit: false,
        };
        let ins = g.inputs(names)?;
        Ok(vec![("o", g.graph.call(op, &ins)?[0])])
    };
    Some(build(g))
}
