//! What requests may say beyond the hosted model's parameters: masks, several materials, blends, weights, exact backgrounds.

use image::{Rgb, RgbImage};
use pipeline::{
    Background, Cancel, Engine, Error, MaterialFit, Outcome, Picture, Silent, Strength, Transfer,
};

use super::{engine, tiny, transfer};

/// The tiny networks without the two hints, which have nothing to do with what is tested here and take most of the time.
fn quick() -> (tempfile::TempDir, Box<dyn Engine>) {
    let folder = tiny::folder();
    let path = folder.path().join("tiny.toml");
    let profile = std::fs::read_to_string(&path).expect("read");
    let hints = "\n[conditioning]\ndepth = { strength = 0.0 }\nlineart = { strength = 0.0 }\n";
    std::fs::write(&path, profile + hints).expect("written");
    let engine = engine(&folder);
    (folder, engine)
}

/// White inside a rectangle: left, top, right, bottom as shares of the sides.
fn rectangle((width, height): (u32, u32), [left, top, right, bottom]: [f64; 4]) -> Picture {
    let share = |v: u32, side: u32| (f64::from(v) + 0.5) / f64::from(side);
    Picture::opaque(RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (share(x, width), share(y, height));
        Rgb([if u > left && u < right && v > top && v < bottom { 255 } else { 0 }; 3])
    }))
}

/// Two materials that are nothing like each other.
fn materials() -> [Picture; 2] {
    let of =
        |pixel: fn(u32, u32) -> [u8; 3]| Picture::opaque(RgbImage::from_fn(96, 96, |x, y| Rgb(pixel(x, y))));
    [
        of(|x, y| [220, (x * 2) as u8, (y / 2) as u8]),
        of(|x, y| [(y / 3) as u8, 90, if (x / 8 + y / 8) % 2 == 0 { 240 } else { 30 }]),
    ]
}

fn run(engine: &dyn Engine, change: impl FnOnce(&mut Transfer)) -> Outcome {
    let mut transfer = transfer("pub_b");
    transfer.settings.steps = 3;
    change(&mut transfer);
    engine.transfer(&transfer, &Silent, &Cancel::default()).expect("an outcome")
}

/// Mean absolute difference where `inside` holds, in 8-bit steps.
fn apart(a: &RgbImage, b: &RgbImage, inside: impl Fn(u32, u32) -> bool) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let (mut sum, mut count) = (0.0, 0.0f64);
    for (x, y, p) in a.enumerate_pixels().filter(|(x, y, _)| inside(*x, *y)) {
        let q = b.get_pixel(x, y);
        sum += (0..3).map(|c| f64::from(p[c].abs_diff(q[c]))).sum::<f64>() / 3.0;
        count += 1.0;
    }
    sum / count.max(1.0)
}

#[test]
fn a_given_mask_takes_the_place_of_the_network_which_is_not_read() {
    let (folder, engine) = quick();
    std::fs::write(folder.path().join("u2netp_synth.safetensors"), b"no weights").expect("written");
    let size = transfer("pub_b").subject().rgb.dimensions();
    let with = |area| run(engine.as_ref(), |t| t.pictures.subject_mask = Some(rectangle(size, area)));
    let (left, right) = (with([0.1, 0.2, 0.45, 0.8]), with([0.55, 0.2, 0.9, 0.8]));
    let half = left.picture.rgb.width() / 2;
    let on = |left_side: bool| apart(&left.picture.rgb, &right.picture.rgb, |x, _| (x < half) == left_side);
    assert!(on(true) > 1.0 && on(false) > 1.0);
    let without = engine.transfer(&transfer("pub_b"), &Silent, &Cancel::default());
    assert!(matches!(without, Err(Error::Profile(_))), "the network is what was broken: {without:?}");
}

