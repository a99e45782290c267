// What of a chunk does not depend on the state, ready for `state_fwd_half_coop` and the backward pass (lib/half_chunk):
// decays as f32 in the table, all else in f16. DELTA: Zn, with (I + G diag(beta)) Zn = -G, comes in f32 from forward
// substitution in blocks of 16 rows that are joined in pairs; it is saved, and read in the backward pass (BACK). By
// CHANNEL, which is of the delta rule, all but Zn and W is there, from channel_prep_fwd_half_coop. A workgroup a (chunk, h, b);
// grid (chunks, H, B). Workgroup memory 24,576 B, 48 KiB if BESIDE. Source: Yang et al. 2024, "Gated Linear Attention", section 4, and
// "Parallelizing Linear Transformers with the Delta Rule", section 3 (UT transform).
alias t_q = f16;
alias t_k = f16;
alias t_operands = f16;
alias t_zn = f16;
const BACK: bool = false;
const EPS: f32 = 1e-6; // UNIT: added to the square of a length
#import lib/half_chunk
#import lib/half_decays
const INVERSE: bool = DELTA && !BACK;

#if KEY_QUADS
alias a_q = vec4<t_q>;
alias a_k = vec4<t_k>;
#else
alias a_q = t_q;
alias a_k = t_k;
#endif

#if !CHANNEL
@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // see lib/half_factors
#endif
@group(0) @binding(2) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
#if SCALAR
@group(0) @binding(4) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
#if DELTA
@group(0) @binding(5) var<storage, read_write> zn: array<vec4<t_zn>>; // [B, H, chunks, C, C], in blocks
@group(0) @binding(6) var<storage, read_write> beta: array<f32>; // [B, T HOUSEHOLDER, H]
#endif
#if CHANNEL && INVERSE
@group(0) @binding(7) var<storage, read_write> lower: array<vec4<f32>>; // [B, H, chunks, C, C], in blocks: G
#endif
@group(0) @binding(8) var<uniform> params: Params;

// In `m`, 4 x 4 blocks of f32: Q K^T (with several writes a token at most two rows of blocks, all whole), then G, which Zn
// replaces in place, then W. Above the diagonal two blocks keep the vectors, the others what is between products of the
// inverse. Where W needs more room Q K^T lies beside G; by CHANNEL it leaves in turns.
const BESIDE: bool = KEY_BLOCKS > 4 && !CHANNEL;
const TURNS: u32 = {1 + CHANNEL};
const SCORES: u32 = {1024 * BESIDE + 512 * (HOUSEHOLDER > 1)};
const VECTORS: u32 = 64;
const STRENGTH: u32 = 5;
const THREADS: u32 = {512 / TURNS};
// Threads that load a row of Q or K: UNIT, lanes of one subgroup. Quads of Q and of K a thread has in registers.
const ROW_LANES: u32 = {4 * KEY_BLOCKS + UNIT * 4 * (1 + (KEY_BLOCKS > 1) + (KEY_BLOCKS > 2) * 2 + (KEY_BLOCKS > 4) * 4 - KEY_BLOCKS)};
const Q_QUADS: u32 = {(QUERY_BLOCKS * ROW_LANES + 31) / 32};
const K_QUADS: u32 = {(ROW_LANES + 7) / 8};
const STAGED: u32 = {1024 + BESIDE * (256 * KEY_BLOCKS - 1024)};
var<workgroup> m: array<vec4<f32>, {1024 + 1024 * BESIDE}>;
var<workgroup> staged: array<vec4<f16>, STAGED>; // Q, then K, as blocks, if not CHANNEL; then (I + Zn diag(beta)) diag(in)

fn set_vector(vector: u32, i: u32, x: f32) {
    m[VECTORS + vector * 16u + i / 4u][i % 4u] = x;
}

fn vector_at(vector: u32, i: u32) -> f32 {
    return m[VECTORS + vector * 16u + i / 4u][i % 4u];
}

fn vector_quad(vector: u32, i4: u32) -> vec4<f32> {
    return m[VECTORS + vector * 16u + i4];
}

fn block_at(i: u32, j: u32) -> u32 {
    return (i * 4u + j) * 64u;
}
#if !CHANNEL

