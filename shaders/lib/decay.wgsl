// Decay factors inside a chunk, each the exponential of a sum of non-positive log decays, and sums for the gradients of
// the log decays. Imports: lib/tile, lib/chunk; the importing kernel has a binding `table`.
#import lib/factors

// Sums of the strictly lower triangle of a tile over i >= t > j, for every row t.
fn write_rectangles(m: Tile, lane: u32) {
    set_triangle(m);
    workgroupBarrier();
    // Sums down the columns from row i on, four columns an invocation; then along the rows.
    if lane < CHUNK / 4u {
        var sum = vec4(0.0);
        for (var i = CHUNK; i > 4u * lane; i--) {
            sum += pool[triangle_at(i - 1u, lane)];
            pool[triangle_at(i - 1u, lane)] = sum;
        }
    }
    workgroupBarrier();
    if lane < CHUNK {
        var sum = 0.0;
        for (var j = 0u; j < lane; j++) {
            sum += triangle(lane, j);
        }
        table[entry(RECTANGLE, lane)] = sum;
    }
}

// exp(sum of log_decay over (j, i]) for the 4 x 4 rows i and columns j of this invocation, 0 above the diagonal.
// Between two blocks of four the sum is: the first rows of i's block, the blocks between, the last rows of j's
// block.
fn gam_tile() -> Tile {
#if DECAYS
    if x > y {
        return Tile(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    }
    let g1 = log_decay[4u * x + 1u];
    let g2 = log_decay[4u * x + 2u];
    let g3 = log_decay[4u * x + 3u];
    if x == y {
        return Tile(
            vec4(1.0, 0.0, 0.0, 0.0),
            vec4(exp(g1), 1.0, 0.0, 0.0),
            vec4(exp(g1 + g2), exp(g2), 1.0, 0.0),
            vec4(exp(g1 + g2 + g3), exp(g2 + g3), exp(g3), 1.0),
        );
    }
    var between = 0.0;
    for (var m = 4u * (x + 1u); m < 4u * y; m++) {
        between += log_decay[m];
    }
    let right = vec4(g1 + g2 + g3, g2 + g3, g3, 0.0) + between;
    let l0 = log_decay[4u * y];
    let l1 = l0 + log_decay[4u * y + 1u];
    let l2 = l1 + log_decay[4u * y + 2u];
    let l3 = l2 + log_decay[4u * y + 3u];
    return Tile(exp(right + l0), exp(right + l1), exp(right + l2), exp(right + l3));
#else
    if x > y {
        return Tile(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    }
    if x < y {
        return Tile(vec4(1.0), vec4(1.0), vec4(1.0), vec4(1.0));
    }
    return Tile(
        vec4(1.0, 0.0, 0.0, 0.0), vec4(1.0, 1.0, 0.0, 0.0), vec4(1.0, 1.0, 1.0, 0.0), vec4(1.0, 1.0, 1.0, 1.0),
    );
#endif
}