#[test]
fn an_exact_background_is_the_subjects_to_the_byte() {
    let (_folder, engine) = quick();
    let subject = transfer("pub_b").subject().rgb.clone();
    // No edge lies on the latent's grid of 8 pixels.
    let area = [0.287, 0.303, 0.713, 0.689];
    let with = |background| {
        let outcome = run(engine.as_ref(), |t| {
            t.pictures.subject_mask = Some(rectangle((211, 240), area));
            t.settings.background = background;
            // At most that of the golden run, so that no resizing comes between.
            (t.settings.max_width, t.settings.max_height) = (1920, 1920);
            t.pictures.subject_image = Picture::opaque(image::imageops::resize(
                &subject,
                139,
                158,
                image::imageops::FilterType::Triangle,
            ));
        });
        outcome.picture.rgb
    };
    let original = image::imageops::resize(&subject, 139, 158, image::imageops::FilterType::Triangle);
    let original = sdxl::crop::Window::latent_grid((139, 158)).of(&original);
    let (exact, painted) = (with(Background::Exact), with(Background::Painted));
    let far = |x: u32, y: u32| {
        let (u, v) = (f64::from(x) / 136.0, f64::from(y) / 152.0);
        u < area[0] - 0.08 || u > area[2] + 0.08 || v < area[1] - 0.08 || v > area[3] + 0.08
    };
    assert_eq!(apart(&exact, &original, far), 0.0);
    assert!(apart(&painted, &original, far) > 0.5, "the autoencoder changes what it touches");
    assert!(apart(&exact, &original, |x, y| !far(x, y)) > 1.0);
}

#[test]
fn each_mask_has_its_material() {
    let (_folder, engine) = quick();
    let size = transfer("pub_b").subject().rgb.dimensions();
    let masks = || vec![rectangle(size, [0.0, 0.0, 0.5, 1.0]), rectangle(size, [0.5, 0.0, 1.0, 1.0])];
    let with = |left: usize, right: usize| {
        let outcome = run(engine.as_ref(), |t| {
            let all = materials();
            t.pictures.masks = masks();
            t.pictures.materials = vec![all[left].clone(), all[right].clone()];
            t.pictures.material_image = None;
            // A faint material, so that what spreads through self-attention stays small beside it.
            (t.settings.weight, t.settings.guidance_scale) = (0.25, 1.0);
        });
        let names: Vec<&str> = outcome.intermediates.iter().map(|each| each.name).collect();
        assert!(names.contains(&"material") && names.contains(&"material_2"), "{names:?}");
        outcome.picture.rgb
    };
    let (both_first, left_changed, right_changed) = (with(0, 0), with(1, 0), with(0, 1));
    let half = both_first.width() / 2;
    let on = |changed: &RgbImage, left: bool| apart(&both_first, changed, |x, _| (x < half) == left);
    let [of_left, of_right] = [(&left_changed, true), (&right_changed, false)]
        .map(|(changed, side)| on(changed, side) / on(changed, !side));
    println!(
        "golden | regions | change on a material's own side, times that on the other | {of_left:.2}, {of_right:.2} | 1.1"
    );
    assert!(of_left > 1.1 && of_right > 1.1, "{of_left} {of_right}");
    assert!(with(1, 1) != both_first);
}

#[test]
fn blends_and_weights_and_fits() {
    let (_folder, engine) = quick();
    let [first, second] = materials();
    let with = |change: &dyn Fn(&mut Transfer)| {
        let outcome = run(engine.as_ref(), |t| {
            t.pictures.material_image = Some(first.clone());
            change(t);
        });
        outcome.picture.rgb
    };
    let usual = with(&|_| {});
    let blended = |blend: f64| {
        with(&|t| {
            t.pictures.blend_image = Some(second.clone());
            t.settings.blend = blend;
        })
    };
    let other = with(&|t| t.pictures.material_image = Some(second.clone()));
    assert!(blended(0.0) == usual && blended(1.0) == other, "both ends to the byte");
    let half = blended(0.5);
    assert!(half != usual && half != other);
    assert!(with(&|t| t.settings.weight = 1.0) == usual);
    let away = |weight: f64| {
        apart(&with(&|t| t.settings.weight = weight), &with(&|t| t.settings.weight = 0.0), |_, _| true)
    };
    let away = [0.5, 1.0, 1.5, 2.0].map(away);
    assert!(away.windows(2).all(|pair| pair[0] < pair[1]), "{away:?}");
    for scale in [0.5, 2.0] {
        assert!(with(&|t| t.settings.scale = scale) != usual, "{scale}");
    }
    let long = || Picture::opaque(RgbImage::from_fn(300, 80, |x, y| Rgb([(x / 2) as u8, (y * 3) as u8, 60])));
    let fitted = |fit| {
        run(engine.as_ref(), |t| {
            t.pictures.material_image = Some(long());
            t.settings.fit = fit;
        })
    };
    let [crop, pad, tiles] = [MaterialFit::Crop, MaterialFit::Pad, MaterialFit::Tiles].map(fitted);
    assert!(crop.notes.iter().any(|note| note.contains("only the central square")), "{:?}", crop.notes);
    assert!(pad.notes.is_empty() && tiles.notes.is_empty(), "{:?} {:?}", pad.notes, tiles.notes);
    assert!(crop.picture.rgb != pad.picture.rgb && pad.picture.rgb != tiles.picture.rgb);
}