fn key_quad(i: u32, c: u32) -> vec4<f16> {
#if KEY_QUADS
    let spot = key_place(i, c);
    return select(vec4<f16>(), vec4<f16>(k[spot.at]), spot.ok);
#else
    let spot = in_keys(i, 4u * c);
    let x = vec4(k[spot.at], k[spot.at + 1u], k[spot.at + 2u], k[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_k);
#endif
}

fn query_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_queries(i, 4u * c);
#if KEY_QUADS
    return select(vec4<f16>(), vec4<f16>(q[spot.at / {4 - 3 * WIDE}u]), spot.ok);
#else
    let x = vec4(q[spot.at], q[spot.at + 1u], q[spot.at + 2u], q[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_k);
#endif
}
#endif
#if UNIT

// What brings a row to unit length, of which each of ROW_LANES lanes side by side has a quad.
fn unit_factor(quad: vec4<f16>) -> f32 {
    var sum = dot(vec4<f32>(quad), vec4<f32>(quad));
#if KEY_BLOCKS > 4
    sum += subgroupShuffleXor(sum, 16u);
#endif
#if KEY_BLOCKS > 2
    sum += subgroupShuffleXor(sum, 8u);
#endif
#if KEY_BLOCKS > 1
    sum += subgroupShuffleXor(sum, 4u);
#endif
    sum += subgroupShuffleXor(sum, 2u);
    sum += subgroupShuffleXor(sum, 1u);
    return inverseSqrt(sum + EPS);
}
#endif
#if INVERSE

// Four columns of a row of A diag(beta) B: row r of the block A at `a`, of column `block` of blocks, quad c of the B at `b`.
fn row_times_block(a: u32, r: u32, block: u32, b: u32, c: u32) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var n = 0u; n < 4u; n++) {
        let left = m[a + 4u * r + n] * vector_quad(STRENGTH, 4u * block + n);
        let right = b + 16u * n + c;
        sum += left.x * m[right] + left.y * m[right + 4u] + left.z * m[right + 8u] + left.w * m[right + 12u];
    }
    return sum;
}

// Column `thread` of the blocks of Zn on the diagonal, of which each has 16.
fn diagonal_column(thread: u32) -> array<f32, 16> {
    let b = block_at(thread / 16u, thread / 16u);
    let column = thread % 16u;
#for i in 0..16
    var x{i} = -m[b + {4 * i}u + column / 4u][column % 4u];
#for n in 0..(i + 3) / 4
    {
        let a = m[b + {4 * i + n}u] * vector_quad(STRENGTH, thread / 16u * 4u + {n}u);
#for e in 0..4
#if 4 * n + e < i
        x{i} -= a[{e}] * x{4 * n + e};
#endif
#end
    }
#end
#end
    return array<f32, 16>(x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15);
}

fn store_diagonal_column(thread: u32, x: array<f32, 16>) {
    let b = block_at(thread / 16u, thread / 16u);
    let column = thread % 16u;
#for i in 0..16
    m[b + {4 * i}u + column / 4u][column % 4u] = x[{i}];
#end
}

// Block n of what is between two products.
fn between(n: u32) -> u32 {
    return select(block_at(n, 3u), block_at(1u, 2u), n == 3u);
}

// The blocks below them: -(I + Z2 diag(beta)) A (I + diag(beta) Z1) for Z1 above and Z2 beside the block A of G, of 16 rows
// and then of 32.
fn join(thread: u32) {
    let p = thread / 64u % 2u;
    let pair = 2u * p;
    let r = thread % 64u / 4u;
    let c = thread % 4u;
    if thread < 128u {
        let a = block_at(pair + 1u, pair);
        m[between(p) + thread % 64u] = m[a + thread % 64u] + row_times_block(a, r, pair, block_at(pair, pair), c);
    }
    workgroupBarrier();
    if thread < 128u {
        let left = between(p);
        let below = row_times_block(block_at(pair + 1u, pair + 1u), r, pair + 1u, left, c);
        m[block_at(pair + 1u, pair) + thread % 64u] = -m[left + thread % 64u] - below;
    }
    workgroupBarrier();
    let i = thread / 128u % 2u;
    var sum = vec4(0.0);
    if thread < 256u {
        sum = m[block_at(2u + i, p) + thread % 64u];
        for (var n = p; n < 2u; n++) {
            sum += row_times_block(block_at(2u + i, n), r, n, block_at(n, p), c);
        }
        m[between(2u * i + p) + thread % 64u] = sum;
    }
    workgroupBarrier();
    if thread < 256u {
        for (var n = 0u; n <= i; n++) {
            sum += row_times_block(block_at(2u + i, 2u + n), r, 2u + n, between(2u * n + p), c);
        }
        m[block_at(2u + i, p) + thread % 64u] = -sum;
    }
}
#endif

@compute @workgroup_size(THREADS)
fn chunk_prep_fwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    set_chunk(wg);
    let subgroup = thread / 32u;
    let base = block() * OPERANDS;
#if DELTA
    let square = block() * SQUARE;
#endif
    // All that comes from memory is asked for at once.
