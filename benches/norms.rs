//! Norms of rows at the shapes of the registry: `cargo bench --bench norms`.

mod common;

fn main() {
    common::run(selectiv::bench::Family::Norms);
}
