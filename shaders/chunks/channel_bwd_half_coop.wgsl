// The gradients of the queries, keys and log decays of a chunk with a decay by channel from what `chunk_bwd_half_coop` leaves:
//   W = in scale X1 + sum_{j<i} E_ij k_j exp(..)    dQ = W + E_ii k_i    dK = out X3 + Y + Z + E_ii q_i
// with Y the sum over later rows i of E_ij q_i exp(..) and, DELTA, of F_ij k_i exp(..), and Z that over earlier rows j of
// F_ij k_j exp(..), less in X2; and
//   dgk_t = sum_{i >= t} (q * W + k * Z - k * Y)_i + sum_{i < t} (k * out X3)_i + through.
// Pairs of rows of a thread as they are, others by levels (lib/half_channel). A workgroup a (chunk, h, b); grid (chunks, H, B).
// Workgroup memory 40 KiB, half of that up to 64 channels. Source: as of `channel_prep_fwd_half_coop`.
alias t_q = f16;
alias t_k = f16;
alias t_query_sums = f16;
alias t_key_sums = f16;
alias t_erase_sums = f16;
alias t_grad_pairs = f16;
alias t_grad_q = f16;
alias t_grad_k = f16;
#import lib/half_chunk
// 80 a subgroup, 64 for sums over 16 rows.
const HALF_SUMS: u32 = 704;
#import lib/half_channel
#import lib/half_pairs

@group(0) @binding(0) var<storage, read_write> q: array<vec4<t_q>>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<vec4<t_k>>; // [B, T, H, d_k]
@group(0) @binding(2) var<storage, read_write> gk: array<vec4<f32>>; // [B, T, H, d_k]
@group(0) @binding(3) var<storage, read_write> grad_pairs: array<vec4<t_grad_pairs>>; // see lib/half_pairs
@group(0) @binding(4) var<storage, read_write> query_sums: array<vec4<t_query_sums>>; // [B, T, H, d_k]: scale X1
@group(0) @binding(5) var<storage, read_write> key_sums: array<vec4<t_key_sums>>; // [B, T, H, d_k]: X3
#if DELTA
@group(0) @binding(6) var<storage, read_write> erase_sums: array<vec4<t_erase_sums>>; // [B, T, H, d_k]: X2
#endif
@group(0) @binding(7) var<storage, read_write> through: array<vec4<f32>>; // [B, H, chunks, d_k]
@group(0) @binding(8) var<storage, read_write> grad_q: array<vec4<t_grad_q>>; // [B, T, H, d_k]
@group(0) @binding(9) var<storage, read_write> grad_k: array<vec4<t_grad_k>>; // [B, T, H, d_k]
@group(0) @binding(10) var<storage, read_write> grad_gk: array<vec4<f32>>; // [B, T, H, d_k]
@group(0) @binding(11) var<uniform> params: Params;

// A sum through the states, which may be too large for f16 where its factor is 0.
fn decayed(factor: vec4<f32>, sum: vec4<f32>, inside: bool) -> vec4<f32> {
    return select(vec4(0.0), factor * sum, (factor > vec4(0.0)) & vec4(inside));
}

@compute @workgroup_size({THREADS})
fn channel_bwd_half_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
#if DELTA
    @builtin(num_workgroups) count: vec3<u32>,
