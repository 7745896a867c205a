//! TIFF files of kinds that no encoder at hand writes, put together here; what is unusual about those that are not read; and
//! files that promise the decoder more than they hold. Ordinary ones are among `tests/pictures`.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::time::{Duration, Instant};

use pixels::{DecodeLimits, OutputFormat, Picture, PictureError};

const SIDE: u32 = 64;

fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    Picture::decode(bytes, &DecodeLimits::default())
}

/// A little-endian file of one uncompressed strip, `SIDE` × `SIDE` pixels; `more` replaces or adds tags of 32-bit numbers.
fn tiff(strip: &[u8], more: &[(u16, &[u32])]) -> Vec<u8> {
    let place = [8];
    let length = [strip.len() as u32];
    let mut tags: Vec<(u16, &[u32])> =
        vec![(256, &[SIDE]), (257, &[SIDE]), (258, &[8]), (262, &[1]), (273, &place), (279, &length)];
    tags.retain(|(tag, _)| !more.iter().any(|(other, _)| other == tag));
    tags.extend(more.iter().filter(|(_, numbers)| !numbers.is_empty()));
    tags.sort_unstable_by_key(|(tag, _)| *tag);
    let directory = 8 + strip.len() + strip.len() % 2;
    let mut file = [b"II*\0", &(directory as u32).to_le_bytes()[..], strip].concat();
    file.resize(directory, 0);
    file.extend((tags.len() as u16).to_le_bytes());
    let mut values = Vec::new();
    for (tag, numbers) in &tags {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let at = (directory + 2 + 12 * tags.len() + 4 + values.len()) as u32;
        file.extend([tag.to_le_bytes(), 4_u16.to_le_bytes()].concat());
        file.extend((numbers.len() as u32).to_le_bytes());
        if numbers.len() == 1 {
            file.extend(bytes);
        } else {
            file.extend(at.to_le_bytes());
            values.extend(bytes);
        }
    }
    file.extend([0; 4]);
    [file, values].concat()
}

/// Numbers of `bits` bits one after the other, each row of `row` of them in whole bytes.
fn packed(numbers: &[u32], bits: u32, row: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in numbers.chunks(row) {
        let digits: Vec<u8> =
            row.iter().flat_map(|n| (0..bits).rev().map(move |bit| (n >> bit & 1) as u8)).collect();
        bytes.extend(
            digits
                .chunks(8)
                .map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | bit << (7 - at))),
        );
    }
    bytes
}

fn ramp(most: u32) -> Vec<u32> {
    (0..SIDE * SIDE).map(|pixel| (pixel % SIDE * 5 + pixel / SIDE * 3) % (most + 1)).collect()
}

#[test]
fn grey_of_every_depth() {
    for bits in 1..=16 {
        let most = (1 << bits) - 1;
        let numbers = if bits > 8 { ramp(255).iter().map(|n| n * most / 255).collect() } else { ramp(most) };
        let strip = match bits {
            16 => numbers.iter().flat_map(|number| (*number as u16).to_le_bytes()).collect(),
            _ => packed(&numbers, bits, SIDE as usize),
        };
        for (white_is_zero, reversed) in [(false, false), (true, false), (false, true)] {
            let strip: Vec<u8> =
                if reversed { strip.iter().map(|byte| byte.reverse_bits()).collect() } else { strip.clone() };
            let order = [1 + u32::from(reversed)];
            let file = tiff(&strip, &[(258, &[bits]), (262, &[u32::from(!white_is_zero)]), (266, &order)]);
            let picture = decode(&file).unwrap_or_else(|error| panic!("{bits} bits: {error}"));
            for (pixel, number) in picture.rgb.pixels().zip(&numbers) {
                let want = f64::from(*number) * 255.0 / f64::from(most);
                let want = if white_is_zero { 255.0 - want } else { want };
                let off = (f64::from(pixel.0[0]) - want).abs();
                assert!(
                    off <= 0.51,
                    "{bits} bits, {white_is_zero} {reversed}: {} instead of {want}",
                    pixel.0[0]
                );
            }
        }
    }
}

