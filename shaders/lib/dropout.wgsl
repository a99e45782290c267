// Dropout of a matrix [rows, d], four columns of a row a thread, which share one call of the generator.
//
// The importing kernel has params with rows, d, groups = ceil(d / 4), tag, threshold and scale, and defines
// `fn mask_row(row: u32) -> u32`, the row of the mask, and `fn drop(at: u32, keep: Keep, scale: f32)`, which does the
// element or, WIDE, quad `at`: `scale` is the factor of what is kept.
#import lib/keep

fn drop_columns(item: u32) {
    if item >= params.rows * params.groups {
        return;
    }
    let row = item / params.groups;
    let group = item % params.groups;
    let keep = kept(group, mask_row(row), params.tag, params.threshold);
    let scale = select(1.0, params.scale, step.dropout_on != 0u);
#if WIDE
    drop(row * params.groups + group, keep, scale);
#else
    let at = row * params.d + group * 4u;
#for k in 0..4
    if group * 4u + {k}u < params.d {
        drop(at + {k}u, keep[{k}], scale);
    }
#end
#endif
}