/// The tiny networks as the second half of a hybrid engine.
fn hybrid(denoise: f64) -> (tempfile::TempDir, Box<dyn Engine>) {
    let folder = tiny::folder();
    let path = folder.path().join("tiny.toml");
    let profile =
        std::fs::read_to_string(&path).expect("read").replace("engine = \"sdxl\"", "engine = \"hybrid\"");
    let more = format!(
        "\n[conditioning]\ndepth = {{ strength = 0.0 }}\nlineart = {{ strength = 0.0 }}\n[hybrid]\ndenoise = {denoise}\n"
    );
    std::fs::write(&path, profile + &more).expect("written");
    let engine = engine(&folder);
    (folder, engine)
}

#[test]
fn a_hybrid_goes_on_from_the_embedded_engines_picture() {
    let with = |denoise: f64| {
        let (_folder, engine) = hybrid(denoise);
        assert_eq!(engine.name(), "hybrid");
        let outcome = run(engine.as_ref(), |t| {
            t.settings.steps = 6;
            t.settings.intermediates = true;
        });
        let start = outcome.intermediates.iter().find(|each| each.name == "start").expect("a start");
        (outcome.picture.rgb.clone(), start.picture.rgb.clone())
    };
    let (little, start) = with(0.1);
    let (much, same_start) = with(1.0);
    assert!(start == same_start, "one seed, one start");
    let mask = {
        let (_folder, engine) = quick();
        let outcome = run(engine.as_ref(), |t| t.settings.intermediates = true);
        outcome.intermediates.iter().find(|each| each.name == "mask").expect("a mask").picture.rgb.clone()
    };
    let window = sdxl::crop::Window::latent_grid(start.dimensions());
    let (start, mask) = (window.of(&start), window.of(&mask));
    let inside = |x: u32, y: u32| mask.get_pixel(x, y)[0] > 200;
    let (near, far) = (apart(&little, &start, inside), apart(&much, &start, inside));
    println!(
        "golden | hybrid | distance from the start after 0.1 and all of the way, 8-bit steps | {near:.1}, {far:.1} |"
    );
    assert!(near < far && little != much, "{near} {far}");
}

#[test]
fn more_layers_see_more_of_the_material() {
    let with = |layers: &str| {
        let folder = tiny::folder();
        let path = folder.path().join("tiny.toml");
        let profile = std::fs::read_to_string(&path).expect("read");
        let more = format!(
            "\n[conditioning]\nimage_layers = \"{layers}\"\ndepth = {{ strength = 0.0 }}\nlineart = {{ strength = 0.0 }}\n"
        );
        std::fs::write(&path, profile + &more).expect("written");
        run(engine(&folder).as_ref(), |_| {}).picture.rgb
    };
    let (_folder, usual) = quick();
    let usual = run(usual.as_ref(), |_| {}).picture.rgb;
    let [style, layout, all] = ["style", "style+layout", "all"].map(with);
    assert!(style == usual && layout != style && all != layout);
}

#[test]
fn the_enhanced_pipeline_keeps_size_transparency_and_background() {
    let folder = tiny::folder();
    let path = folder.path().join("tiny.toml");
    let profile = std::fs::read_to_string(&path).expect("read");
    let profile = profile.replace("engine = \"sdxl\"", "engine = \"sdxl\"\nfidelity = \"enhanced\"");
    let hints = "\n[conditioning]\ndepth = { strength = 0.0 }\nlineart = { strength = 0.0 }\n";
    std::fs::write(&path, profile.clone() + hints).expect("written");
    let enhanced = engine(&folder);
    let rgb = RgbImage::from_fn(139, 157, |x, y| Rgb([(x + 40) as u8, (y + 30) as u8, 120]));
    let alpha = image::GrayImage::from_fn(139, 157, |x, _| image::Luma([if x < 60 { 0 } else { 255 }]));
    let outcome = run(enhanced.as_ref(), |t| {
        t.pictures.subject_image = Picture { rgb: rgb.clone(), alpha: Some(alpha.clone()) };
    });
    assert_eq!(outcome.picture.rgb.dimensions(), (139, 157));
    assert_eq!(outcome.picture.alpha, Some(alpha));
    assert!(
        outcome.composite && outcome.notes.iter().all(|note| !note.contains("alpha")),
        "{:?}",
        outcome.notes
    );
    assert_eq!(apart(&outcome.picture.rgb, &rgb, |x, _| x < 60), 0.0, "to the byte");
    assert!(apart(&outcome.picture.rgb, &rgb, |x, _| x > 70) > 1.0);
    // One switch alone.
    let profile =
        profile.replace("fidelity = \"enhanced\"", "") + "\n[corrections]\nfull_size = true\n" + hints;
    std::fs::write(&path, profile).expect("written");
    let outcome = run(engine(&folder).as_ref(), |t| t.pictures.subject_image = Picture::opaque(rgb.clone()));
    assert_eq!((outcome.picture.rgb.dimensions(), outcome.composite), ((139, 157), false));
}

