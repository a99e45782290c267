// Backward of y = factor x, a factor a row. The importing kernel has bindings x, grad_y and grad_x [rows, p] of Lanes, params
// with p and accumulate, and the rows of lib/row.
#import lib/row

// Writes dx = factor dy of the caller's row, or adds it where `accumulate`, and returns dy . x. For all threads of the
// workgroup together; a row that is not there is not `inside`.
fn scaled_row_bwd(row: u32, inside: bool, factor: f32, thread: u32) -> f32 {
    let lane = thread % LANES;
    let columns = params.p / WIDTH;
    var sum = Lanes();
#for k in 0..PER
    if inside && lane + {k}u * LANES < columns {
        let at = row * columns + lane + {k}u * LANES;
        let d = Lanes(grad_y[at]);
        sum = fma(d, Lanes(x[at]), sum);
        var value = factor * d;
        if params.accumulate != 0u {
            value += Lanes(grad_x[at]);
        }
        grad_x[at] = a_grad_x(value);
    }
#end
    return row_sum(vec2(lanes_total(sum), 0.0), thread).x;
}