#[test]
fn grey_of_twelve_bits_in_tiles() {
    let numbers: Vec<u32> = ramp(255).iter().map(|n| n * 16).collect();
    let tile = |x: usize, y: usize| {
        let rows = (0..32).map(|row| (y * 32 + row) * SIDE as usize + x * 32);
        packed(&rows.flat_map(|at| numbers[at..at + 32].to_vec()).collect::<Vec<_>>(), 12, 32)
    };
    let tiles = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| tile(x, y)).concat();
    let size = tiles.len() as u32 / 4;
    let places = [8, 8 + size, 8 + 2 * size, 8 + 3 * size];
    let tags: [(u16, &[u32]); 7] =
        [(258, &[12]), (273, &[]), (279, &[]), (322, &[32]), (323, &[32]), (324, &places), (325, &[size; 4])];
    let picture = decode(&tiff(&tiles, &tags)).unwrap();
    for (pixel, number) in picture.rgb.pixels().zip(&numbers) {
        assert!((i64::from(pixel.0[0]) - i64::from(*number) * 255 / 4095).abs() <= 1);
    }
}

#[test]
fn colours_of_few_bits_and_palettes() {
    let numbers: Vec<u32> = ramp(15).iter().flat_map(|n| [*n, 15 - n, n / 2]).collect();
    let rgb = tiff(&packed(&numbers, 4, 3 * SIDE as usize), &[(258, &[4, 4, 4]), (262, &[2]), (277, &[3])]);
    let rgb = decode(&rgb).unwrap();
    for (pixel, want) in rgb.rgb.pixels().zip(numbers.chunks(3)) {
        assert_eq!(pixel.0.map(u32::from), [want[0] * 17, want[1] * 17, want[2] * 17]);
    }
    for bits in [1, 2, 4, 8] {
        let colours = 1 << bits;
        let wide: Vec<u32> = (0..3 * colours).map(|at| at * 40_503 % 65_536).collect();
        let narrow: Vec<u32> = wide.iter().map(|value| value >> 8).collect();
        let numbers = ramp(colours - 1);
        for palette in [&wide, &narrow] {
            let strip = packed(&numbers, bits, SIDE as usize);
            let picture = decode(&tiff(&strip, &[(258, &[bits]), (262, &[3]), (320, palette)])).unwrap();
            for (pixel, number) in picture.rgb.pixels().zip(&numbers) {
                let want = [0, 1, 2].map(|channel| narrow[(channel * colours + number) as usize]);
                assert_eq!(pixel.0.map(u32::from), want, "{bits} bits");
            }
        }
        let strip = packed(&numbers, bits, SIDE as usize);
        let short = tiff(&strip, &[(258, &[bits]), (262, &[3]), (320, &wide[1..])]);
        assert!(decode(&short).unwrap_err().is_unreadable(), "a palette that is too short");
    }
}

/// CMYK of 16 bits, and with alpha, without a profile: inks multiply.
#[test]
fn inks_of_sixteen_bits() {
    let inks = [257 * 255_u16, 0, 257 * 128, 0, 257 * 100];
    for (samples, planar) in [(4, false), (5, false), (4, true)] {
        let pixels = (SIDE * SIDE) as usize;
        let samples_of = |inks: &[u16]| inks.iter().flat_map(|ink| ink.to_le_bytes()).collect::<Vec<u8>>();
        let (strip, places, lengths) = if planar {
            let planes: Vec<u8> =
                inks[..4].iter().flat_map(|ink| samples_of(&[*ink]).repeat(pixels)).collect();
            let size = 2 * pixels as u32;
            (planes, vec![8, 8 + size, 8 + 2 * size, 8 + 3 * size], vec![size; 4])
        } else {
            let strip = samples_of(&inks[..samples]).repeat(pixels);
            let length = strip.len() as u32;
            (strip, vec![8], vec![length])
        };
        let count = [samples as u32];
        let order = [1 + u32::from(planar)];
        let extra: &[u32] = if samples == 5 { &[2] } else { &[] };
        let tags: [(u16, &[u32]); 7] = [
            (258, &[16]),
            (262, &[5]),
            (273, &places),
            (277, &count),
            (279, &lengths),
            (284, &order),
            (338, extra),
        ];
        let picture = decode(&tiff(&strip, &tags)).unwrap();
        assert_eq!(picture.rgb.get_pixel(9, 9).0, [0, 255, 127], "{samples} {planar}");
        assert_eq!(picture.alpha.map(|alpha| alpha.get_pixel(9, 9).0[0]), (samples == 5).then_some(100));
    }
}

