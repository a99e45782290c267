// What of a chunk with a decay by channel does not depend on the state, for `state_fwd_half_coop` and the backward pass
// (lib/half_chunk): scale diag(in) Q, diag(out) K and, not BACK, scale P; DELTA: also diag(in) K in the place of W, and G, for
// chunk_prep_fwd_half_coop. Pairs of rows of a thread as they are, others by levels (lib/half_channel). A workgroup a (chunk, h,
// b); grid (chunks, H, B). Workgroup memory 46 KiB, half of that up to 64 channels. Source: Yang et al. 2024, "Gated Linear
// Attention", section 4 (secondary chunking).
alias t_q = f16;
alias t_k = f16;
alias t_operands = f16;
alias t_kept = f16;
const BACK: bool = false;
#import lib/half_chunk
#import lib/half_factors
// A half's parts of 14 blocks of P or G.
const HALF_SUMS: u32 = {64 + (1 - BACK) * 832};
#import lib/half_channel

@group(0) @binding(0) var<storage, read_write> q: array<vec4<t_q>>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<t_k>>; // [B, T, H, d_k]
@group(0) @binding(2) var<storage, read_write> gk: array<vec4<f32>>; // [B, T, H, d_k]
@group(0) @binding(3) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(4) var<storage, read_write> table: array<f32>; // see lib/half_factors
#if DELTA
@group(0) @binding(5) var<storage, read_write> beta: array<f32>; // [B, T, H]
#endif
#if !BACK
@group(0) @binding(6) var<storage, read_write> kept: array<vec4<t_kept>>; // [B, H, chunks, C, C], in blocks: scale P
#endif
#if DELTA && !BACK
@group(0) @binding(7) var<storage, read_write> lower: array<vec4<f32>>; // [B, H, chunks, C, C], in blocks: G
#endif
@group(0) @binding(8) var<uniform> params: Params;
#if !BACK

// Sum over the 8 quads of a group in a subgroup.
fn quads_sum(part: vec4<f32>) -> vec4<f32> {
    var total = part;
    total += subgroupShuffleXor(total, 1u);
    total += subgroupShuffleXor(total, 2u);
    total += subgroupShuffleXor(total, 4u);
    return total;
}
#endif

@compute @workgroup_size({THREADS})
fn channel_prep_fwd_half_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    set_chunk(wg);
    set_place(thread);
    let subgroup = thread / 32u % 8u;
    let base = block() * OPERANDS;
    let c = 16u * side + quad;
#for r in 0..4
    let spot{r} = key_place(4u * group + {r}u, c);
    let q{r} = select(vec4<f16>(), vec4<f16>(q[spot{r}.at]), spot{r}.ok);
    let k{r} = select(vec4<f16>(), vec4<f16>(k[spot{r}.at]), spot{r}.ok);
    decay{r} = decay_at(spot{r});
#end
#if DELTA
    if thread < 64u {
        let strength = select(0.0, beta[select(0u, row(thread), is_row(thread))], is_row(thread));
        table[block() * FACTORS + {KEY_BLOCKS * 16}u + thread] = strength;
    }
#endif
#if !BACK
    // Of P and G: blocks of different rows (levels 5 and 4), blocks on the diagonal (3 and 2), rows of a thread.
#for m in 0..1 + DELTA
    var apart{m} = FragC();
    var near{m} = FragC();
#for r in 0..4
    var own{m}_{r} = vec4(0.0);
#end
#end
    let at = side * HALF_TILE;
#endif
    set_totals();
    workgroupBarrier();
    if c < QUADS {
        set_factors_in();
#for r in 0..4
        {
            let place = base + block_place(4u * group + {r}u, c, KEY_BLOCKS);
            operands[OF_Q_IN + place] = vec4<t_operands>(params.scale * factor{r} * vec4<f32>(q{r}));
#if DELTA
            operands[OF_W + place] = vec4<t_operands>(factor{r} * vec4<f32>(k{r}));
#endif
        }
#end
        if group == 15u {
#for e in 0..4
            table[block() * FACTORS + 4u * c + {e}u] = factor3[{e}];
#end
        }
        set_factors_out();
#for r in 0..4
        {
            let place = base + block_place(4u * group + {r}u, c, KEY_BLOCKS);
            operands[OF_K_OUT + place] = vec4<t_operands>(factor{r} * vec4<f32>(k{r}));
        }
#end
    }
