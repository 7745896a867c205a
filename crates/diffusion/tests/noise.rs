//! Noise against the reference: `torch.randn` on the CPU, published CUDA values, the Brownian tree.
#![allow(clippy::expect_used)] // a test fails by panicking

mod golden;

use candle_core::{Device, Tensor};
use diffusion::{BrownianTree, FreshNoise, Generator, NoiseSource, Philox, Schedule, SigmaTable};
use golden::{Golden, list, max_difference, number, shape, whole};

#[test]
fn randn_golden() {
    let golden = Golden::open("randn");
    let mut worst = 0f64;
    let mut small = 0;
    for name in golden.names() {
        let (seed, dims) = name.strip_prefix("seed").and_then(|n| n.split_once('_')).expect("seedN_shape");
        let seed: u64 = seed.parse().expect("seed");
        let dims: Vec<usize> = dims.split('x').map(|d| d.parse().expect("dimension")).collect();
        small += usize::from(dims.iter().product::<usize>() < 16);
        let got = Generator::Mt19937.randn(seed, dims, &Device::Cpu).expect("noise");
        worst = worst.max(max_difference(&list(&got), &golden.f32s(name)));
    }
    assert_eq!((golden.names().count(), small), (50, 20));
    golden.within("50 tensors", worst, 2.5e-7);
}

#[test]
fn appendix_a1() {
    let head = |seed| {
        let all = list(&Generator::Mt19937.randn(seed, (1, 4, 8, 8), &Device::Cpu).expect("noise"));
        (all[..8].to_vec(), all.iter().map(|v| f64::from(*v)).sum::<f64>())
    };
    let (first, sum) = head(42);
    let want = [
        1.926_915_3,
        1.487_284_1,
        0.900_717_2,
        -2.105_521,
        0.678_418_46,
        -1.234_544_9,
        -0.043_067_48,
        -1.604_667,
    ];
    assert!(max_difference(&first, &want) < 3e-7);
    assert!((sum - 16.138_675_33).abs() < 1e-4);
    let (first, _) = head(182_541_674_078_463);
    let want = [
        -0.221_516_04,
        -2.377_498_2,
        -0.450_315_45,
        0.485_186_37,
        -0.083_136_1,
        -0.335_848_57,
        -0.086_674_74,
        -1.009_872_1,
    ];
    assert!(max_difference(&first, &want) < 3e-7);
}

#[test]
fn streams_go_on_where_they_stopped() {
    // Whole blocks of 16 make one draw of 64 the same as two of 32.
    let mut stream = FreshNoise::new(Generator::Mt19937, 9, 32, &Device::Cpu);
    let mut pieces = list(&stream.between(2.0, 1.0).expect("noise"));
    pieces.extend(list(&stream.between(1.0, 0.5).expect("noise")));
    // Within a draw, uniforms come before normals, so only the stream's position carries over.
    assert_ne!(pieces[..32], pieces[32..]);
    let mut again = FreshNoise::new(Generator::Mt19937, 9, 32, &Device::Cpu);
    assert_eq!(list(&again.between(7.0, 3.0).expect("noise")), pieces[..32]);
}

#[test]
fn philox_published_values() {
    // torch.manual_seed(S); torch.randn(N, device="cuda") as printed in public issue threads, four decimals.
    let seed0 = [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284, -1.0745, -0.3631];
    let seed42 = [0.1940, 2.1614, -0.1721, 0.8491, -1.9244, 0.6530, -0.6494, -0.8175];
    for (seed, want) in [(0, &seed0[..]), (42, &seed42[..])] {
        let got = list(&Generator::Philox.randn(seed, want.len(), &Device::Cpu).expect("noise"));
        assert!(max_difference(&got, want) < 6e-5, "{seed}: {got:?}");
    }
}

#[test]
fn philox_goes_on_between_calls() {
    // Three consecutive torch.randn(4, device="cuda") after torch.manual_seed(42), from public code.
    let mut stream = Generator::Philox.seeded(42);
    let calls = [
        [0.1940, 2.1614, -0.1721, 0.8491],
        [0.1391, -0.1082, -0.7174, 0.7566],
        [-0.5187, 1.2268, 0.6255, -0.9117],
    ];
    for want in calls {
        let got = list(&stream.randn(4, &Device::Cpu).expect("noise"));
        assert!(max_difference(&got, &want) < 6e-5, "{got:?}");
    }
}

