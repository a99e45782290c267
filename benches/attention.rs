//! Softmax attention and rotary positions at the shapes of the registry: `cargo bench --bench attention`.

mod common;

fn main() {
    common::run(selectiv::bench::Family::Attention);
}
