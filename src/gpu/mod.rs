//! Everything that touches a GPU: adapter choice, shader text, lowering of calls to dispatches, and the executor.

pub mod adapter;
pub mod lower;
pub mod measure;
#[cfg(test)]
mod philox_tests;
mod pipeline;
mod runtime;
mod selftest;
pub mod shader;
#[cfg(test)]
mod tests;

pub use adapter::{Caps, Gpu, Options};
pub use runtime::GpuRuntime;
pub use selftest::trusted;

/// Shader sources, embedded when the crate is built.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
}

/// The names of all shader files, without those in `lib/`.
pub fn shader_names() -> impl Iterator<Item = &'static str> {
    embedded::SOURCES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.starts_with("lib/"))
}
