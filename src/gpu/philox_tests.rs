//! `shaders/lib/philox.wgsl` against the generator's known answers: no op draws bits for a counter of one's choice.

use super::entry::compute;
use super::{Gpu, Options, adapter};
use crate::philox::philox4x32;
use crate::philox::tests::KNOWN;
use crate::shader::Kernel;

const ENTRY: &str = "
@group(0) @binding(0) var<storage, read_write> words: array<vec4<u32>>; // counter, key and the place of the bits

@compute @workgroup_size(1)
fn draw(@builtin(workgroup_id) id: vec3<u32>) {
    let at = 3u * id.x;
    words[at + 2u] = philox4x32(words[at], words[at + 1u].xy);
}
";

/// Bits for each counter and key, with or without 64-bit integers.
fn draw(gpu: &Gpu, int64: bool, inputs: &[([u32; 4], [u32; 2])]) -> Vec<[u32; 4]> {
    let kernel = Kernel::new("lib/philox").set("INT64", int64);
    let text = kernel.expand().unwrap() + ENTRY;
    let words: Vec<u32> = inputs
        .iter()
        .flat_map(|(c, k)| [c[0], c[1], c[2], c[3], k[0], k[1], 0, 0, 0, 0, 0, 0])
        .collect();
    let words = compute(gpu, text, "draw", (0, &words), None, inputs.len() as u32);
    words.chunks(12).map(|w| [w[8], w[9], w[10], w[11]]).collect()
}

#[test]
fn gives_the_known_answers() {
    let known: Vec<_> = KNOWN.iter().map(|(c, k, _)| (*c, *k)).collect();
    let mut chained = vec![([1, 2, 3, 4], [5, 6])];
    for i in 0..200 {
        let (c, k): ([u32; 4], [u32; 2]) = chained[i];
        chained.push((philox4x32(c, k), [c[0] ^ k[1], c[1] ^ k[0]]));
    }
    for a in &adapter::adapters() {
        let gpu = Gpu::open(a, Options::default()).unwrap();
        for int64 in [false, true] {
            if int64 && !adapter::caps(a).int64 {
                continue;
            }
            let got = draw(&gpu, int64, &known);
            let want: Vec<_> = KNOWN.iter().map(|k| k.2).collect();
            assert_eq!(got, want, "{}, int64 {int64}", gpu.description());
            let want: Vec<_> = chained.iter().map(|(c, k)| philox4x32(*c, *k)).collect();
            assert!(
                draw(&gpu, int64, &chained) == want,
                "{}, int64 {int64}: other bits than the CPU's",
                gpu.description()
            );
        }
    }
}
