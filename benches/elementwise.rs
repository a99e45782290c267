//! Gates, activations, short filters and the optimiser at the shapes of the registry: `cargo bench --bench elementwise`.

mod common;

fn main() {
    common::run(selectiv::bench::Family::Elementwise);
}
