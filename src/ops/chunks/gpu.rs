//! What the lowerings of the chunkwise recurrences share: grids, tables and parameters of `shaders/lib/chunk.wgsl`.

use super::{Sizes, TILE};
use crate::launch::{Lower, View};
use crate::shader::Kernel;
use crate::variant::Variant;
use bytemuck::{Pod, Zeroable};

/// Fields of the forward table: decays in and out, and beta or the log decay.
pub(crate) const FIELDS_FWD: usize = 3;

/// Those, the rectangle sums, four partial sums each of dbeta, X1 . q, X2 . k, X3 . k, and <S, D>.
pub(crate) const FIELDS_BWD: usize = 21;

/// Tile products (`shaders/lib/tile.wgsl`) on cooperative matrices, but for those of some kernels.
pub(crate) const fn coop(without_coop: &'static [&'static str]) -> Variant {
    Variant {
        without_coop,
        ..Variant::coop(24_576)
    }
}

/// Mirrors `Params` of `shaders/lib/chunk.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    t: u32,
    h: u32,
    chunks: u32,
    d_k: u32,
    d_v: u32,
    scale: f32,
    fields: u32,
    padding: u32,
    /// Chunks, four times: what loops end at, for drivers that shall not unroll them.
    ends: [u32; 4],
}

/// A kernel that forms no triangle, with products that take 32 of their inner dimension at a time on matrix units: two workgroups a
/// multiprocessor instead of three, half the barriers, and operands whose rows run along it are read 128 bytes a row.
pub(crate) fn deep(kernel: Kernel) -> Kernel {
    kernel.set("TRIANGLE", false).set("DEPTH", 32)
}

impl Sizes {
    /// Parameters of all kernels, for a table of so many fields.
    pub(crate) fn params(self, scale: f32, fields: usize) -> Params {
        Params {
            t: self.t as u32,
            h: self.h as u32,
            chunks: self.chunks() as u32,
            d_k: self.d_k as u32,
            d_v: self.d_v as u32,
            scale,
            fields: fields as u32,
            padding: 0,
            ends: [self.chunks() as u32; 4],
        }
    }

    /// A kernel over chunks.
    pub(crate) fn kernel(self, path: &'static str) -> Kernel {
        let kernel = Kernel::new(path).set("CHUNK", self.chunk);
        if kernel.declares("VEC") {
            let quads = self.d_k.is_multiple_of(4) && self.d_v.is_multiple_of(4);
            return kernel.set("VEC", quads);
        }
        kernel
    }

    /// Whether a variant computes chunks of this length: on matrix units they have 64 rows.
    pub(crate) fn takes(self, variant: &Variant) -> bool {
        !variant.needs.coop || self.chunk == TILE
    }

    /// A kernel over chunks that forms no triangle: on matrix units it needs less workgroup memory, so that three workgroups
    /// fit on a multiprocessor.
    pub(crate) fn tile_kernel(self, path: &'static str) -> Kernel {
        self.kernel(path).set("TRIANGLE", false)
    }

    /// A kernel that takes keys by quads where rows are made of them.
    pub(crate) fn key_kernel(self, path: &'static str) -> Kernel {
        self.kernel(path).set("WIDE", self.d_k.is_multiple_of(4))
    }

    /// `per_head` workgroups for each head of each sequence.
    pub(crate) fn grid(self, per_head: usize) -> [u32; 3] {
        [per_head as u32, self.h as u32, self.b as u32]
    }

    /// A workgroup a chunk.
    pub(crate) fn chunk_grid(self) -> [u32; 3] {
        self.grid(self.chunks())
    }

    /// A workgroup for each 64 of `width` columns of a chunk.
    pub(crate) fn tile_grid(self, width: usize) -> [u32; 3] {
        self.grid(width.div_ceil(TILE) * self.chunks())
    }

    /// A workgroup for each C rows and 64 columns of a head's state.
    pub(crate) fn state_grid(self) -> [u32; 3] {
        self.grid(self.d_k.div_ceil(self.chunk) * self.d_v.div_ceil(TILE))
    }

    /// Scratch for `rows` rows of C words a chunk and head.
    pub(crate) fn scratch(self, l: &mut Lower<'_>, rows: usize) -> View {
        l.scratch(self.b * self.h * self.chunks() * rows * self.chunk)
    }
}
