//! Single files and diffusers folders give the same networks; LoRAs merge; other kinds of model are recognised.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::golden;
use candle_core::{DType, Device, Tensor};
use networks::checkpoint::{Checkpoint, PredictionType};
use networks::clip::text::{ClipText, ClipTextConfig};
use networks::lora::Lora;
use networks::unet::UNet;
use networks::vae::{Vae, VaeConfig};
use networks::weights::Memory;
use networks::{Error, Result, Weights};

const F32: DType = DType::F32;
const CPU: Device = Device::Cpu;

fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, shape, &CPU)?)
}

/// All tensors of some weights under the names a network asked for.
fn contents(weights: &Weights) -> Result<HashMap<String, Tensor>> {
    weights.asked().into_iter().map(|(name, shape)| Ok((name.clone(), weights.get(&name, &shape)?))).collect()
}

fn save(tensors: &HashMap<String, Tensor>, path: &Path) -> Result<()> {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Ok(candle_core::safetensors::save(tensors, path)?)
}

fn tiny_vae() -> VaeConfig {
    VaeConfig { channels: 32, ..VaeConfig::sdxl() }
}

fn tiny_clip() -> (ClipTextConfig, ClipTextConfig) {
    let l = ClipTextConfig { width: 32, layers: 4, heads: 2, mlp: 128, ..ClipTextConfig::clip_l() };
    let g = ClipTextConfig {
        width: 48,
        layers: 5,
        heads: 3,
        mlp: 192,
        projection: Some(48),
        ..ClipTextConfig::clip_g()
    };
    (l, g)
}

/// The tiny checkpoint as a diffusers folder: the UNet in two shards, CLIP-L in half precision, an old autoencoder.
fn write_folder(folder: &Path) -> Result<()> {
    let single = golden::tiny_checkpoint()?;
    let unet = single.unet(&golden::tiny_unet(), F32, &CPU)?;
    UNet::load(&golden::tiny_unet(), &unet)?;
    let (mut first, mut second, mut map) = (HashMap::new(), HashMap::new(), BTreeMap::new());
    for (i, (name, tensor)) in contents(&unet)?.into_iter().enumerate() {
        let (shard, file) =
            if i % 2 == 0 { (&mut first, "a.safetensors") } else { (&mut second, "b.safetensors") };
        map.insert(name.clone(), file);
        shard.insert(name, tensor);
    }
    save(&first, &folder.join("unet/a.safetensors"))?;
    save(&second, &folder.join("unet/b.safetensors"))?;
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    let file = folder.join("unet/diffusion_pytorch_model.safetensors.index.json");
    std::fs::write(file, index.to_string()).unwrap();

    let vae = single.vae(F32, &CPU)?;
    Vae::load(&tiny_vae(), &vae)?;
    let old = |name: &str| name.replace(".to_q.", ".query.").replace(".to_out.0.", ".proj_attn.");
    let old: HashMap<_, _> = contents(&vae)?.into_iter().map(|(name, t)| (old(&name), t)).collect();
    save(&old, &folder.join("vae/diffusion_pytorch_model.safetensors"))?;

    let (l, g) = tiny_clip();
    let (weights_l, weights_g) = (single.clip_l(DType::F16, &CPU)?, single.clip_g(F32, &CPU)?);
    ClipText::load(&l, &weights_l)?;
    ClipText::load(&g, &weights_g)?;
    save(&contents(&weights_l)?, &folder.join("text_encoder/model.fp16.safetensors"))?;
    save(&contents(&weights_g)?, &folder.join("text_encoder_2/model.safetensors"))
}

#[test]
fn a_folder_equals_the_single_file() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path())?;
    let (folder, single) = (Checkpoint::open(folder.path())?, golden::tiny_checkpoint()?);
    assert_eq!((folder.prediction(), single.prediction()), (PredictionType::Eps, PredictionType::Eps));
    let (l, g) = tiny_clip();
    let ids = vec![(0..77).collect::<Vec<u32>>()];
    let pooled = |checkpoint: &Checkpoint| ClipText::load(&g, &checkpoint.clip_g(F32, &CPU)?)?.forward(&ids);
    let (a, b) = (pooled(&folder)?, pooled(&single)?);
    assert_eq!(golden::largest_difference(&a.pooled.unwrap(), &b.pooled.unwrap())?, 0.0);
    let rounded = ClipText::load(&l, &folder.clip_l(F32, &CPU)?)?.forward(&ids)?.penultimate;
    let exact = ClipText::load(&l, &single.clip_l(F32, &CPU)?)?.forward(&ids)?.penultimate;
    let difference = golden::largest_difference(&rounded, &exact)?;
    assert!(difference > 0.0 && difference < 1e-2, "half precision on disk: {difference}");

    let latent = Tensor::ones((1, 4, 4, 4), F32, &CPU)?;
    let decode =
        |checkpoint: &Checkpoint| Vae::load(&tiny_vae(), &checkpoint.vae(F32, &CPU)?)?.decode(&latent);
    assert_eq!(golden::largest_difference(&decode(&folder)?, &decode(&single)?)?, 0.0);
    for checkpoint in [&folder, &single] {
        UNet::load(&golden::tiny_unet(), &checkpoint.unet(&golden::tiny_unet(), F32, &CPU)?)?;
    }
    Ok(())
}

