// P = tril of sum_x q_ix k_jx exp(sum of gk_mx over j < m <= i) of a chunk or, OF_KEYS, G, the same of k and k below the
// diagonal, by sub-blocks of four rows, four of which are a block. A workgroup a (chunk, h, b), 16 channels at a time; grid
// (chunks, H, B). Source: Yang et al. 2024, section 4 (secondary chunking).
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
// Log decays of sub-blocks; from the start of their block of four to them, from them to its end; of whole blocks.
var<workgroup> totals: array<vec4<f32>, CHUNK>;
var<workgroup> before: array<vec4<f32>, CHUNK>;
var<workgroup> after: array<vec4<f32>, CHUNK>;
var<workgroup> blocks: array<vec4<f32>, {CHUNK / 4}>;

// Four columns of a query, at the last row of its token, and of a key.
fn query_at(i: u32, j: u32) -> vec4<f32> {
#if OF_KEYS
    return key_at(i, j);
#else
    var value = vec4(0.0);
#if WIDE
    let spot = in_queries(token(i), j);
    value = select(value, vec4<f32>(q[spot.at]), spot.ok & is_row(i) & is_last(i));
#else
#for c in 0..4
    if is_row(i) & is_last(i) & (j + {c}u < params.d_k) {
        value[{c}] = f32(q[query(token(i)) * params.d_k + j + {c}u]);
    }
#end
#endif
    return value;
#endif
}

fn key_at(i: u32, j: u32) -> vec4<f32> {
    var value = vec4(0.0);
#if WIDE
    let spot = in_keys(i, j);
    value = select(value, vec4<f32>(k[spot.at]), spot.ok);
#else
#for c in 0..4
    if is_row(i) & (j + {c}u < params.d_k) {
        value[{c}] = f32(k[row(i) * params.d_k + j + {c}u]);
    }
#end
#endif
    return value;
}

@compute @workgroup_size({THREADS})
fn channel_prep_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    // A tile of 4 x 4 pairs an invocation.
    let y = lane / 16u;
    let x = lane % 16u;
#for r in 0..4
    var t{r} = vec4(0.0);
#end
    // Blocks of four sub-blocks between theirs.
    let apart = select(0u, y / 4u - x / 4u, x < y);
    // A pair inside a sub-block: rows 0, 1 1, 2 2 2, 3 3 3 3.
    let pair = lane % 10u;
    let r = select(0u, 1u, pair >= 1u) + select(0u, 1u, pair >= 3u) + select(0u, 1u, pair >= 6u);
    let c = pair - r * (r + 1u) / 2u;
    let first = lane / 10u * 4u;
    var inside = 0.0;

    let my_row = lane / 4u;
    let my_first = my_row / 4u * 16u + lane % 4u;
    let my_quad = lane % 4u * 4u;
    // The next rows are asked for before the products that use those before.
    var q4 = query_at(my_row, my_quad);
    var k4 = key_at(my_row, my_quad);
    var g4 = gates(my_row, my_quad);
    for (var j0 = 0u; j0 < params.d_k; j0 += 16u) {
        workgroupBarrier();
        q_rows[lane] = q4;
        k_rows[lane] = k4;
        g_rows[lane] = g4;
        workgroupBarrier();
        if lane < DIAGONAL {
            for (var quad = 0u; quad < 4u; quad++) {
                var sum = vec4(0.0);
#for m in 1..4
                sum += select(vec4(0.0), g_rows[(first + {m}u) * 4u + quad], ({m}u > c) & ({m}u <= r));
#end
                inside += dot(q_rows[(first + r) * 4u + quad] * k_rows[(first + c) * 4u + quad], exp(sum));
            }
        }
        var from_start = vec4(0.0);
        var to_end = vec4(0.0);
#for m in 0..4
        {
            let here = g_rows[my_first + {4 * m}u];
            from_start += select(vec4(0.0), here, {m}u <= my_row % 4u);
            to_end += select(vec4(0.0), here, {m}u > my_row % 4u);
        }
#end
        workgroupBarrier();
        q_rows[lane] = q4 * exp(from_start);
        k_rows[lane] = k4 * exp(to_end);
        if my_row % 4u == 3u {
            totals[my_row / 4u * 4u + lane % 4u] = from_start;
        }
        workgroupBarrier();
        if lane < CHUNK {
            let block = lane / 16u * 16u + lane % 4u;
            let sub = lane / 4u % 4u;
            var start = vec4(0.0);
            var end = vec4(0.0);
            var whole = vec4(0.0);
#for m in 0..4
            {
                let here = totals[block + {4 * m}u];
                start += select(vec4(0.0), here, {m}u < sub);
                end += select(vec4(0.0), here, {m}u > sub);
                whole += here;
            }
#end
            before[lane] = start;
            after[lane] = end;
            if sub == 0u {
                blocks[lane / 16u * 4u + lane % 4u] = whole;
            }
        }
        q4 = query_at(my_row, j0 + 16u + my_quad);
        k4 = key_at(my_row, j0 + 16u + my_quad);
        g4 = gates(my_row, j0 + 16u + my_quad);
        workgroupBarrier();
        if x < y {
            for (var quad = 0u; quad < 4u; quad++) {
                var between = vec4(0.0);
                if apart == 0u {
                    between += select(vec4(0.0), totals[(x + 1u) * 4u + quad], y - x > 1u);
                    between += select(vec4(0.0), totals[min(x + 2u, CHUNK / 4u - 1u) * 4u + quad], y - x > 2u);
                } else {
                    between = after[x * 4u + quad] + before[y * 4u + quad];
                    for (var m = x / 4u + 1u; m < y / 4u; m++) {
                        between += blocks[m * 4u + quad];
                    }
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
        scores[base + (first + r) * CHUNK + first + c] = select(inside, 0.0, r == c);
#else
        scores[base + (first + r) * CHUNK + first + c] = inside;
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
