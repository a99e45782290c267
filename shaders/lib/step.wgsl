// What changes from step to step; mirrors `step::StepParams`.
struct Step {
    seed: u32,
    step: u32,
    first_row: u32,
    dropout_on: u32,
    inv_tokens: f32,
    step_size: f32,
    inv_sqrt_bias2: f32,
    clip: f32,
}
