// Decay by channel inside a chunk, in sub-blocks of four tokens. A pair of tokens in different sub-blocks decays from one
// to the end of its sub-block, through those between and from the start of the other's: three factors, each the
// exponential of a sum of non-positive log decays or a product of such. Pairs inside a sub-block are formed one by
// one. Imports: lib/chunk; the importing kernel has a binding `gk` of Value, [B, T, H, d_k].

// Clamped log decays of four channels at row i, where it is the first of a token, else 0.
fn gates(i: u32, j: u32) -> vec4<f32> {
    let at = query(token(i)) * params.d_k + j;
    let inside = is_row(i) & is_first(i);
#if WIDE
    let here = inside & (j < params.d_k);
    return select(vec4(0.0), max(gk[select(0u, at / 4u, here)], vec4(-1e4)), here);
#else
    var g = vec4(0.0);
#for c in 0..4
    if inside & (j + {c}u < params.d_k) {
        g[{c}] = max(gk[at + {c}u], -1e4);
    }
#end
    return g;
#endif
}

// Sum of the gates of rows first .. last - 1.
fn gate_sum(first: u32, last: u32, j: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var m = first; m < last; m++) {
        sum += gates(m, j);
    }
    return sum;
}
