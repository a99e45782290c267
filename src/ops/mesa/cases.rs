//! Hostile shapes and values of the op, for its tests and for `check`.

use super::Mesa;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Extents, HEADS, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::ops::chunks::cases::{Draw, LONG, equal_keys};
use crate::ops::delta_rule::CHUNK;
use crate::tensor::TensorId;

/// Sizes: `B, T, H, D, C`.
type Sizes = (usize, usize, usize, usize, usize);

/// What a case is made of.
struct Recipe {
    name: &'static str,
    sizes: Sizes,
    g: Draw,
    beta: Draw,
    /// All keys of a head are the same.
    equal_keys: bool,
    /// 1 + |M| / min lambda, where it is large.
    condition: Option<f64>,
}

impl Recipe {
    fn new(name: &'static str, sizes: Sizes, g: Draw) -> Self {
        Self {
            name,
            sizes,
            g,
            beta: Draw::Uniform(0.05, 0.95),
            equal_keys: false,
            condition: None,
        }
    }

    fn beta(mut self, beta: Draw) -> Self {
        self.beta = beta;
        self
    }

    fn equal_keys(mut self) -> Self {
        self.equal_keys = true;
        self
    }

    fn condition(mut self, condition: f64) -> Self {
        self.condition = Some(condition);
        self
    }

    fn case(self) -> Case {
        let (b, t, h, d, chunk) = self.sizes;
        let op = Mesa { b, t, h, d, chunk };
        let rows = b * t * h;
        let mut fill = Fill::new((t * 7 + d * 31) as u64);
        let q = fill.unit_rows(rows, d);
        let mut k = fill.unit_rows(rows, d);
        if self.equal_keys {
            equal_keys(&mut k, h * d);
        }
        let v = fill.normal(rows * d);
        let g = self.g.fill(&mut fill, rows);
        let beta = self.beta.fill(&mut fill, rows);
        let lambda = fill.uniform(h * d, 0.25, 2.0);
        let name = format!("B{b} T{t} H{h} D{d} C{chunk} {}", self.name);
        let inputs = [q, k, v, g, beta, lambda].map(Into::into);
        let mut case = Case::new(name.trim_end(), op, inputs.into());
        if let Some(condition) = self.condition {
            // M is rounded to f32 once, and what is read through its inverse by that times the condition number.
            let allowed = condition * f64::from(f32::EPSILON) / 2.0;
            let tensors = ["o", "d q", "d k", "d v", "d g", "d beta", "d lambda"];
            case.allowed = tensors.map(|name| (name, allowed)).into();
        }
        case
    }
}

/// Sizes around the chunk and the tiles of the kernels; gates and write strengths at their limits; decay that breaks
/// differences of prefix sums; keys that make M one large eigenvalue; then long sequences.
pub fn cases() -> Vec<Case> {
    const MILD: Draw = Draw::Uniform(-0.3, 0.0);
    const NONE: Draw = Draw::All(0.0);
    const MIXTURE: Draw = Draw::OneOf(&[0.0, -0.01, -1.0, -50.0, -4200.0, -1e4]);
    const BOTH: Draw = Draw::OneOf(&[0.0, 1.0]);
    let all = [
        Recipe::new("", (1, 1, 1, 4, 16), MILD),
        Recipe::new("", (2, 3, 1, 1, 64), MILD),
        Recipe::new("", (2, 15, 2, 4, 16), MILD),
        Recipe::new("", (1, 16, 1, 4, 16), MILD),
        Recipe::new(
            "gate and strength limits",
            (1, 17, 2, 3, 16),
            Draw::OneOf(&[0.0, -1e4]),
        )
        .beta(BOTH),
        Recipe::new("no writes", (1, 20, 1, 4, 16), MILD).beta(Draw::All(0.0)),
        Recipe::new("equal keys, no decay", (1, 33, 1, 4, 32), NONE).equal_keys(),
        Recipe::new("equal keys, no decay", (1, 130, 1, 16, 64), NONE)
            .beta(Draw::All(1.0))
            .equal_keys()
            .condition(1.0 + 130.0 / 0.25),
        Recipe::new("no decay", (1, 70, 1, 8, 64), NONE).beta(Draw::All(1.0)),
        Recipe::new("decay e^-1000", (1, 40, 2, 9, 32), Draw::All(-1e3)),
        Recipe::new("mixed decay", (1, 130, 1, 16, 64), MIXTURE),
        Recipe::new("strong decay", (1, 65, 1, 60, 64), Draw::Uniform(-16.0, 0.0)),
        Recipe::new("", (1, 33, 1, 81, 32), MILD),
        Recipe::new("", (1, 64, 1, 64, 64), MILD),
        Recipe::new("", (1, 20, 1, 70, 64), MILD),
        Recipe::new("no decay", (1, 40, 1, 128, 32), NONE),
        Recipe::new("", (1, 17, 1, 256, 16), MILD),
        Recipe::new("", (1, 1, 1, 256, 64), MILD),
        Recipe::new("", (1, 1, 2, 4, 32), MILD),
        Recipe::new("decay 0", (1, 40, 1, 8, 32), Draw::All(-1e4)).beta(Draw::All(1.0)),
        Recipe::new(
            "gate and strength limits",
            (1, 65, 1, 8, 64),
            Draw::OneOf(&[0.0, -1e4]),
        )
        .beta(BOTH),
        Recipe::new("equal keys", (1, 40, 2, 8, 16), MILD).equal_keys(),
        Recipe::new("hardly any decay", (1, 50, 1, 232, 64), Draw::Uniform(-0.01, 0.0)),
        Recipe::new("no decay", (1, 50, 1, 144, 64), NONE),
    ];
    let proof = [
        Recipe::new("", (1, 70, 2, 72, 64), MILD),
        Recipe::new("", (1, 40, 1, 33, 32), MILD),
    ];
    let proof = proof.into_iter().map(|recipe| recipe.case().self_test());
    let long = [
        Recipe::new("", (1, LONG, 2, 16, 64), MILD),
        Recipe::new("mixed decay", (1, LONG, 1, 8, 32), MIXTURE),
        Recipe::new("no decay", (1, LONG, 1, 4, 16), NONE),
    ];
    let long = long.into_iter().map(|recipe| recipe.case().long());
    all.into_iter()
        .map(Recipe::case)
        .chain(proof)
        .chain(long)
        .collect()
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let (d, chunk) = (D_K, CHUNK);
    let make = |Extents { b, t, h }| Mesa { b, t, h, d, chunk }.into();
    Bench::suite(scale, "mesa", HEADS, "128x128", make)
}

/// `mesa`.
pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    (g.name == "mesa").then(|| {
        g.only("scale", 1.0)?;
        let [b, t, h, d] = g.sizes("q")?;
        let op = Mesa {
            b,
            t,
            h,
            d,
            chunk: CHUNK,
        };
        let ins = g.inputs(&["q", "k", "v", "g", "beta", "lamb"])?;
        Ok(vec![("o", g.graph.call(op, &ins)?[0])])
    })
}