#endif
    @builtin(local_invocation_index) thread: u32,
) {
    // A subgroup computes the products for its own rows and channels.
    set_chunk(wg);
    set_place(thread);
    let lane = thread % 32u;
    let block_row = group / 4u;
    let columns = side * HALF_TILE + quad / 8u * 8u;
    let mine = side * HALF_SUMS + thread / 32u % 8u * 80u;
    let c = 16u * side + quad;
#for r in 0..4
    let spot{r} = key_place(4u * group + {r}u, c);
    let q{r} = select(vec4<f16>(), vec4<f16>(q[spot{r}.at]), spot{r}.ok);
    let k{r} = select(vec4<f16>(), vec4<f16>(k[spot{r}.at]), spot{r}.ok);
    decay{r} = decay_at(spot{r});
    // What comes to a row as the later of a pair, of E and of F, and as the earlier one.
    var later0_{r} = vec4(0.0);
    var later1_{r} = vec4(0.0);
    var earlier{r} = vec4(0.0);
#end
    set_totals();
    workgroupBarrier();
#for m in 0..1 + DELTA
#if m == 0
    let pairs{m} = block() * PAIRS;
#else
    let pairs{m} = (block() + count.x * count.y * count.z) * PAIRS;
#endif
#for r in 0..4
#if m == 0
    let x{m}_{r} = q{r};
#else
    let x{m}_{r} = k{r};
#endif
    let e{m}_{r} = vec4<f32>(grad_pairs[pairs{m} + block_row * 320u + lane / 8u * 17u + {4 * r}u]);
#end
#for j in 0..3
    {
        var between = vec4(1.0);
#for i in j + 1..4
        between *= decay{i};
        later{m}_{i} += e{m}_{i}[{j}] * between * vec4<f32>(k{j});
        earlier{j} += e{m}_{i}[{j}] * between * vec4<f32>(x{m}_{i});
#end
    }
#end
#for level in 2..6
    {
        // Rows of E where the subgroup's are the later ones, else of E^T; asked for before the barrier.
#if level == 5
        let other = (block_row + 2u) % 4u / 2u * 2u;
#else
#if level == 4
        let other = block_row ^ 1u;
#else
        let other = block_row;
#endif
#endif
#for n in 0..2
        var a{n} = FragA();
#end
#if level > 3
#for n in 0..1 + (level == 5)
        for (var once = other; once < block_row; once = block_row) {
            a{n} = coopLoadT<FragA>(&grad_pairs[pairs{m} + (block_row * 4u + other + {n}u) * 64u], 4u);
        }
        for (var once = block_row; once < other; once = other) {
            a{n} = coopLoad<FragA>(&grad_pairs[pairs{m} + ((other + {n}u) * 4u + block_row) * 64u], 4u);
        }
#end
#else
        a0 = coopLoadT<FragA>(&grad_pairs[pairs{m} + OF_LEVELS + {256 * (level - 2)}u + block_row * 64u], 4u);
        a1 = coopLoad<FragA>(&grad_pairs[pairs{m} + OF_LEVELS + {256 * (level - 2)}u + block_row * 64u], 4u);
#endif
        set_factors({level}u);
#for r in 0..4
        {
            let x = vec4<f32>(select(k{r}, x{m}_{r}, is_later));
            tile[side * HALF_TILE + (4u * group + {r}u) * ROW + quad] = vec4<f16>(factor{r} * x);
        }
#end
        workgroupBarrier();
        var even = FragC();
        var odd = FragC();
#for n in 0..2 - (level == 4)
        {
            let at = columns + (other + {n * (level == 5)}u) * 16u * ROW;
            even = coopMultiplyAdd(a{n}, coopLoadT<FragB>(&tile[at], ROW), even);
            odd = coopMultiplyAdd(a{n}, coopLoadT<FragB>(&tile[at + 4u], ROW), odd);
        }
#end
        // The next rows go to the tile when all have read it.
        workgroupBarrier();
        // 16 columns at a time.
#for r in 0..4
        var sum{r} = vec4(0.0);
#end
#for n in 0..2
#if n == 0
        coopStoreT(even, &sums[mine], 5u);
#else
        coopStoreT(odd, &sums[mine], 5u);
#endif
        subgroupBarrier();
        if lane % 8u / 4u == {n}u {
#for r in 0..4
            sum{r} = factor{r} * sums[mine + (lane / 8u * 4u + {r}u) * 5u + lane % 4u];
#end
        }
        subgroupBarrier();
#end
#for r in 0..4
        later{m}_{r} += select(vec4(0.0), sum{r}, is_later);
        earlier{r} += select(sum{r}, vec4(0.0), is_later);
#end
    }
#end
#end
    set_factors_in();
#for r in 0..4
    later0_{r} += decayed(factor{r}, vec4<f32>(query_sums[spot{r}.at]), spot{r}.ok);
#if DELTA
    later1_{r} -= decayed(factor{r}, vec4<f32>(erase_sums[spot{r}.at]), spot{r}.ok);
#endif
    let on{r} = vec4<f32>(q{r}) * later0_{r} + vec4<f32>(k{r}) * (later1_{r} - earlier{r});
#end
    set_factors_out();
#for r in 0..4
    let out{r} = decayed(factor{r}, vec4<f32>(key_sums[spot{r}.at]), spot{r}.ok);
    let up{r} = vec4<f32>(k{r}) * out{r};
    if spot{r}.ok {
        grad_q[spot{r}.at] = vec4<t_grad_q>(later0_{r} + e0_{r}[{r}] * vec4<f32>(k{r}));
        grad_k[spot{r}.at] = vec4<t_grad_k>(out{r} + earlier{r} + later1_{r} + e0_{r}[{r}] * vec4<f32>(q{r}));
    }
#end
    // Sums over the other rows of the 16, then over the other 16.
    let on = (on0 + on1) + (on2 + on3);
    let up = (up0 + up1) + (up2 + up3);
    let on_beside = subgroupShuffleXor(on, 8u);
    let up_beside = subgroupShuffleXor(up, 8u);
    let on_others = subgroupShuffleXor(on + on_beside, 16u);
    let up_others = subgroupShuffleXor(up + up_beside, 16u);
    var grad = through[select(0u, block() * (params.d_k / 4u) + c, 4u * c < params.d_k)];
    grad += select(on_beside, up_beside, group % 2u == 1u) + select(on_others, up_others, group % 4u > 1u);
    workgroupBarrier();
    if group % 4u == 0u {
        sums[total_place(block_row)] = on + on_beside + on_others;
        sums[total_place(block_row) - 64u] = up + up_beside + up_others;
    }
    workgroupBarrier();
    for (var rows = 0u; rows < 4u; rows++) {
        if rows < block_row {
            grad += sums[total_place(rows) - 64u];
        } else if rows > block_row {
            grad += sums[total_place(rows)];
        }
    }
#for r in 0..4
    if spot{r}.ok {
        var grad{r} = grad;
#for i in 0..4
#if i < r
        grad{r} += up{i};
#else
        grad{r} += on{i};
#endif
#end
        grad_gk[spot{r}.at] = grad{r};
    }
#end
}
