// h <- (1 - z) m + z h, also to h_out, from both sides of the gates' arguments. A thread does one channel of one sequence;
// grid: ops::grid_1d over ceil(B d / 256). Source: models.md 3.8, 7.
#import lib/grid
#import lib/gru

alias t_xg = f32;
alias t_hg = f32;
alias t_h_out = f32;

struct Params { n: u32, d: u32 } // B d

@group(0) @binding(0) var<storage, read_write> xg: array<t_xg>; // [B, 3 d]
@group(0) @binding(1) var<storage, read_write> hg: array<t_hg>; // [B, 3 d]
@group(0) @binding(2) var<storage, read_write> h_out: array<t_h_out>; // [B, d]
@group(0) @binding(3) var<storage, read_write> h: array<f32>; // [B, d]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn gru_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.n {
        return;
    }
    let d = params.d;
    let at = i / d * 3u * d + i % d;
    let x = vec3(f32(xg[at]), f32(xg[at + d]), f32(xg[at + 2u * d]));
    let s = vec3(f32(hg[at]), f32(hg[at + d]), f32(hg[at + 2u * d]));
    let next = gru_cell(x, s, h[i]);
    h_out[i] = t_h_out(next);
    h[i] = next;
}
