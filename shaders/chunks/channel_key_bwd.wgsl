// dK of a chunk by channel, X3 + sum of dP_ij q_i exp(..) over i >= j, and for the log decays U = q * W - k * (the sum
// over i > j) in the place of W. A running sum over sub-blocks of four tokens, the last first, which decays by each. A
// workgroup a (64 columns of d_k and chunk, h, b), four rows and four columns an invocation; grid (ceil(d_k / 64)
// chunks, H, B).
const CHUNK: u32 = 64;
const THREADS: u32 = CHUNK * 4;
const ADD: bool = false; // to what dK holds
const OF_KEYS: bool = false;
alias t_q = f32;
alias t_k = f32;
alias t_grad_k = f32;
#import lib/chunk
#import lib/channel

#if WIDE
alias a_q = vec4<t_q>;
alias a_k = vec4<t_k>;
alias a_grad_k = vec4<t_grad_k>;
#else
alias a_q = t_q;
alias a_k = t_k;
alias a_grad_k = t_grad_k;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> gk: array<Value>; // [B, T, H, d_k]
@group(0) @binding(2) var<storage, read_write> grad_p: array<vec4<f32>>; // [B, H, chunks, C, C]
@group(0) @binding(3) var<storage, read_write> x1: array<Value>; // [B, T HOUSEHOLDER, H, d_k]: W, then U
@group(0) @binding(4) var<storage, read_write> grad_k: array<a_grad_k>; // [B, T HOUSEHOLDER, H, d_k]
#if !OF_KEYS
@group(0) @binding(5) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
@group(0) @binding(6) var<storage, read_write> x3: array<Value>; // [B, T HOUSEHOLDER, H, d_k]
#endif
@group(0) @binding(7) var<uniform> params: Params;

// 16 rows of 64 channels, decayed from the starts of their sub-blocks, and the decays of those sub-blocks.
var<workgroup> q_rows: array<vec4<f32>, 256>;
var<workgroup> decays: array<vec4<f32>, 64>;

// The later row of a pair: a key or, at the last row of a token, its query.
fn query_at(i: u32, j: u32) -> vec4<f32> {
    var value = vec4(0.0);
#if WIDE
#if OF_KEYS
    let spot = in_keys(i, j);
    value = select(value, vec4<f32>(k[spot.at]), spot.ok);
#else
    let spot = in_queries(token(i), j);
    value = select(value, vec4<f32>(q[spot.at]), spot.ok & is_row(i) & is_last(i));
#endif
#else
#if OF_KEYS
    if is_row(i) {
#else
    if is_row(i) && is_last(i) {
#endif
#for c in 0..4
        if j + {c}u < params.d_k {
#if OF_KEYS
            value[{c}] = f32(k[row(i) * params.d_k + j + {c}u]);
#else
            value[{c}] = f32(q[query(token(i)) * params.d_k + j + {c}u]);
#endif
        }
#end
    }
#endif
    return value;
}

@compute @workgroup_size({THREADS})
fn channel_key_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.d_k) * 64u;
    let y = lane / 16u;
    let x = lane % 16u;
    let i = 4u * y;
    let j = n0 + 4u * x;
    let base = block() * CHUNK * (CHUNK / 4u) + y;
#for c in 0..4
    var sum{c} = vec4(0.0);
#end
    for (var done = 0u; done < CHUNK; done += 16u) {
        let first = CHUNK - 16u - done;
        workgroupBarrier();
        for (var n = lane; n < 256u; n += THREADS) {
            let m = first + n / 16u;
            let col = n0 + n % 16u * 4u;
            let from_start = gate_sum(m / 4u * 4u, m + 1u, col);
            q_rows[n] = query_at(m, col) * exp(from_start);
            if m % 4u == 3u {
                decays[n / 64u * 16u + n % 16u] = exp(from_start);
            }
        }
        workgroupBarrier();
        for (var n = 0u; n < 4u; n++) {
            let sub = 3u - n;
            if first / 4u + sub > y {
                let decay = decays[sub * 16u + x];
#for r in 0..4
                let q{r} = q_rows[(4u * sub + {r}u) * 16u + x];
                let p{r} = grad_p[base + (first + 4u * sub + {r}u) * (CHUNK / 4u)];
#end
#for c in 0..4
                sum{c} *= decay;
#for r in 0..4
                sum{c} = fma(vec4(p{r}[{c}]), q{r}, sum{c});
#end
#end
            }
        }
    }
#for r in 0..4
    let q{r} = query_at(i + {r}u, j);
    let g{r} = gates(i + {r}u, j);
    let p{r} = grad_p[base + (i + {r}u) * (CHUNK / 4u)];
#end
    let to_end2 = g3;
    let to_end1 = g2 + g3;
    let to_end0 = g1 + to_end1;
    sum0 *= exp(to_end0);
    sum1 *= exp(to_end1);
    sum2 *= exp(to_end2);
#for r in 1..4
#for c in 0..r
    {
        var decay = vec4(0.0);
#for m in c+1..r+1
        decay += g{m};
#end
        sum{c} += p{r}[{c}] * q{r} * exp(decay);
    }
#end
#end
#for c in 0..4
    if is_row(i + {c}u) {
#if WIDE
        if j < params.d_k {
            let at = (row(i + {c}u) * params.d_k + j) / 4u;
            x1[at] = q{c} * x1[at] - vec4<f32>(k[at]) * sum{c};
#if OF_KEYS
            grad_k[at] = a_grad_k(vec4<f32>(grad_k[at]) + sum{c});
#else
            let gradient = x3[at] + sum{c} + p{c}[{c}] * q{c};
#if ADD
            grad_k[at] = a_grad_k(vec4<f32>(grad_k[at]) + gradient);
#else
            grad_k[at] = a_grad_k(gradient);
#endif
#endif
        }
#else
#for e in 0..4
        if j + {e}u < params.d_k {
            let at = row(i + {c}u) * params.d_k + j + {e}u;
            x1[at] = q{c}[{e}] * x1[at] - f32(k[at]) * sum{c}[{e}];
#if OF_KEYS
            grad_k[at] = t_grad_k(f32(grad_k[at]) + sum{c}[{e}]);
#else
            let gradient = x3[at] + sum{c}[{e}] + p{c}[{c}] * q{c}[{e}];
#if ADD
            grad_k[at] = t_grad_k(f32(grad_k[at]) + gradient);
#else
            grad_k[at] = t_grad_k(gradient);
#endif
#endif
        }
#end
#endif
    }
#end
}
