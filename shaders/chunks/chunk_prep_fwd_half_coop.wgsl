// What of a chunk does not depend on the state, ready for `state_fwd_half_coop` and the backward pass (lib/half_chunk):
// decays as f32 in the table, all else in f16. DELTA: Zn, with (I + G diag(beta)) Zn = -G, comes in f32 from forward
// substitution in blocks of 16 rows that are joined in pairs; it is saved, and read in the backward pass (BACK). By
// CHANNEL, which is of the delta rule, all but Zn and W is there, from channel_prep_fwd_half_coop. A workgroup a (chunk, h, b);
// grid (chunks, H, B). Workgroup memory at most 48 KiB. Source: Yang et al. 2024, "Gated Linear Attention", section 4, and
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

#if !CHANNEL
@group(0) @binding(0) var<storage, read_write> q: array<vec4<t_q>>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<t_k>>; // [B, T HOUSEHOLDER, H, d_k]
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

// In `m`, 4 x 4 blocks of f32 each: G, the blocks above its diagonal between products, if it is to be inverted; Q K^T, then
// Zn. Two blocks above the diagonal of Zn keep the vectors. With several writes a token Q K^T has at most two rows of
// blocks, all whole. Then W.
const LOWER: u32 = 0;
const ZN: u32 = {1024 * (INVERSE || KEY_BLOCKS > 4)};
const SCORES: u32 = {ZN + 512 * (HOUSEHOLDER > 1)};
const VECTORS: u32 = {ZN + 128};
const STRENGTH: u32 = 5;
// Quads of Q and of K a thread has in registers.
const QUERY_QUADS: u32 = {(QUERY_BLOCKS * KEY_BLOCKS + 7) / 8};
const KEY_QUADS: u32 = {(KEY_BLOCKS + 1) / 2};
const STAGED: u32 = {1024 + (KEY_BLOCKS > 4) * (256 * KEY_BLOCKS - 1024)};
var<workgroup> m: array<vec4<f32>, {ZN + 1024}>;
var<workgroup> staged: array<vec4<f16>, STAGED>; // Q, then K, as blocks; then (I + Zn diag(beta)) diag(in)

fn set_vector(vector: u32, i: u32, x: f32) {
    m[VECTORS + vector * 16u + i / 4u][i % 4u] = x;
}

fn vector_at(vector: u32, i: u32) -> f32 {
    return m[VECTORS + vector * 16u + i / 4u][i % 4u];
}

fn vector_quad(vector: u32, i4: u32) -> vec4<f32> {
    return m[VECTORS + vector * 16u + i4];
}
#if !CHANNEL

fn key_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_keys(i, 4u * c);
    return select(vec4<f16>(), vec4<f16>(k[spot.at]), spot.ok);
}

fn query_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_queries(i, 4u * c);
    return select(vec4<f16>(), vec4<f16>(q[spot.at]), spot.ok);
}
#endif
#if UNIT

// What brings a row to unit length, of which each of QUADS lanes side by side has a quad.
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

fn block_at(i: u32, j: u32) -> u32 {
    return (i * 4u + j) * 64u;
}
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

// Zn: the blocks on the diagonal, a column a thread.
fn invert_diagonal(thread: u32) {
    let b = block_at(thread / 16u, thread / 16u);
    let column = thread % 16u;
#for i in 0..16
    var x{i} = -m[LOWER + b + {4 * i}u + column / 4u][column % 4u];
#for n in 0..(i + 3) / 4
    {
        let a = m[LOWER + b + {4 * i + n}u] * vector_quad(STRENGTH, thread / 16u * 4u + {n}u);
#for e in 0..4
#if 4 * n + e < i
        x{i} -= a[{e}] * x{4 * n + e};
#endif
#end
    }
#end
    m[ZN + b + {4 * i}u + column / 4u][column % 4u] = x{i};
#end
}