/// Uncompressed YCbCr whose pixels share colours, in all the ways there are.
#[test]
fn shared_colours() {
    for (across, down) in [(1, 1), (2, 1), (2, 2), (4, 1), (1, 2), (4, 4)] {
        let units = (0..SIDE / down).flat_map(|_| 0..SIDE / across);
        // Red on the left, blue on the right.
        let unit = |x: u32| {
            let (y, colours) = if x < SIDE / across / 2 { (76, [85, 255]) } else { (29, [255, 107]) };
            [vec![y; (across * down) as usize], colours.to_vec()].concat()
        };
        let strip: Vec<u8> = units.flat_map(unit).collect();
        let picture = decode(&tiff(&strip, &[(262, &[6]), (277, &[3]), (530, &[across, down])])).unwrap();
        for (x, want) in [(3, [254_u8, 0, 0]), (60, [0, 0, 254])] {
            let got = picture.rgb.get_pixel(x, 40).0;
            let off = got.iter().zip(want).map(|(got, want)| got.abs_diff(want)).max().unwrap();
            assert!(off <= 2, "{across} {down}: {got:?}");
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    let strip = vec![0; (SIDE * SIDE * 3) as usize];
    let named = |tags: &[(u16, &[u32])]| match decode(&tiff(&strip, tags)).unwrap_err() {
        PictureError::Rare { what, .. } => what,
        error => panic!("{tags:?}: {error}"),
    };
    assert_eq!(named(&[(262, &[8]), (277, &[3])]), "Lab colours");
    assert_eq!(named(&[(262, &[32_803])]), "raw data of a camera");
    assert_eq!(named(&[(259, &[3])]), "fax compression (Group 3)");
    assert_eq!(named(&[(259, &[6])]), "old-style JPEG compression");
    assert_eq!(named(&[(259, &[50_000])]), "Zstandard compression");
    assert_eq!(named(&[(258, &[5, 6, 5]), (262, &[2]), (277, &[3])]), "channels of different depths");
    assert_eq!(named(&[(339, &[2])]), "signed numbers");
    assert_eq!(named(&[(258, &[64]), (339, &[3])]), "floating-point numbers of this size");
    let text = decode(&tiff(&strip, &[(262, &[9]), (277, &[3])])).unwrap_err().to_string();
    assert!(text.contains("TIFF file with Lab colours") && text.contains("PNG or JPEG"), "{text}");
}

/// Sizes that lead the decoder on: none is worth more than a moment, and none is read.
#[test]
fn promises() {
    let strip = vec![0; (SIDE * SIDE) as usize];
    let many = vec![8; 100_000];
    let long = vec![strip.len() as u32; 100_000];
    let huge = [1_u32 << 27];
    let jpeg = Picture::opaque(image::RgbImage::new(512, 512)).encode(OutputFormat::Jpg, 80).unwrap();
    let files = [
        tiff(
            &strip,
            &[(322, &huge), (323, &[16]), (273, &[]), (279, &[]), (324, &[8, 8, 8, 8]), (325, &[9; 4])],
        ),
        tiff(&strip, &[(273, &many), (279, &long), (278, &[1]), (257, &[100_000])]),
        tiff(&strip, &[(277, &[60_000])]),
        tiff(&strip, &[(256, &huge), (257, &huge)]),
        tiff(&strip, &[(273, &[u32::MAX])]),
        // A JPEG of another size than its strip's.
        tiff(&jpeg, &[(259, &[7]), (262, &[6]), (277, &[3])]),
        tiff(&strip, &[(259, &[7]), (262, &[6]), (277, &[3])]),
        tiff(&strip, &[(262, &[6]), (277, &[3]), (530, &[3, 1])]),
        tiff(&strip, &[(262, &[6]), (277, &[3]), (532, &[0; 6])]),
    ];
    for (number, file) in files.iter().enumerate() {
        let began = Instant::now();
        let error = decode(file).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{number}: {:?}", began.elapsed());
        assert!(error.is_unreadable() || matches!(error, PictureError::TooLarge { .. }), "{number}: {error}");
    }
}