#if !CHANNEL
#for n in 0..Q_QUADS
    let q_row{n} = (thread + {THREADS * n}u) / ROW_LANES;
    let q_quad{n} = (thread + {THREADS * n}u) % ROW_LANES;
    let q_place{n} = block_place(q_row{n}, q_quad{n}, KEY_BLOCKS);
    var q{n} = query_quad(q_row{n}, q_quad{n});
#end
#for n in 0..K_QUADS
    let k_row{n} = (thread + {THREADS * n}u) / ROW_LANES;
    let k_quad{n} = (thread + {THREADS * n}u) % ROW_LANES;
    let k_place{n} = block_place(k_row{n}, k_quad{n}, KEY_BLOCKS);
    var k{n} = key_quad(k_row{n}, k_quad{n});
#end
#endif
#if DELTA && BACK
#for n in 0..1024 / THREADS
    let zn{n} = vec4<f32>(zn[square + thread + {THREADS * n}u]);
#end
#endif
#if UNIT
#for n in 0..Q_QUADS
    {
        let factor = unit_factor(q{n});
        q{n} = vec4<f16>(factor * vec4<f32>(q{n}));
#if BACK
        if q_quad{n} == 0u && q_row{n} < QUERY_BLOCKS * 16u {
            table[entry(UNIT_QUERY, q_row{n})] = factor;
        }
#endif
    }
#end
#for n in 0..K_QUADS
    {
        let factor = unit_factor(k{n});
        k{n} = vec4<f16>(factor * vec4<f32>(k{n}));
#if BACK
        if k_quad{n} == 0u && k_row{n} < 64u {
            table[entry(UNIT_KEY, k_row{n})] = factor;
        }
#endif
    }
#end
#endif
#if !CHANNEL
#for n in 0..Q_QUADS
    if q_row{n} < QUERY_BLOCKS * 16u && q_quad{n} < QUADS {
        staged[q_place{n}] = q{n};
#if PLAIN
        if block() == plain_block() {
            operands[base + OF_Q + q_place{n}] = vec4<t_operands>(q{n});
        }
#endif
    }
#end
#endif
    if thread < 64u {
#if !CHANNEL
        set_vector(GATE, thread, log_decay_of(thread));
#endif
#if DELTA
        var strength = 0.0;
        if is_row(thread) {
            strength = beta[row(thread)];
        }
        set_vector(STRENGTH, thread, strength);
#if !CHANNEL
        table[entry(BETA, thread)] = strength;
#endif
#endif
    }
    workgroupBarrier();
#if !CHANNEL
    // A block of Q K^T and one of K K^T a subgroup. Loops that run once: naga takes no `if` around matrix operations.
    let i = subgroup / 4u;
    let j = subgroup % 4u;
    let of_query = min(i, {QUERY_BLOCKS - 1}u) * {KEY_BLOCKS * 64}u;
#for n in 0..KEY_BLOCKS
    let q_block{n} = coopLoadT<FragA>(&staged[of_query + {n * 64}u], 4u);
#end
    if thread < 64u {
        set_block_sums(thread);
    }
    workgroupBarrier();
#for n in 0..K_QUADS
    if k_row{n} < 64u && k_quad{n} < QUADS {
        staged[k_place{n}] = k{n};
#if PLAIN && DECAYS
        if block() == plain_block() {
            operands[base + OF_K + k_place{n}] = vec4<t_operands>(k{n});
        }
#endif
    }
#end
    if thread < 64u {
        let decay_in = exp(log_decay_in(thread));
        let decay_out = exp(log_decay_out(thread));
        set_vector(DECAY_IN_OF, thread, decay_in);
        set_vector(DECAY_OUT_OF, thread, decay_out);
        table[entry(DECAY_IN, thread)] = decay_in;
        table[entry(DECAY_OUT, thread)] = decay_out;
    }
    workgroupBarrier();
    let is_score = i < QUERY_BLOCKS && j < (i + 1u) * HOUSEHOLDER;
    var score = FragC();
#if INVERSE
    var pair = FragC();
#endif
#for n in 0..KEY_BLOCKS
    {
        let right = coopLoad<FragB>(&staged[(j * KEY_BLOCKS + {n}u) * 64u], 4u);
        score = coopMultiplyAdd(q_block{n}, right, score);
#if INVERSE
        pair = coopMultiplyAdd(coopLoadT<FragA>(&staged[(i * KEY_BLOCKS + {n}u) * 64u], 4u), right, pair);
#endif
    }
#end
    for (var once = select(1u, 0u, is_score); once < 1u; once++) {
        coopStoreT(score, &m[SCORES + block_at(i, j)], 4u);
    }
#if INVERSE && BESIDE
    for (var once = select(1u, 0u, j <= i); once < 1u; once++) {
        coopStoreT(pair, &m[block_at(i, j)], 4u);
    }