// The blocks below them: -(I + Z2 diag(beta)) A (I + diag(beta) Z1) for Z1 above and Z2 beside the block A of G, of 16 rows
// and then of 32.
fn join(thread: u32) {
    let pair = thread / 64u * 2u;
    let r = thread % 64u / 4u;
    let c = thread % 4u;
    if thread < 128u {
        let a = LOWER + block_at(pair + 1u, pair);
        let left = m[a + thread % 64u] + row_times_block(a, r, pair, ZN + block_at(pair, pair), c);
        m[LOWER + block_at(pair, pair + 1u) + thread % 64u] = left;
    }
    workgroupBarrier();
    if thread < 128u {
        let left = LOWER + block_at(pair, pair + 1u);
        let below = row_times_block(ZN + block_at(pair + 1u, pair + 1u), r, pair + 1u, left, c);
        m[ZN + block_at(pair + 1u, pair) + thread % 64u] = -m[left + thread % 64u] - below;
    }
    workgroupBarrier();
    let i = thread / 128u % 2u;
    let j = thread / 64u % 2u;
    var sum = vec4(0.0);
    if thread < 256u {
        sum = m[LOWER + block_at(2u + i, j) + thread % 64u];
        for (var n = j; n < 2u; n++) {
            sum += row_times_block(LOWER + block_at(2u + i, n), r, n, ZN + block_at(n, j), c);
        }
        m[LOWER + block_at(i, 2u + j) + thread % 64u] = sum;
    }
    workgroupBarrier();
    if thread < 256u {
        for (var n = 0u; n <= i; n++) {
            sum += row_times_block(ZN + block_at(2u + i, 2u + n), r, 2u + n, LOWER + block_at(n, 2u + j), c);
        }
        m[ZN + block_at(2u + i, j) + thread % 64u] = -sum;
    }
}
#endif

@compute @workgroup_size(512)
fn chunk_prep_fwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    set_chunk(wg);
    let subgroup = thread / 32u;
    let base = block() * OPERANDS;
#if DELTA
    let square = block() * SQUARE;
#endif
    // All that comes from memory is asked for at once.
#if !CHANNEL
#for n in 0..QUERY_QUADS
    let q_row{n} = (thread + {512 * n}u) / QUADS;
    let q_place{n} = block_place(q_row{n}, (thread + {512 * n}u) % QUADS, KEY_BLOCKS);
    var q{n} = query_quad(q_row{n}, (thread + {512 * n}u) % QUADS);
#end
#for n in 0..KEY_QUADS
    let k_row{n} = (thread + {512 * n}u) / QUADS;
    let k_place{n} = block_place(k_row{n}, (thread + {512 * n}u) % QUADS, KEY_BLOCKS);
    var k{n} = key_quad(k_row{n}, (thread + {512 * n}u) % QUADS);
#end
#else
    // diag(in) K, which W replaces.
    for (var w = thread; w < 64u * QUADS; w += 512u) {
        staged[w] = vec4<f16>(operands[base + OF_W + w]);
    }
#endif
#if DELTA && BACK
#for n in 0..2
    let zn{n} = vec4<f32>(zn[square + thread + {512 * n}u]);
#end
#endif
#if UNIT
#for n in 0..QUERY_QUADS
    {
        let factor = unit_factor(q{n});
        q{n} = vec4<f16>(factor * vec4<f32>(q{n}));
#if BACK
        if thread % QUADS == 0u && q_row{n} < QUERY_BLOCKS * 16u {
            table[entry(UNIT_QUERY, q_row{n})] = factor;
        }
#endif
    }
#end
#for n in 0..KEY_QUADS
    {
        let factor = unit_factor(k{n});
        k{n} = vec4<f16>(factor * vec4<f32>(k{n}));
#if BACK
        if thread % QUADS == 0u && k_row{n} < 64u {
            table[entry(UNIT_KEY, k_row{n})] = factor;
        }
#endif
    }