/// A LoRA of rank 1 on one layer of each network, in every dialect of keys.
#[test]
fn loras_merge() -> Result<()> {
    let layers = [
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "lora_unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_down.weight",
        "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_down.weight",
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
        "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.default.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_linear_layer.down.weight",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
    ];
    let target = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight";
    let read =
        |checkpoint: &Checkpoint| checkpoint.unet(&golden::tiny_unet(), F32, &CPU)?.get(target, &[64, 64]);
    let before = read(&golden::tiny_checkpoint()?)?;
    let (down, up) = (Tensor::ones((2, 64), F32, &CPU)?, (Tensor::ones((64, 2), F32, &CPU)? * 0.25)?);
    for down_key in layers {
        let up_key = down_key
            .replace("lora_down", "lora_up")
            .replace("lora_A", "lora_B")
            .replace("lora.down", "lora.up")
            .replace("layer.down", "layer.up");
        let mut tensors = HashMap::from([(down_key.to_owned(), down.clone()), (up_key, up.clone())]);
        // alpha/rank = 3/2 with an alpha, 1 without.
        let mut expected = 0.8 * 0.5;
        if let Some(layer) = down_key.strip_suffix(".lora_down.weight") {
            tensors.insert(format!("{layer}.alpha"), tensor(&[3.0], &[])?);
            expected *= 1.5;
        }
        let lora = Lora::new("test LoRA".to_owned(), Arc::new(Memory(tensors)))?;
        let after = read(&golden::tiny_checkpoint()?.with_lora(lora, 0.8))?;
        let want = (&before + expected)?;
        assert!(golden::largest_difference(&after, &want)? < 1e-6, "{down_key}");
    }
    Ok(())
}

#[test]
fn loras_merge_into_convolutions_and_text_encoders() -> Result<()> {
    let ones = |shape: &[usize]| Tensor::ones(shape, F32, &CPU);
    let tensors = HashMap::from([
        ("lora_unet_output_blocks_5_2_conv.lora_down.weight".to_owned(), ones(&[1, 64, 3, 3])?),
        ("lora_unet_output_blocks_5_2_conv.lora_up.weight".to_owned(), ones(&[64, 1, 1, 1])?),
        ("lora_unet_middle_block_0_emb_layers_1.lora_down.weight".to_owned(), ones(&[1, 128])?),
        ("lora_unet_middle_block_0_emb_layers_1.lora_up.weight".to_owned(), ones(&[128, 1])?),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight".to_owned(), ones(&[1, 32])?),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight".to_owned(), ones(&[128, 1])?),
        (
            "lora_te2_text_model_encoder_layers_1_self_attn_v_proj.lora_down.weight".to_owned(),
            ones(&[1, 48])?,
        ),
        ("lora_te2_text_model_encoder_layers_1_self_attn_v_proj.lora_up.weight".to_owned(), ones(&[48, 1])?),
    ]);
    let lora = Lora::new("test LoRA".to_owned(), Arc::new(Memory(tensors)))?;
    let (plain, with) = (golden::tiny_checkpoint()?, golden::tiny_checkpoint()?.with_lora(lora, 1.0));
    let check = |weights: [Weights; 2], name: &str, shape: &[usize]| -> Result<()> {
        let want = (weights[0].get(name, shape)? + 1.0)?;
        assert!(golden::largest_difference(&weights[1].get(name, shape)?, &want)? < 1e-6, "{name}");
        Ok(())
    };
    let config = golden::tiny_unet();
    let unet = || Ok::<_, Error>([plain.unet(&config, F32, &CPU)?, with.unet(&config, F32, &CPU)?]);
    check(unet()?, "up_blocks.1.upsamplers.0.conv.weight", &[64, 64, 3, 3])?;
    check(unet()?, "mid_block.resnets.0.time_emb_proj.weight", &[128, 128])?;
    let l = [plain.clip_l(F32, &CPU)?, with.clip_l(F32, &CPU)?];
    check(l, "text_model.encoder.layers.0.mlp.fc1.weight", &[128, 32])?;
    let g = [plain.clip_g(F32, &CPU)?, with.clip_g(F32, &CPU)?];
    check(g, "text_model.encoder.layers.1.self_attn.v_proj.weight", &[48, 48])
}

