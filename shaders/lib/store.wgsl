// Rows of a tile to memory, without the padding. Imports: lib/tile, lib/chunk; the importing kernel defines
// `fn store(at: u32, value: Value)` for its output.

// Four columns of row `row` of a tensor of `width` columns, from n0 + 4 x on.
fn store_row(row: u32, n0: u32, width: u32, values: vec4<f32>) {
#if WIDE
    if n0 + 4u * x < width {
        store((row * width + n0 + 4u * x) / WIDTH, values);
    }
#else
#for c in 0..4
    if n0 + 4u * x + {c}u < width {
        store(row * width + n0 + 4u * x + {c}u, values[{c}]);
    }
#end
#endif
}

// Columns n0 .. of Q [B, T, H or 1, d_k] ..
fn store_queries(t: Tile, n0: u32) {
#for r in 0..4
    if is_query(4u * y + {r}u) {
        store_row(query_row(4u * y + {r}u), n0, params.d_k, t.r{r});
    }
#end
}

// .. of K [B, T HOUSEHOLDER, H or 1, d_k] ..
fn store_keys(t: Tile, n0: u32) {
#for r in 0..4
    if is_row(4u * y + {r}u) {
        store_row(key_row(4u * y + {r}u), n0, params.d_k, t.r{r});
    }
#end
}

// .. of V [B, T HOUSEHOLDER, H, d_v] ..
fn store_values(t: Tile, n0: u32) {
#for r in 0..4
    if is_row(4u * y + {r}u) {
        store_row(row(4u * y + {r}u), n0, params.d_v, t.r{r});
    }
#end
}

// .. and of O [B, T, H, d_v].
fn store_outputs(t: Tile, n0: u32) {
#for r in 0..4
    if is_query(4u * y + {r}u) {
        store_row(query(4u * y + {r}u), n0, params.d_v, t.r{r});
    }
#end
}