#end
#endif
#if !CHANNEL
#for n in 0..QUERY_QUADS
    if q_row{n} < QUERY_BLOCKS * 16u {
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
    // Half a row of blocks of Q K^T or, from subgroup 8 on, of K K^T. Loops that run once: naga takes no `if` around matrix
    // operations.
    let i = subgroup % 8u / 2u;
#for n in 0..KEY_BLOCKS
    var a{n} = FragA();
#end
    for (var once = subgroup; once < 2u * QUERY_BLOCKS; once = 2u * QUERY_BLOCKS) {
#for n in 0..KEY_BLOCKS
        a{n} = coopLoadT<FragA>(&staged[(i * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
    }
    if thread < 64u {
        set_block_sums(thread);
    }
    workgroupBarrier();
#for n in 0..KEY_QUADS
    if k_row{n} < 64u {
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
    var columns = select(0u, min(4u, (i + 1u) * HOUSEHOLDER), subgroup < 2u * QUERY_BLOCKS);
#if INVERSE
    columns = select(columns, i + 1u, subgroup >= 8u);
    for (var once = subgroup; once >= 8u; once = 0u) {
#for n in 0..KEY_BLOCKS
        a{n} = coopLoadT<FragA>(&staged[(i * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
    }
#endif
    let result = select(LOWER, SCORES, subgroup < 8u) + i * 256u;
    for (var j = subgroup % 2u; j < columns; j += 2u) {
        var even = FragC();
        var odd = FragC();
#for n in 0..KEY_BLOCKS
#if n % 2 == 0
        even = coopMultiplyAdd(a{n}, coopLoad<FragB>(&staged[(j * KEY_BLOCKS + {n}u) * 64u], 4u), even);
#else
        odd = coopMultiplyAdd(a{n}, coopLoad<FragB>(&staged[(j * KEY_BLOCKS + {n}u) * 64u], 4u), odd);
#endif
#end
        even = even + odd;
        coopStoreT(even, &m[result + j * 64u], 4u);
    }
    workgroupBarrier();
    for (var w = thread; w < QUERY_BLOCKS * 256u; w += 512u) {
        let end = last(row_of(w));
        let j = column_of(w);
        var p = vec4(0.0);
        if j <= end {
            let below = vec4(j) + vec4(0u, 1u, 2u, 3u) <= vec4(end);
            p = select(vec4(0.0), params.scale * m[SCORES + w] * gam_quad(end, j), below);
        }
        operands[base + OF_P + w] = vec4<t_operands>(p);
    }
#endif
#if INVERSE
    for (var w = thread; w < 1024u; w += 512u) {
#if CHANNEL
        m[LOWER + w] = lower[block() * 1024u + w];
#else
        let r = row_of(w);
        let j = column_of(w);
        var pair = vec4(0.0);
        if j <= r {
            let below = vec4(j) + vec4(0u, 1u, 2u, 3u) < vec4(r);
            pair = select(vec4(0.0), m[LOWER + w] * gam_quad(r, j), below);
        }
        if j / 16u <= r / 16u {
            m[LOWER + w] = pair;
        }
#endif
    }
    workgroupBarrier();
    if thread < 64u {
        invert_diagonal(thread);
    }
#endif
#if !CHANNEL
#for n in 0..QUERY_QUADS
    if q_row{n} < QUERY_BLOCKS * 16u {
        let decay = vector_at(DECAY_IN_OF, last(q_row{n}));
        operands[base + OF_Q_IN + q_place{n}] = vec4<t_operands>(params.scale * decay * vec4<f32>(q{n}));
    }
#end
#for n in 0..KEY_QUADS
    if k_row{n} < 64u {
        let x = vector_at(DECAY_OUT_OF, k_row{n}) * vec4<f32>(k{n});
        operands[base + OF_K_OUT + k_place{n}] = vec4<t_operands>(x);
    }
#end
#endif
#if DELTA
    workgroupBarrier();
#if INVERSE
    join(thread);
    workgroupBarrier();
#endif
    // W, half a column of blocks a subgroup.
    let column = subgroup % 8u;
    let rows = subgroup / 8u * 2u;
#for n in 0..4
    var b{n} = FragB();
#end
    for (var once = column; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for n in 0..4
        b{n} = coopLoadT<FragB>(&staged[({n}u * KEY_BLOCKS + column) * 64u], 4u);
#end
    }
    workgroupBarrier();
#for n in 0..2
    {
        let w = thread + {512 * n}u;
#if BACK
        var x = zn{n};
#else
        var x = vec4(0.0);
        if column_of(w) / 16u <= row_of(w) / 16u {
            x = m[ZN + w];
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
    for (var once = column; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for i in 0..2
        {
            var w = FragC();
#for j in 0..4
            w = coopMultiplyAdd(coopLoadT<FragA>(&staged[(rows + {i}u) * 256u + {j * 64}u], 4u), b{j}, w);
#end
            coopStoreT(w, &m[((rows + {i}u) * KEY_BLOCKS + column) * 64u], 4u);
        }
#end
    }
    workgroupBarrier();
    for (var w = thread; w < 64u * QUADS; w += 512u) {
        operands[base + OF_W + w] = vec4<t_operands>(-m[w]);
    }
#endif
}