#if !BACK
#for j in 0..4
    {
        var key = vec4<f32>(k{j});
        own0_{j}[{j}] += dot(vec4<f32>(q{j}), key);
#for i in j + 1..4
        key *= decay{i};
        own0_{i}[{j}] += dot(vec4<f32>(q{i}), key);
#if DELTA
        own1_{i}[{j}] += dot(vec4<f32>(k{i}), key);
#endif
#end
    }
#end
#for m in 0..1 + DELTA
#for level in 2..6
    set_factors({level}u);
    workgroupBarrier();
#for r in 0..4
    {
#if m == 0
        let later = q{r};
#else
        let later = k{r};
#endif
        tile[at + (4u * group + {r}u) * ROW + quad] = vec4<f16>(factor{r} * vec4<f32>(select(k{r}, later, is_later)));
    }
#end
    workgroupBarrier();
#if level == 5
    for (var n = subgroup; n < 4u; n = 4u) {
        let left = (2u + n / 2u) * 16u * ROW;
        let right = n % 2u * 16u * ROW;
#else
#if level == 4
    for (var n = subgroup - 4u; n < 2u; n = 2u) {
        let left = (2u * n + 1u) * 16u * ROW;
        let right = 2u * n * 16u * ROW;
#else
    for (var n = subgroup - {4 * (3 - level)}u; n < 4u; n = 4u) {
        let left = n * 16u * ROW;
        let right = left;
#endif
#endif
#for x in 0..4
        {
            let a = coopLoadT<FragA>(&tile[at + left + {4 * x}u], ROW);
            let b = coopLoad<FragB>(&tile[at + right + {4 * x}u], ROW);
#if level > 3
            apart{m} = coopMultiplyAdd(a, b, apart{m});
#else
            near{m} = coopMultiplyAdd(a, b, near{m});
#endif
        }
#end
    }
#end
#end
#for m in 0..1 + DELTA
#for r in 0..4
    own{m}_{r} = quads_sum(own{m}_{r});
#end
    workgroupBarrier();
    for (var once = subgroup; once < 6u; once = 6u) {
        coopStoreT(apart{m}, &sums[side * HALF_SUMS + subgroup * 64u], 4u);
    }
    coopStoreT(near{m}, &sums[side * HALF_SUMS + (6u + subgroup) * 64u], 4u);
    workgroupBarrier();
    // Rows of a thread are in neither level: one subgroup's part in the place of each.
    if quad % 8u == 0u {
        let place = side * HALF_SUMS + (group / 4u + select(10u, 6u, quad > 0u)) * 64u + group % 4u * 17u;
#for r in 0..4
        sums[place + {4 * r}u] = own{m}_{r};
#end
    }
    workgroupBarrier();
    for (var w = thread; w < 1024u; w += THREADS) {
        let i = row_of(w);
        let j = column_of(w);
        var place = 4u + i / 32u;
        place = select(place, 2u * (i / 16u) - 4u + j / 16u, i / 32u != j / 32u);
        place = select(place, select(10u, 6u, i / 8u != j / 8u) + i / 16u, i / 16u == j / 16u);
        place = min(place, 13u) * 64u + w % 64u;
        var x = vec4(0.0);
#for n in 0..HALVES
        x += sums[HALF_SUMS * {n}u + place];
        x += select(vec4(0.0), sums[HALF_SUMS * {n}u + (6u + i / 16u) * 64u + w % 64u], i / 4u == j / 4u);
#end
#if m == 0
        let below = vec4(j) + vec4(0u, 1u, 2u, 3u) <= vec4(i);
        kept[block() * 1024u + w] = vec4<t_kept>(select(vec4(0.0), params.scale * x, below));
#else
        lower[block() * 1024u + w] = select(vec4(0.0), x, vec4(j) + vec4(0u, 1u, 2u, 3u) < vec4(i));
#endif
    }
#end
#endif
}
