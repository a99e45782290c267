//! Kernel variants as data: what an op lists (`GpuOp::VARIANTS`), and which of it a device runs.

use crate::tensor::Dtype;
use std::collections::BTreeMap;

/// What a variant needs of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// f16 x f16 -> f32 cooperative matrices of 16 x 16 x 16, and subgroups of exactly 32 invocations.
    pub coop: bool,
    /// Subgroup functions, and never fewer invocations in a subgroup than this, in order of the workgroup's; 0: none.
    pub subgroup: u32,
    /// Integers of 64 bits.
    pub int64: bool,
    /// Workgroup memory of its largest kernel, in bytes.
    pub workgroup_bytes: u32,
    /// Invocations of its largest workgroup.
    pub workgroup_threads: u32,
    /// Storage bindings of the kernel with the most.
    pub storage_bindings: u32,
}

impl Needs {
    /// What WebGPU guarantees.
    pub const WEBGPU: Self = Self {
        coop: false,
        subgroup: 0,
        int64: false,
        workgroup_bytes: 16_384,
        workgroup_threads: 256,
        storage_bindings: 8,
    };
}

/// A set of kernels that computes an op, forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// Its name, as files of kernels that only it has end in.
    pub name: &'static str,
    /// What it needs of an adapter.
    pub needs: Needs,
    /// How the activations of a call may be stored: f16 where any of them is.
    pub storage: &'static [Dtype],
    /// Kernels with a constant `COOP` that are run without cooperative matrices all the same.
    pub without_coop: &'static [&'static str],
}

impl Variant {
    /// Runs everywhere; the last of every list.
    pub const PLAIN: Self = Self {
        name: "plain",
        needs: Needs::WEBGPU,
        storage: &[Dtype::F32, Dtype::F16],
        without_coop: &[],
    };

    /// Products on cooperative matrices (matrix units) at the accuracy of f32: operands split into two f16.
    pub const fn coop(workgroup_bytes: u32) -> Self {
        let needs = Needs {
            coop: true,
            workgroup_bytes,
            ..Needs::WEBGPU
        };
        Self {
            name: "coop",
            needs,
            ..Self::PLAIN
        }
    }

    /// High halves of products, for random bits, from 64-bit integers.
    pub const INT64: Self = Self {
        name: "int64",
        needs: Needs {
            int64: true,
            ..Needs::WEBGPU
        },
        ..Self::PLAIN
    };

    /// What its self-test proves, such as `linear/coop f32`.
    pub fn proof(&self, op: &str, storage: Dtype) -> String {
        let storage = if storage == Dtype::F16 { "f16" } else { "f32" };
        format!("{op}/{} {storage}", self.name)
    }
}

/// What a self-test found: an error in words if the variant computes something else than the f64 twin.
pub type Verdict = Result<(), String>;

/// Which of the variants that an adapter offers a device runs.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Taken by every op that has it, before those that are listed first.
    pub forced: Option<&'static str>,
    /// By [`Variant::proof`]: a variant without a good one is not run, unless it is the last of its list. `None`: all are
    /// run, as the self-test itself and the tests do.
    pub verdicts: Option<BTreeMap<String, Verdict>>,
}

impl Choice {
    /// What failed its self-test, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.verdicts.iter().flatten();
        all.filter_map(|(proof, verdict)| Some((proof.as_str(), verdict.as_ref().err()?.as_str())))
    }

    /// Whether nothing speaks against a variant.
    pub fn trusts(&self, variant: &Variant, op: &str, storage: Dtype) -> bool {
        let good = |all: &BTreeMap<String, Verdict>| all.get(&variant.proof(op, storage)) == Some(&Ok(()));
        self.verdicts.as_ref().is_none_or(good)
    }
}
