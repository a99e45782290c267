// Second stage of sums over rows, several in a launch: sum[c] (+)= sum over p of partials[p, c], always in the same order.
// A workgroup does 2^shift columns of one sum, at most 256; as many threads as are left share a column, each takes every
// so-manieth part, then a tree.
// Grid: ops::grid_1d over the sums' ceil(n / 2^shift) together. Host: `ops::reduce::column_sum`, `gpu::sums`.
#import lib/grid

const JOBS: u32 = 64u;
alias t_sum = f32;

struct Job {
    first: u32, // workgroup; those that are not used have the largest number
    shift: u32,
    parts: u32,
    n: u32,
    accumulate: u32,
    partial: u32, // where the sum's own [parts, n] begin
    sum: u32, // and its [n]
    padding: u32,
}
struct Params { jobs: array<Job, JOBS> }

@group(0) @binding(0) var<storage, read_write> partials: array<f32>; // [parts, n] of each
@group(0) @binding(1) var<storage, read_write> sum: array<t_sum>; // [n] of each
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> slices: array<f32, 256>;

@compute @workgroup_size(256)
fn column_sum(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    var at = 0u;
    for (var half = JOBS / 2u; half > 0u; half /= 2u) {
        if params.jobs[at + half].first <= group {
            at += half;
        }
    }
    let job = params.jobs[at];
    let columns = 1u << job.shift;
    let c = ((group - job.first) << job.shift) + (thread & (columns - 1u));
    let slice = thread >> job.shift;
    var total = 0.0;
    if c < job.n {
        for (var p = slice; p < job.parts; p += 256u >> job.shift) {
            total += partials[job.partial + p * job.n + c];
        }
    }
    slices[thread] = total;
    workgroupBarrier();
    for (var span = 128u >> job.shift; span > 0u; span /= 2u) {
        if slice < span {
            slices[thread] += slices[thread + (span << job.shift)];
        }
        workgroupBarrier();
    }
    if slice == 0u && c < job.n {
        var result = slices[thread];
        if job.accumulate != 0u {
            result += f32(sum[job.sum + c]);
        }
        sum[job.sum + c] = t_sum(result);
    }
}