/// The quick engine with networks for two of the four edits.
fn editing() -> (tempfile::TempDir, Box<dyn Engine>) {
    let folder = tiny::folder();
    let shapes = [
        ("fc1.weight", vec![48, 40]),
        ("fc1.bias", vec![48]),
        ("fc2.weight", vec![80, 48]),
        ("fc2.bias", vec![80]),
        ("edit_strength_fc1.weight", vec![8, 1]),
        ("edit_strength_fc1.bias", vec![8]),
        ("edit_strength_fc2.weight", vec![2, 8]),
        ("edit_strength_fc2.bias", vec![2]),
    ];
    let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape)).into();
    for name in ["roughness", "metallic"] {
        let file = folder.path().join(format!("{name}.safetensors"));
        networks::synthetic::write(name, &shapes, &file).expect("written");
    }
    let path = folder.path().join("tiny.toml");
    let profile = std::fs::read_to_string(&path).expect("read");
    let more = "[weights.edits]\nroughness = \"roughness.safetensors\"\nmetallic = \"metallic.safetensors\"\n\
                [dimensions.material_edit]\nhidden = 48\nstrength_hidden = 8\n\
                [conditioning]\ndepth = { strength = 0.0 }\nlineart = { strength = 0.0 }\n";
    std::fs::write(&path, format!("{profile}\n{more}")).expect("written");
    let engine = engine(&folder);
    (folder, engine)
}

#[test]
fn edits_change_the_picture_and_none_changes_nothing() {
    let (_plain_folder, plain) = quick();
    let (_folder, engine) = editing();
    let with = |roughness: f64, metallic: f64| {
        let outcome = run(engine.as_ref(), |t| {
            t.settings.strength = Strength::Medium;
            (t.settings.edits.roughness, t.settings.edits.metallic) = (roughness, metallic);
        });
        outcome.picture.rgb
    };
    let untouched = with(0.0, 0.0);
    assert_eq!(
        untouched,
        run(plain.as_ref(), |t| t.settings.strength = Strength::Medium).picture.rgb,
        "networks that are not asked change nothing"
    );
    let all = |a: &RgbImage, b: &RgbImage| apart(a, b, |_, _| true);
    let (rough, metal, both) = (with(1.0, 0.0), with(0.0, 0.5), with(1.0, 0.5));
    assert!(all(&untouched, &rough) > 0.1 && all(&untouched, &metal) > 0.1 && all(&rough, &metal) > 0.1);
    assert!(all(&both, &rough) > 0.1 && all(&both, &metal) > 0.1);
    assert_eq!(rough, with(1.0, 0.0), "the same again");
}

#[test]
fn what_no_network_can_do_is_refused_by_name() {
    let (_folder, engine) = editing();
    let refused = |change: fn(&mut Transfer)| {
        let mut transfer = transfer("pub_b");
        transfer.settings.strength = Strength::Medium;
        change(&mut transfer);
        match engine.transfer(&transfer, &Silent, &Cancel::default()) {
            Err(Error::Unfit { field, message }) => (field, message),
            other => panic!("not refused: {other:?}"),
        }
    };
    let (field, message) = refused(|t| (t.settings.edits.roughness, t.settings.edits.glow) = (0.5, 0.5));
    assert!(field == "glow" && message.contains("weights.edits"), "{field}: {message}");
    let (field, message) = refused(|t| {
        t.settings.edits.roughness = 0.5;
        t.settings.strength = Strength::Strong;
    });
    assert!(field == "roughness" && message.contains("material_strength"), "{field}: {message}");
}
