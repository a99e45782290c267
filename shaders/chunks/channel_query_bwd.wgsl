// dQ of a chunk by channel: what of it decays, W = X1 + sum of dP_ij k_j exp(..) over j < i, in the place of X1, and dQ =
// W + dP_ii k_i. OF_KEYS: the same of the delta rule's G, for dK of the later row of each pair. A running sum over sub-blocks of four tokens, which decays by each. A workgroup a (64 columns of d_k
// and chunk, h, b), four rows and four columns an invocation; grid (ceil(d_k / 64) chunks, H, B).
const CHUNK: u32 = 64;
const THREADS: u32 = CHUNK * 4;
const OF_KEYS: bool = false;
alias t_k = f32;
alias t_grad_q = f32;
#import lib/chunk
#import lib/channel

#if WIDE
alias a_k = vec4<t_k>;
alias a_grad_q = vec4<t_grad_q>;
#else
alias a_k = t_k;
alias a_grad_q = t_grad_q;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> gk: array<Value>; // [B, T, H, d_k]
@group(0) @binding(2) var<storage, read_write> grad_p: array<vec4<f32>>; // [B, H, chunks, C, C]
@group(0) @binding(3) var<storage, read_write> x1: array<Value>; // [B, T HOUSEHOLDER, H, d_k]: X1 (-X2), then W
@group(0) @binding(4) var<storage, read_write> grad_q: array<a_grad_q>; // dQ [B, T, H, d_k] or dK [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(5) var<uniform> params: Params;

// 16 rows of 64 channels, decayed to the ends of their sub-blocks, and the decays of those sub-blocks.
var<workgroup> k_rows: array<vec4<f32>, 256>;
var<workgroup> decays: array<vec4<f32>, 64>;

fn key_at(i: u32, j: u32) -> vec4<f32> {
    var value = vec4(0.0);
#if WIDE
    let spot = in_keys(i, j);
    value = select(value, vec4<f32>(k[spot.at]), spot.ok);
#else
    if is_row(i) {
#for c in 0..4
        if j + {c}u < params.d_k {
            value[{c}] = f32(k[row(i) * params.d_k + j + {c}u]);
        }
#end
    }
#endif
    return value;
}

@compute @workgroup_size({THREADS})
fn channel_query_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.d_k) * 64u;
    let y = lane / 16u;
    let x = lane % 16u;
    let i = 4u * y;
    let j = n0 + 4u * x;
    let base = (block() * CHUNK + i) * (CHUNK / 4u);
#for r in 0..4
    var sum{r} = vec4(0.0);
#end
    for (var first = 0u; first < CHUNK; first += 16u) {
        workgroupBarrier();
        for (var n = lane; n < 256u; n += THREADS) {
            let m = first + n / 16u;
            let col = n0 + n % 16u * 4u;
            let to_end = gate_sum(m + 1u, m / 4u * 4u + 4u, col);
            k_rows[n] = key_at(m, col) * exp(to_end);
            if m % 4u == 0u {
                decays[n / 64u * 16u + n % 16u] = exp(gates(m, col) + to_end);
            }
        }
        workgroupBarrier();
        for (var sub = 0u; sub < 4u; sub++) {
            if first / 4u + sub < y {
                let decay = decays[sub * 16u + x];
#for c in 0..4
                let k{c} = k_rows[(4u * sub + {c}u) * 16u + x];
#end
#for r in 0..4
                let p{r} = grad_p[base + {r}u * (CHUNK / 4u) + first / 4u + sub];
                sum{r} *= decay;
#for c in 0..4
                sum{r} = fma(vec4(p{r}[{c}]), k{c}, sum{r});
#end
#end
            }
        }
    }
    var from_start = vec4(0.0);
#for r in 0..4
    let k{r} = key_at(i + {r}u, j);
    let g{r} = gates(i + {r}u, j);
    let p{r} = grad_p[base + {r}u * (CHUNK / 4u) + y];
    from_start += g{r};
    sum{r} *= exp(from_start);
#end
#for r in 1..4
#for c in 0..r
    {
        var decay = vec4(0.0);
#for m in c+1..r+1
        decay += g{m};
#end
        sum{r} += p{r}[{c}] * k{c} * exp(decay);
    }
#end
#end
#for r in 0..4
    if is_row(i + {r}u) {
#if WIDE
        if j < params.d_k {
            let at = (row(i + {r}u) * params.d_k + j) / 4u;
            let w = x1[at] + sum{r};
            x1[at] = w;
            let gradient = a_grad_q(w + p{r}[{r}] * k{r});
#if OF_KEYS
            grad_q[at] = gradient;
#else
            if is_last(i + {r}u) {
                grad_q[(query(token(i + {r}u)) * params.d_k + j) / 4u] = gradient;
            }
#endif
        }
#else
#for c in 0..4
        if j + {c}u < params.d_k {
            let at = row(i + {r}u) * params.d_k + j + {c}u;
            let w = x1[at] + sum{r}[{c}];
            x1[at] = w;
            let gradient = t_grad_q(w + p{r}[{r}] * k{r}[{c}]);
#if OF_KEYS
            grad_q[at] = gradient;
#else
            if is_last(i + {r}u) {
                grad_q[query(token(i + {r}u)) * params.d_k + j + {c}u] = gradient;
            }
#endif
        }
#end
#endif
    }
#end
}
