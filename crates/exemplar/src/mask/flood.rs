//! Connected places of a raster.

/// A raster's size and the places that were visited.
pub(super) struct Flood {
    width: usize,
    height: usize,
    visited: Vec<bool>,
}

impl Flood {
    /// Of a raster of this size, nothing visited yet.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, visited: vec![false; width * height] }
    }

    /// Whether a place was visited.
    pub(super) fn visited(&self, at: usize) -> bool {
        self.visited[at]
    }

    /// The places that belong and are connected with `start` (which is taken to belong) along rows and columns, `start` first.
    /// Places that were visited before end the way.
    pub(super) fn from(&mut self, start: usize, belongs: impl Fn(usize) -> bool) -> Vec<usize> {
        let (mut part, mut next) = (vec![start], 0);
        self.visited[start] = true;
        while let Some(at) = part.get(next).copied() {
            next += 1;
            for near in beside(at, self.width, self.height).into_iter().flatten() {
                if !self.visited[near] && belongs(near) {
                    self.visited[near] = true;
                    part.push(near);
                }
            }
        }
        part
    }
}

/// The places to the left, to the right, above and below, as far as there are any.
pub(super) fn beside(at: usize, width: usize, height: usize) -> [Option<usize>; 4] {
    let (x, y) = (at % width, at / width);
    [
        (x > 0).then(|| at - 1),
        (x + 1 < width).then_some(at + 1),
        (y > 0).then(|| at - width),
        (y + 1 < height).then_some(at + width),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_parts_two_rooms() {
        let mut flood = Flood::new(9, 5);
        let free = |at: usize| at % 9 != 4;
        assert_eq!(flood.from(0, free).len(), 20);
        assert!(flood.visited(3) && !flood.visited(5));
        assert_eq!(flood.from(8, free).len(), 20);
    }
}
