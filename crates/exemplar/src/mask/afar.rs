//! Parts of a subject that the network only takes for its own from farther away.
//!
//! Where a lion's head fills the picture, the network marks the face and leaves out the mane; of a smaller picture, in which the
//! head is of the size of things that it has learned from, it marks both. But there it also takes for the subject what stands
//! beside it. So a part comes in that is new from afar if the subject leaves the picture, if the part adjoins the subject
//! along much of its outline, and if its colours are rather the subject's than the surroundings'.

use pixels::Raster;

use super::flood::{Flood, beside};

/// A subject leaves the picture when this share of the picture's outermost pixels belongs to it.
const LEAVES: f32 = 0.05;

/// A part adjoins the subject when this share of its own outermost pixels lies beside it.
const ADJOINS: f32 = 0.3;

/// The likeliness of a part's colours to be the subject's, 0 to 1, from which on they are. Tuned, like the two above, by eye on 45
/// photographs: of the parts that belong the least likely has 0.49, of the others the likeliest 0.35.
const LIKE: f32 = 0.42;

/// No part reaches where they are less likely than this.
const UNLIKE: f32 = 0.2;

/// Width of the Gaussian over which likeliness is taken, in pixels of the map.
const AROUND: f32 = 2.5;

/// Answers above this belong to the subject, in doubt; above and below the others, for certain.
const BELONGS: f32 = 0.5;
const SURE: (f32, f32) = (0.3, 0.7);

/// Levels of a channel in the table of colours.
const LEVELS: usize = 8;

/// Pixels within which a part adjoins: coarse maps have soft edges.
const NEAR: usize = 2;

/// Whether a subject leaves the picture, by the network's answers.
pub(super) fn leaves(near: &Raster) -> bool {
    let (w, h) = (near.width, near.height);
    let outermost = || (0..w * h).filter(|at| beside(*at, w, h).contains(&None));
    let belonging = outermost().filter(|at| near.data[*at] > BELONGS).count();
    belonging as f32 >= LEAVES * outermost().count() as f32
}

/// `near`, the network's answers (one channel, 0 to 1), with the parts that `far`, its answers from farther away, has and that
/// belong to the subject. `picture` (RGB) and both maps are of one size.
pub(super) fn completed(picture: &Raster, near: &Raster, far: &Raster) -> Raster {
    let (w, h) = (near.width, near.height);
    let belongs = |at: usize| near.data[at] > BELONGS;
    let mut out = near.clone();
    let likeness = likeness(picture, near, far);
    let subject = near.map(1, |n, o| o[0] = f32::from(u8::from(n[0] > BELONGS))).widened(NEAR);
    let new = |at: usize| far.data[at] > BELONGS && !belongs(at) && likeness.data[at] > UNLIKE;
    let mut completed = false;
    let mut flood = Flood::new(w, h);
    for start in 0..w * h {
        if flood.visited(start) || !new(start) {
            continue;
        }
        let part = flood.from(start, new);
        let outline =
            part.iter().filter(|at| beside(**at, w, h).into_iter().any(|n| n.is_none_or(|n| !new(n))));
        let (mut length, mut shared) = (0.0, 0.0);
        for at in outline {
            length += 1.0;
            shared += subject.data[*at];
        }
        let like = part.iter().map(|at| likeness.data[*at]).sum::<f32>() / part.len() as f32;
        if shared >= ADJOINS * length && like >= LIKE {
            part.iter().for_each(|at| out.data[*at] = far.data[*at]);
            completed = true;
        }
    }
    // What was half the subject's is wholly, where it is seen as a whole.
    let doubtful = (0..w * h).filter(|at| completed && belongs(*at));
    doubtful.for_each(|at| out.data[at] = near.data[at].max(far.data[at]));
    out
}

/// How likely the colours around each pixel are the subject's and not the surroundings', by tables of both.
fn likeness(picture: &Raster, near: &Raster, far: &Raster) -> Raster {
    let level = |v: f32| ((v.clamp(0.0, 1.0) * LEVELS as f32) as usize).min(LEVELS - 1);
    let bins: Vec<usize> = picture
        .data
        .chunks_exact(3)
        .map(|p| p.iter().fold(0, |bin, channel| bin * LEVELS + level(*channel)))
        .collect();
    let table = |counts: &dyn Fn(usize) -> bool| {
        let mut table = vec![0.0f32; LEVELS * LEVELS * LEVELS];
        bins.iter().enumerate().filter(|(at, _)| counts(*at)).for_each(|(_, bin)| table[*bin] += 1.0);
        for step in [1, LEVELS, LEVELS * LEVELS] {
            table = spread(&table, step);
        }
        let sum = table.iter().sum::<f32>().max(1.0);
        table.iter_mut().for_each(|count| *count /= sum);
        table
    };
    let subject = table(&|at| near.data[at] > SURE.1);
    let ground = table(&|at| near.data[at] < SURE.0 && far.data[at] < SURE.0);
    let data = bins.iter().map(|bin| subject[*bin] / (subject[*bin] + ground[*bin]).max(1e-9)).collect();
    Raster { data, ..near.clone() }.blur(AROUND)
}

/// A table of colours in which half of every count has gone to either neighbour along the channel whose levels are `step` apart.
fn spread(table: &[f32], step: usize) -> Vec<f32> {
    let at = |bin: usize, level: usize, wanted: Option<usize>| match wanted.filter(|l| *l < LEVELS) {
        Some(wanted) => table[bin + wanted * step - level * step],
        None => 0.0,
    };
    let one = |bin: usize| {
        let level = bin / step % LEVELS;
        table[bin] + 0.5 * (at(bin, level, level.checked_sub(1)) + at(bin, level, Some(level + 1)))
    };
    (0..table.len()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 60;

    /// A map that is one in a rectangle.
    fn block(x: usize, y: usize, w: usize, h: usize) -> Raster {
        let mut map = Raster::filled(SIDE, SIDE, 1, 0.0);
        for row in y..y + h {
            map.data[row * SIDE + x..][..w].fill(1.0);
        }
        map
    }

    /// Brown in `subject`, blue elsewhere.
    fn picture(subject: &Raster) -> Raster {
        subject.map(3, |s, o| o.copy_from_slice(if s[0] > 0.5 { &[0.5, 0.3, 0.1] } else { &[0.1, 0.3, 0.9] }))
    }

    fn both(a: &Raster, b: &Raster) -> Raster {
        a.zip(b, 1, |a, b, o| o[0] = a[0].max(b[0]))
    }

    #[test]
    fn a_mane_belongs_to_a_face_that_leaves_the_picture() {
        let (face, mane) = (block(20, 20, 20, 40), block(10, 10, 40, 50));
        assert_eq!(completed(&picture(&mane), &face, &mane), mane);
    }

    #[test]
    fn what_has_other_colours_or_stands_apart_does_not() {
        let (face, head) = (block(20, 20, 20, 40), block(10, 10, 40, 50));
        assert_eq!(completed(&picture(&face), &face, &head), face, "blue, as all around");
        let apart = both(&face, &block(50, 5, 8, 8));
        assert_eq!(completed(&picture(&apart), &face, &apart), face, "brown, but on its own");
    }

    #[test]
    fn a_thing_with_room_around_does_not_leave() {
        let (thing, more) = (block(20, 20, 20, 20), block(10, 10, 40, 40));
        assert!(!leaves(&thing) && leaves(&block(20, 20, 20, 40)));
        assert_eq!(completed(&picture(&more), &thing, &more), more, "by itself it would not");
    }
}
