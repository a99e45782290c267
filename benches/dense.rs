//! Matrix products, and the head that is made of them, at the shapes of the registry: `cargo bench --bench dense`.

mod common;

fn main() {
    common::run(selectiv::bench::Family::Dense);
}
