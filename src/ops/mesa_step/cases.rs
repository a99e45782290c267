//! Hostile shapes and values of the op, for its tests and for `check`.

use super::MesaStep;
use crate::cases::Fill;
use crate::cases::bench::{Bench, D_K, Extents, Family, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

/// What a case is made of.
struct Recipe {
    name: &'static str,
    /// Tokens that the states remember.
    past: usize,
    /// Log decay and write strength of every head.
    g: f32,
    beta: f32,
    /// All keys of a head are the same.
    equal_keys: bool,
    /// Of queries.
    scale: f32,
}

const USUAL: Recipe = Recipe {
    name: "",
    past: 20,
    g: -0.1,
    beta: 0.7,
    equal_keys: false,
    scale: 1.0,
};

impl Recipe {
    fn case(self, b: usize, h: usize, d: usize) -> Case {
        let op = MesaStep { b, h, d };
        let heads = b * h;
        let mut fill = Fill::new((heads * 7 + d * 31 + self.past) as u64);
        let mut q = fill.unit_rows(heads, d);
        q.iter_mut().for_each(|x| *x *= self.scale);
        let k = fill.unit_rows(heads, d);
        let (mut m, mut n) = (vec![0.0; heads * d * d], vec![0.0; heads * d * d]);
        for _ in 0..self.past {
            let keys = if self.equal_keys {
                k.clone()
            } else {
                fill.unit_rows(heads, d)
            };
            let values = fill.normal(heads * d);
            for (at, (m, n)) in m.iter_mut().zip(&mut n).enumerate() {
                let (row, column) = (at / d, at / (d * d) * d + at % d);
                *m += keys[row] * keys[column];
                *n += keys[row] * values[column];
            }
        }
        let inputs = [
            q,
            k,
            fill.normal(heads * d),
            vec![self.g; heads],
            vec![self.beta; heads],
            fill.uniform(h * d, 0.25, 2.0),
            m,
            n,
        ];
        let name = format!("B{b} H{h} D{d} {}", self.name);
        Case::new(name.trim_end(), op, inputs.map(Into::into).into())
    }
}

/// Narrow, odd and widest heads; the first token; gates and strengths at their limits; keys that make M one large
/// eigenvalue; queries whose squares are no numbers.
pub fn cases() -> Vec<Case> {
    let named = |name| Recipe { name, ..USUAL };
    vec![
        USUAL.case(1, 1, 1),
        USUAL.case(2, 3, 4),
        USUAL.case(3, 2, 7),
        USUAL.case(1, 2, 64),
        USUAL.case(2, 1, 81),
        USUAL.case(1, 2, 128),
        USUAL.case(1, 1, 256),
        Recipe {
            past: 0,
            ..named("first token")
        }
        .case(2, 2, 16),
        Recipe {
            g: -1e4,
            ..named("forgets all")
        }
        .case(1, 2, 16),
        Recipe {
            g: 0.0,
            beta: 0.0,
            ..named("nothing new")
        }
        .case(1, 2, 16),
        Recipe {
            g: 0.0,
            past: 100,
            equal_keys: true,
            ..named("equal keys")
        }
        .case(1, 2, 16),
        Recipe {
            scale: 1e-25,
            ..named("tiny queries")
        }
        .case(1, 2, 5),
        Recipe {
            scale: 0.0,
            ..named("no queries")
        }
        .case(1, 2, 5),
    ]
}

/// What is timed.
pub fn benches(scale: Scale) -> Vec<Bench> {
    let Extents { b, h, .. } = scale.paper();
    let op = MesaStep { b, h, d: D_K };
    vec![Bench::token(Family::Recurrences, format!("B{b} H{h} {D_K}"), op)]
}

/// None: the tests run it over whole sequences.
pub fn golden(_g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
    None
}
