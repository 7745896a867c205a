//! Tokens, weights, contexts and pooled vectors against the reference, and the vector condition.

use crate::golden::{self, Golden};
use candle_core::{DType, Tensor};
use networks::clip::conditioning::{TextEncoders, vector_condition};
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::clip::tokenizer::{Tokenizer, Tokens};
use networks::{Result, Weights};

fn encoders() -> Result<TextEncoders> {
    let checkpoint = golden::tiny_checkpoint()?;
    let l = ClipTextConfig { width: 32, layers: 4, heads: 2, mlp: 128, ..ClipTextConfig::clip_l() };
    let g = ClipTextConfig {
        width: 48,
        layers: 5,
        heads: 3,
        mlp: 192,
        projection: Some(48),
        ..ClipTextConfig::clip_g()
    };
    let l = ClipText::load(&l, &checkpoint.clip_l(DType::F32, &golden::device())?)?;
    let g = ClipText::load(&g, &checkpoint.clip_g(DType::F32, &golden::device())?)?;
    TextEncoders::new(l, g)
}

/// The prompts of `stages/text`, from the manifest.
fn prompts() -> Vec<String> {
    let text = std::fs::read(golden::path("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let prompts = manifest["entries"]["stages/text"]["params"]["prompts"].as_array().unwrap();
    prompts.iter().map(|prompt| prompt["prompt"].as_str().unwrap().to_owned()).collect()
}

fn assert_tokens(golden: &Golden, name: &str, tokens: &Tokens) -> Result<()> {
    let ids: Vec<Vec<i64>> = golden.get(&format!("{name}.ids")).to_vec2()?;
    let got: Vec<Vec<i64>> =
        tokens.ids.iter().map(|chunk| chunk.iter().map(|id| i64::from(*id)).collect()).collect();
    assert_eq!(got, ids, "{name}");
    let weights: Vec<Vec<f64>> = golden.get(&format!("{name}.weights_f64")).to_vec2()?;
    for (got, want) in tokens.weights.iter().flatten().zip(weights.iter().flatten()) {
        assert!((got - want).abs() <= 1e-6, "{name}: weight {got} instead of {want}");
    }
    Ok(())
}

#[test]
fn prompts_become_contexts() -> Result<()> {
    let (golden, encoders) = (Golden::open("text")?, encoders()?);
    let prompts = prompts();
    assert_eq!(prompts.len(), 12);
    for (i, prompt) in prompts.iter().enumerate() {
        let (l, g) = encoders.tokens(prompt);
        assert_tokens(&golden, &format!("{i}.l"), &l)?;
        assert_tokens(&golden, &format!("{i}.g"), &g)?;
        let text = encoders.encode(prompt)?;
        golden.compare(&format!("{i}.context"), &text.context, 2e-5)?;
        golden.compare(&format!("{i}.pooled"), &text.pooled, 1e-5)?;
    }
    Ok(())
}

#[test]
fn unicode_and_punctuation() -> Result<()> {
    #[derive(serde::Deserialize)]
    struct File {
        rows: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        text: String,
        ids: Vec<u32>,
    }
    let file = std::fs::read(golden::path("stages/tokens_unicode.json")).unwrap();
    let file: File = serde_json::from_slice(&file).unwrap();
    assert!(file.rows.len() > 100);
    let tokenizer = Tokenizer::clip()?;
    for Row { text, ids } in file.rows {
        assert_eq!(tokenizer.encode(&text), ids[1..ids.len() - 1], "{text:?}");
    }
    Ok(())
}

#[test]
fn sizes_and_timesteps() -> Result<()> {
    let golden = Golden::open("adm")?;
    for case in 0..3 {
        let size: Vec<i64> = golden.get(&format!("{case}.size_wh")).to_vec1()?;
        let pooled = golden.get(&format!("{case}.pooled"));
        let y = vector_condition(&pooled, size[1] as usize, size[0] as usize)?;
        golden.compare(&format!("{case}.y"), &y, 3e-4)?;
    }
    for dim in [32, 320] {
        let embedding = kernels::sinusoid(&golden.get("timesteps"), dim)?;
        golden.compare(&format!("timestep_embedding_{dim}"), &embedding, 1e-4)?;
    }
    Ok(())
}

/// The published models have 123.1 and 694.7 million parameters (CLIP-L has no projection).
#[test]
fn full_size_parameters() -> Result<()> {
    for (config, tensors, parameters) in
        [(ClipTextConfig::clip_l(), 196, 123_060_480), (ClipTextConfig::clip_g(), 517, 694_659_840)]
    {
        let blank = Weights::blank(DType::F16, &golden::device());
        ClipText::load(&config, &blank)?;
        assert_eq!(blank.asked().len(), tensors);
        assert_eq!(golden::parameters(&blank.asked()), parameters);
    }
    Ok(())
}

#[test]
fn half_precision_stays_close() -> Result<()> {
    let golden = Golden::open("text")?;
    let checkpoint = golden::tiny_checkpoint()?;
    let config = ClipTextConfig { width: 32, layers: 4, heads: 2, mlp: 128, ..ClipTextConfig::clip_l() };
    let l = ClipText::load(&config, &checkpoint.clip_l(DType::F16, &golden::device())?)?;
    let tokens = Tokenizer::clip()?.chunks("marble sculpture", 77, 49407);
    let states = l.forward(&tokens.ids)?.penultimate.to_dtype(DType::F32)?;
    let want: Tensor = golden.get("0.context").narrow(2, 0, 32)?;
    assert!(golden::largest_difference(&states, &want)? < 2e-2);
    Ok(())
}
