// e^g for a log decay g <= 0 of any size; 0 where the result would be below what devices keep.
#import lib/activation

fn decay_factor(g: f32) -> f32 {
    return select(exp_wide(max(g, -87.0)), 0.0, g < -87.0);
}
