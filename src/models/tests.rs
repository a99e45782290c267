use super::{BlockKind, HOUSEHOLDER, ModelConfig, default_heads};
use crate::ops::delta_rule::MAX_STEPS;

fn paper(name: &str, d_model: usize, householder: usize) -> ModelConfig {
    ModelConfig {
        blocks: vec![BlockKind::from_name(name).unwrap(); 8],
        d_model,
        heads: default_heads(d_model),
        vocab: 41,
        classes: 1601,
        householder,
        chunk: 64,
        d_state: 128,
        dropout: 0.2,
    }
}

/// Parameters of one layer's block (models.md section 2).
fn formula(name: &str, d: usize, h: usize, n: usize) -> usize {
    match name {
        "transformer" => 16 * d * d + 14 * d + 2 * d / h + 1,
        "delta_net" => 6 * d * d + d * h + 16 * d + 2 * d / h,
        "gated_delta_net" => 8 * d * d + 16 * d + 2 * d * h + 2 * h + 2 * d / h,
        "gated_delta_product" => {
            (5 + 3 * n) * d * d + 4 * d * (1 + 3 * n) + (n + 1) * d * h + 2 * h + 2 * d / h
        }
        _ => unreachable!("no formula for {name}"),
    }
}

#[test]
fn parameters_are_those_of_the_paper_s_sizes() {
    let sizes = [
        ("transformer", 768, 76.861),
        ("delta_net", 1296, 83.106),
        ("gated_delta_net", 1152, 87.291),
        ("gated_delta_product", 768, 82.059),
    ];
    for (name, d, millions) in sizes {
        let model = paper(name, d, HOUSEHOLDER);
        let params = model.param_count().unwrap();
        let layer = formula(name, d, model.heads, HOUSEHOLDER) + 2 * d;
        assert_eq!(params, 8 * layer + 42 * d + 1601 * (d + 1), "{name} {d}");
        assert_eq!(
            format!("{:.3}", params as f64 / 1e6),
            format!("{millions:.3}"),
            "{name} {d}"
        );
    }
}

#[test]
fn parameters_of_a_delta_product_follow_its_steps() {
    for n in 1..=MAX_STEPS {
        let model = paper("gated_delta_product", 96, n);
        let layer = formula("gated_delta_product", 96, 4, n) + 2 * 96;
        assert_eq!(
            model.param_count().unwrap(),
            8 * layer + 42 * 96 + 1601 * 97,
            "n {n}"
        );
    }
    for n in [0, 9] {
        let refused = paper("gated_delta_product", 96, n).validate().unwrap_err();
        let reason = format!("gated_delta_product: {n} Householder steps a token: allowed: 1 to 8");
        assert_eq!(refused.to_string(), reason);
    }
}