#[test]
fn a_lora_for_another_model_is_refused() -> Result<()> {
    let key = "lora_unet_input_blocks_1_1_proj_in";
    let ones = Tensor::ones((1, 32), F32, &CPU)?;
    let tensors = [("lora_down", ones.clone()), ("lora_up", ones.t()?)];
    let tensors = tensors.map(|(role, tensor)| (format!("{key}.{role}.weight"), tensor));
    let lora = Lora::new("SD 1.5 LoRA".to_owned(), Arc::new(Memory(HashMap::from(tensors))))?;
    let error =
        golden::tiny_checkpoint()?.with_lora(lora, 1.0).unet(&golden::tiny_unet(), F32, &CPU).err().unwrap();
    assert!(error.to_string().contains(key), "{error}");
    let loha = HashMap::from([("layer.hada_w1_a".to_owned(), ones)]);
    assert!(Lora::new("LoHa".to_owned(), Arc::new(Memory(loha))).is_err());
    Ok(())
}

/// Whatever its keys are, no LoRA is passed over without a word.
#[test]
fn keys_that_belong_nowhere_are_named() -> Result<()> {
    let open = |layers: &[&str], roles: &[&str]| {
        let names = layers.iter().flat_map(|layer| roles.iter().map(move |role| format!("{layer}.{role}")));
        let tensors = names.map(|name| Ok((name, Tensor::ones((1, 64), F32, &CPU)?)));
        Lora::new("file".to_owned(), Arc::new(Memory(tensors.collect::<Result<_>>()?)))
    };
    let both = ["lora_down.weight", "lora_up.weight"];
    for layer in [
        "lora_te_text_model_encoder_layers_0_mlp_fc1", // Stable Diffusion 1.5
        "text_model.encoder.layers.0.mlp.fc1",         // of which of the two?
        "transformer.single_transformer_blocks.0.attn.to_q", // Flux
        "lora_transformer_single_transformer_blocks_0_attn_to_q",
        "lora_unet",
        "down_blocksish.0",
        "",
    ] {
        let error = open(&[layer], &both).err().unwrap().to_string();
        assert!(error.contains(&format!("`{layer}`")) && error.contains("lora_te2_"), "{error}");
    }
    assert!(open(&[], &both).err().unwrap().to_string().contains("no tensor"), "an empty file");
    let half = open(&["unet.conv_in"], &both[..1]).err().unwrap().to_string();
    assert!(half.contains("unet.conv_in") && half.contains("factors"), "{half}");
    let layer = "attentions.0.transformer_blocks.0.attn1.to_q";
    let twice = [
        format!("unet.down_blocks.1.{layer}"),
        format!("lora_unet_down_blocks_1_{}", layer.replace('.', "_")),
    ];
    let lora = open(&[&twice[0], &twice[1]], &both)?;
    let error =
        golden::tiny_checkpoint()?.with_lora(lora, 1.0).unet(&golden::tiny_unet(), F32, &CPU).err().unwrap();
    assert!(error.to_string().contains("twice"), "{error}");
    Ok(())
}

#[test]
fn predictions_are_recognised() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let with_marker = |marker: &str| {
        let file = folder.path().join(format!("{marker}.safetensors"));
        save(&HashMap::from([(marker.to_owned(), tensor(&[0.0], &[1])?)]), &file)?;
        Checkpoint::open(&file)
    };
    assert_eq!(with_marker("v_pred")?.prediction(), PredictionType::V);
    for marker in ["edm_mean", "edm_vpred.sigma_max"] {
        let error = with_marker(marker).err().unwrap();
        assert!(matches!(&error, Error::Unsupported { reason, .. } if reason.contains("EDM")), "{error}");
    }
    std::fs::create_dir_all(folder.path().join("model/unet")).unwrap();
    std::fs::create_dir_all(folder.path().join("model/scheduler")).unwrap();
    let scheduler = folder.path().join("model/scheduler/scheduler_config.json");
    std::fs::write(
        &scheduler,
        r#"{"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction"}"#,
    )
    .unwrap();
    assert_eq!(Checkpoint::open(&folder.path().join("model"))?.prediction(), PredictionType::V);
    std::fs::write(&scheduler, r#"{"_class_name": "EDMDPMSolverMultistepScheduler"}"#).unwrap();
    assert!(Checkpoint::open(&folder.path().join("model")).is_err());
    assert!(Checkpoint::open(folder.path()).is_err(), "a folder without `unet`");
    Ok(())
}

/// A tensor of the UNet that no UNet of these dimensions has.
#[test]
fn extra_tensors_are_named() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("extra.safetensors");
    let mut shapes =
        networks::synthetic::read_manifest(&golden::path("weights_manifest.json"))?["sdxl_tiny"].clone();
    shapes.retain(|name, _| name.starts_with("model.diffusion_model."));
    let extra = "model.diffusion_model.input_blocks.1.1.norm.weight";
    shapes.insert(extra.to_owned(), vec![32]);
    networks::synthetic::write("sdxl_tiny", &shapes, &file)?;
    let weights = Checkpoint::open(&file)?.unet(&golden::tiny_unet(), F32, &CPU)?;
    let error = UNet::load(&golden::tiny_unet(), &weights).unwrap_err();
    let Error::Extra { names, count: 1, .. } = &error else { panic!("{error}") };
    assert_eq!(names, "down_blocks.0.attentions.0.norm.weight");
    Ok(())
}