#endif
    workgroupBarrier();
    for (var w = thread; w < QUERY_BLOCKS * 256u; w += THREADS) {
        let end = last(row_of(w));
        let j = column_of(w);
        var p = vec4(0.0);
        if j <= end {
            let below = vec4(j) + vec4(0u, 1u, 2u, 3u) <= vec4(end);
            p = select(vec4(0.0), params.scale * m[SCORES + w] * gam_quad(end, j), below);
        }
        operands[base + OF_P + w] = vec4<t_operands>(p);
    }
#if INVERSE && !BESIDE
    workgroupBarrier();
    for (var once = select(1u, 0u, j <= i); once < 1u; once++) {
        coopStoreT(pair, &m[block_at(i, j)], 4u);
    }
    workgroupBarrier();
#endif
#endif
#if INVERSE
    for (var w = thread; w < 1024u; w += THREADS) {
        let r = row_of(w);
        let j = column_of(w);
        if j / 16u <= r / 16u {
#if CHANNEL
            m[w] = lower[block() * 1024u + w];
#else
            var pair = vec4(0.0);
            if j <= r {
                let below = vec4(j) + vec4(0u, 1u, 2u, 3u) < vec4(r);
                pair = select(vec4(0.0), m[w] * gam_quad(r, j), below);
            }
            m[w] = pair;
#endif
        }
    }
    workgroupBarrier();
    var inverted = array<f32, 16>();
    if thread < 64u {
        inverted = diagonal_column(thread);
    }
#endif
#if !CHANNEL
#for n in 0..Q_QUADS
    if q_row{n} < QUERY_BLOCKS * 16u && q_quad{n} < QUADS {
        let decay = vector_at(DECAY_IN_OF, last(q_row{n}));
        operands[base + OF_Q_IN + q_place{n}] = vec4<t_operands>(params.scale * decay * vec4<f32>(q{n}));
    }
#end
#for n in 0..K_QUADS
    if k_row{n} < 64u && k_quad{n} < QUADS {
        let x = vector_at(DECAY_OUT_OF, k_row{n}) * vec4<f32>(k{n});
        operands[base + OF_K_OUT + k_place{n}] = vec4<t_operands>(x);
    }
#end
#endif
#if DELTA
    workgroupBarrier();
#if INVERSE
    if thread < 64u {
        store_diagonal_column(thread, inverted);
    }
    workgroupBarrier();
    join(thread);
    workgroupBarrier();
#endif
    // W, half a column of blocks of K a subgroup or, by CHANNEL, one half after the other: diag(in) K is where W comes to lie.
    let column = min(subgroup % 8u, {KEY_BLOCKS - 1}u);
    let rows = subgroup / 8u * 2u;
#for n in 0..4
#if CHANNEL
    let b{n} = coopLoadT<FragB>(&operands[base + OF_W + ({n}u * KEY_BLOCKS + column) * 64u], 4u);
#else
    let b{n} = coopLoadT<FragB>(&staged[({n}u * KEY_BLOCKS + column) * 64u], 4u);
#endif
#end
    workgroupBarrier();
#for n in 0..1024 / THREADS
    {
        let w = thread + {THREADS * n}u;
#if BACK
        var x = zn{n};
#else
        var x = vec4(0.0);
        if column_of(w) / 16u <= row_of(w) / 16u {
            x = m[w];
        }
        zn[square + w] = vec4<t_zn>(x);
#endif
        let own = vec4(column_of(w)) + vec4(0u, 1u, 2u, 3u) == vec4(row_of(w));
        x = x * vector_quad(STRENGTH, column_of(w) / 4u) + select(vec4(0.0), vec4(1.0), own);
#if CHANNEL
        staged[w] = vec4<f16>(x);
#else
        staged[w] = vec4<f16>(x * vector_quad(DECAY_IN_OF, column_of(w) / 4u));
#endif
    }
#end
    workgroupBarrier();
#for u in 0..TURNS
    for (var once = subgroup % 8u; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for i in 0..2
        {
            var w = FragC();
#for j in 0..4
            w = coopMultiplyAdd(coopLoadT<FragA>(&staged[(rows + {2 * u + i}u) * 256u + {j * 64}u], 4u), b{j}, w);
#end
            coopStoreT(w, &m[((rows + {i}u) * KEY_BLOCKS + column) * 64u], 4u);
        }
#end
    }
    workgroupBarrier();
    for (var w = thread; w < {64 / TURNS}u * QUADS; w += THREADS) {
        operands[base + OF_W + {u * 32}u * QUADS + w] = vec4<t_operands>(-m[w]);
    }
#if u + 1 < TURNS
    workgroupBarrier();
#endif
#end
#endif
}
