// P = tril of sum_x q_ix k_jx exp(sum of gk_mx over j < m <= i) of a chunk or, OF_KEYS, G, the same of k and k below the
// diagonal, by sub-blocks of four rows. A workgroup a (chunk, h, b), 16 channels at a time; grid (chunks, H, B). Source: Yang et al. 2024, section 4 (secondary chunking).
const CHUNK: u32 = 64;
const THREADS: u32 = CHUNK * 4;
const DIAGONAL: u32 = CHUNK / 4 * 10; // pairs inside sub-blocks: an invocation each
const OF_KEYS: bool = false;
alias t_q = f32;
alias t_k = f32;
#import lib/chunk
#import lib/channel

#if WIDE
alias a_q = vec4<t_q>;
alias a_k = vec4<t_k>;
#else
alias a_q = t_q;
alias a_k = t_k;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> gk: array<Value>; // [B, T, H, d_k]
@group(0) @binding(2) var<storage, read_write> scores: array<f32>; // [B, H, chunks, C, C]: P or G
#if !OF_KEYS
@group(0) @binding(3) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
#endif
@group(0) @binding(4) var<uniform> params: Params;

// Rows of 16 channels: as they are, then decayed from the start or to the end of their sub-blocks.
var<workgroup> q_rows: array<vec4<f32>, THREADS>;
var<workgroup> k_rows: array<vec4<f32>, THREADS>;
var<workgroup> g_rows: array<vec4<f32>, THREADS>;
var<workgroup> totals: array<vec4<f32>, CHUNK>; // of sub-blocks

@compute @workgroup_size({THREADS})
fn channel_prep_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    // A tile of 4 x 4 pairs an invocation.
    let y = lane / 16u;
    let x = lane % 16u;
#for r in 0..4
    var t{r} = vec4(0.0);
#end
    // A pair inside a sub-block: rows 0, 1 1, 2 2 2, 3 3 3 3.
    let pair = lane % 10u;
    let r = select(0u, 1u, pair >= 1u) + select(0u, 1u, pair >= 3u) + select(0u, 1u, pair >= 6u);
    let i = lane / 10u * 4u + r;
    let j = lane / 10u * 4u + pair - r * (r + 1u) / 2u;
    var inside = 0.0;

    let my_row = lane / 4u;
    for (var j0 = 0u; j0 < params.d_k; j0 += 16u) {
        let col = j0 + lane % 4u * 4u;
        var q4 = vec4(0.0);
        var k4 = vec4(0.0);
#if WIDE
        let key = in_keys(my_row, col);
        k4 = select(q4, vec4<f32>(k[key.at]), key.ok);
#if !OF_KEYS
        let spot = in_queries(token(my_row), col);
        q4 = select(q4, vec4<f32>(q[spot.at]), spot.ok & is_row(my_row) & is_last(my_row));
#endif
#else
        if is_row(my_row) {
            let at = row(my_row) * params.d_k + col;
#for c in 0..4
            if col + {c}u < params.d_k {
                k4[{c}] = f32(k[at + {c}u]);
#if !OF_KEYS
                if is_last(my_row) {
                    q4[{c}] = f32(q[query(token(my_row)) * params.d_k + col + {c}u]);
                }
#endif
            }
#end
        }
#endif
#if OF_KEYS
        q4 = k4;
#endif
        workgroupBarrier();
        q_rows[lane] = q4;
        k_rows[lane] = k4;
        g_rows[lane] = gates(my_row, col);
        workgroupBarrier();
        if lane < DIAGONAL {
            for (var quad = 0u; quad < 4u; quad++) {
                var sum = vec4(0.0);
                for (var m = j + 1u; m <= i; m++) {
                    sum += g_rows[m * 4u + quad];
                }
                inside += dot(q_rows[i * 4u + quad] * k_rows[j * 4u + quad], exp(sum));
            }
        }
        var from_start = vec4(0.0);
        for (var m = my_row - my_row % 4u; m <= my_row; m++) {
            from_start += g_rows[m * 4u + lane % 4u];
        }
        var to_end = vec4(0.0);
        for (var m = my_row + 1u; m % 4u > 0u; m++) {
            to_end += g_rows[m * 4u + lane % 4u];
        }
        workgroupBarrier();
        q_rows[lane] = q4 * exp(from_start);
        k_rows[lane] = k4 * exp(to_end);
        if my_row % 4u == 3u {
            totals[my_row / 4u * 4u + lane % 4u] = from_start;
        }
        workgroupBarrier();
        if x < y {
            for (var quad = 0u; quad < 4u; quad++) {
                var between = vec4(0.0);
                for (var m = x + 1u; m < y; m++) {
                    between += totals[m * 4u + quad];
                }
                let reach = exp(between);
#for r in 0..4
                let q{r} = q_rows[(4u * y + {r}u) * 4u + quad] * reach;
#end
#for c in 0..4
                let k{c} = k_rows[(4u * x + {c}u) * 4u + quad];
#end
#for r in 0..4
                t{r} += vec4(dot(q{r}, k0), dot(q{r}, k1), dot(q{r}, k2), dot(q{r}, k3));
#end
            }
        }
    }
    let base = block() * CHUNK * CHUNK;
    if lane < DIAGONAL {
#if OF_KEYS
        scores[base + i * CHUNK + j] = select(inside, 0.0, i == j);
#else
        scores[base + i * CHUNK + j] = inside;
#endif
    }
    if x < CHUNK / 4u {
#for r in 0..4
#for c in 0..4
        if x != y || {c}u > {r}u {
            scores[base + (4u * y + {r}u) * CHUNK + 4u * x + {c}u] = t{r}[{c}];
        }
#end
#end
    }
}
