//! Hostile shapes, timed shapes and golden entries of all ops.

use crate::cases::bench::{Bench, Scale};
use crate::cases::{Case, Golden};
use crate::error::Result;
use crate::tensor::TensorId;

macro_rules! all_cases {
    ($($module:ident :: $op:ident),* $(,)?) => {
        /// Hostile shapes and values of all ops, for `check`.
        pub fn cases() -> Vec<Case> {
            [$(super::$module::cases::cases()),*].concat()
        }

        /// What is timed of all ops.
        pub fn benches(scale: Scale) -> Vec<Bench> {
            [$(super::$module::cases::benches(scale)),*].concat()
        }

        /// Builds the op of a golden file's entry and returns its outputs under their names in the file, or `None` if
        /// no op knows the entry's name.
        pub fn golden(g: &mut Golden<'_>) -> Option<Result<Vec<(&'static str, TensorId)>>> {
            $(if let Some(outputs) = super::$module::cases::golden(g) {
                return Some(outputs);
            })*
            None
        }
    };
}

op_list!(all_cases);