#[test]
fn philox_layout() {
    // Below the resident grid every element has its own thread, so a longer draw begins like a shorter one.
    let long = Philox::new(3).normals(5000);
    assert_eq!(Philox::new(3).normals(100), long[..100]);
    // A grid of 256 threads gives element 256+t the second normal of thread t, and element 1024+t the first of its second round.
    let mut small = Philox::new(3).with_resident_threads(256);
    let wrapped = small.normals(2000);
    assert_eq!(wrapped[..256], long[..256]);
    assert_ne!(wrapped[256], long[256]);
    let mut next = Philox::new(3);
    next.normals(10);
    let second_call = next.normals(256);
    assert_eq!(wrapped[1024..1280], second_call);
    // Two rounds were used, so the next call is at the third.
    let third = small.normals(256);
    next.normals(1);
    assert_ne!(third, second_call);
    let mut counted = Philox::new(3);
    counted.normals(1);
    counted.normals(1);
    assert_eq!(third, counted.normals(256));
}

#[test]
fn philox_is_standard_normal() {
    let values = Philox::new(u64::MAX).with_resident_threads(1024).normals(200_000);
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 2e5;
    let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 2e5;
    assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.015, "{mean} {variance}");
}

fn case_tree(case: &serde_json::Value) -> BrownianTree {
    BrownianTree::new(whole(case, "seed"), shape(case), number(case, "lo"), number(case, "hi"), &Device::Cpu)
        .expect("valid interval")
}

#[test]
fn brownian_golden() {
    let golden = Golden::open("brownian");
    let (mut noise, mut increments) = (0f64, 0f64);
    for (i, case) in golden.cases().iter().enumerate() {
        let mut tree = case_tree(case);
        let from = golden.f64s(&format!("{i}.query_sigma_from"));
        let to = golden.f64s(&format!("{i}.query_sigma_to"));
        let want = golden.tensor(&format!("{i}.N"));
        for (row, (from, to)) in from.iter().zip(&to).enumerate() {
            let got = tree.between(*from, *to).expect("inside");
            noise = noise.max(max_difference(&list(&got), &list(&want.get(row).expect("row"))));
        }
        let want = golden.tensor(&format!("{i}.W_incr"));
        for (row, pair) in golden.f64s(&format!("{i}.W_pairs_f64")).chunks(2).enumerate() {
            let got = tree.increment(pair[0], pair[1]).expect("inside");
            increments = increments.max(max_difference(&list(&got), &list(&want.get(row).expect("row"))));
        }
    }
    golden.within("N at every query, 6 cases", noise, 5e-6);
    golden.within("tree increments", increments, 5e-6);
}

#[test]
fn appendix_a3() {
    let hi = 14.614_643_096_923_828;
    let mut tree = BrownianTree::new(42, (1, 4, 2, 2), 0.029_167_177_155_613_9, hi, &Device::Cpu)
        .expect("valid interval");
    let first4 = |tensor: Tensor| list(&tensor)[..4].to_vec();
    let full = first4(tree.between(hi, 6.082_151_412_963_867).expect("inside"));
    assert!(max_difference(&full, &[-0.696_671_07, 0.054_203_41, 0.434_376_95, 0.983_726_14]) < 2e-6);
    let half = first4(tree.between(hi, 9.428_068_161_010_742).expect("inside"));
    assert!(max_difference(&half, &[-1.638_007_4, 0.835_331_74, 0.874_170_36, 0.184_516_44]) < 2e-6);
}

#[test]
fn a_tree_of_a_schedule_has_the_reference_interval() {
    let table = SigmaTable::scaled_linear();
    let sigmas = Schedule::Karras.sigmas(&table, 6).expect("steps");
    let golden = Golden::open("brownian");
    let case = &golden.cases()[0];
    assert_eq!(sigmas[5], number(case, "lo"));
    assert_eq!(sigmas[0], number(case, "hi"));
    let mut tree = BrownianTree::for_sigmas(42, (1, 4, 2, 2), &sigmas, &Device::Cpu).expect("valid");
    let got = list(&tree.between(sigmas[0], sigmas[1]).expect("inside"));
    assert_eq!(got, list(&case_tree(case).between(sigmas[0], sigmas[1]).expect("inside")));
}
