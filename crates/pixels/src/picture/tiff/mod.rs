//! TIFF: grey, RGB, palettes, CMYK and YCbCr, of 1 to 16 bits and in floating point, in strips, tiles and planes.
//!
//! The decoder is told that the samples mean nothing, whatever the file says (an edited directory), and undoes compression,
//! prediction and byte order. What they mean is decided here: so inks stay inks for their profile, and nothing is left out
//! silently. JPEG in TIFF goes to the decoder that JPEG files go to.

use std::borrow::Cow;

use image::metadata::Orientation;
use jpeg_decoder::ColorTransform;

mod directory;
mod layout;
mod samples;

use super::colour::Pixels;
use super::container;
use directory::Directory;
pub(super) use layout::Refused;
use layout::{Colours, Layout};

/// Whether the directory, the values that its entries point to and the pieces of the picture are all there.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    Directory::read(bytes).is_some_and(|directory| {
        let [places, lengths] = PIECES[usize::from(directory.has(322))];
        directory.pieces(places, lengths).is_some()
    })
}

/// The tags with the places of the pieces and their lengths: strips, tiles.
const PIECES: [[u16; 2]; 2] = [[273, 279], [324, 325]];

/// A file whose directory has been read.
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    layout: Layout,
    /// What decoding the most demanding piece takes, in bytes.
    piece: u64,
}

impl<'a> Tiff<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Refused> {
        let directory = Directory::read(bytes).ok_or(Refused::Unsound)?;
        let layout = Layout::read(&directory)?;
        let mut tiff = Self { bytes, layout, piece: 0 };
        let pieces = tiff.pieces(&directory).ok_or(Refused::Unsound)?;
        if tiff.layout.jpeg {
            for piece in pieces {
                let (_, room) = tiff.jpeg(&directory, piece).ok_or(Refused::Unsound)?;
                tiff.piece = tiff.piece.max(room);
            }
        }
        Ok(tiff)
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.layout.width, self.layout.height)
    }

    /// Bytes of the pixels, of what is needed beside them, and of one pixel.
    pub(super) fn room(&self) -> (u64, u64, u64) {
        let kind = samples::kind(&self.layout);
        let samples = self.layout.samples.max(kind.colours + usize::from(kind.alpha)) as u64;
        let sample = (kind.size() / (kind.colours + usize::from(kind.alpha))) as u64;
        let pixels = u64::from(self.layout.width) * u64::from(self.layout.height);
        let bytes = pixels.saturating_mul(samples * sample);
        let beside = if samples::need_room(&self.layout) { bytes } else { 0 };
        let copy = if self.layout.reversed { self.bytes.len() as u64 } else { 0 };
        (bytes, beside.saturating_add(copy).saturating_add(self.piece), kind.size() as u64)
    }

    /// The pixels, their profile and how they are turned.
    pub(super) fn pixels(self) -> Option<(Pixels, Option<Vec<u8>>, Orientation)> {
        let bytes = if self.layout.reversed { Cow::Owned(self.turned_round()?) } else { self.bytes.into() };
        let directory = Directory::read(&bytes)?;
        let raw = if self.layout.jpeg { self.by_pieces(&directory) } else { self.by_decoder(&directory) };
        let bytes = samples::pixels(&self.layout, &directory, raw?)?;
        let (width, height) = self.size();
        let pixels = Pixels { width, height, kind: samples::kind(&self.layout), bytes };
        let turned =
            directory.number(274, 1).and_then(|turned| Orientation::from_exif(u8::try_from(turned).ok()?));
        Some((
            pixels,
            directory.bytes(34_675).map(<[u8]>::to_vec),
            turned.unwrap_or(Orientation::NoTransforms),
        ))
    }

    /// The compressed pieces, as many as there have to be. Some writers let blank ones share a place; no more than that.
    fn pieces<'b>(&self, directory: &Directory<'b>) -> Option<Vec<&'b [u8]>> {
        let [places, lengths] = PIECES[usize::from(self.layout.tiled)];
        let pieces = directory.pieces(places, lengths)?;
        let (across, down) = self.layout.pieces();
        let count = across as usize * down as usize * self.layout.planes();
        let all: usize = pieces.iter().map(|piece| piece.len()).sum();
        (pieces.len() == count && all / 4 <= self.bytes.len()).then_some(pieces)
    }

    /// The file with the bits of all pieces in the usual order.
    fn turned_round(&self) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.to_vec();
        let start = self.bytes.as_ptr() as usize;
        for piece in self.pieces(&Directory::read(self.bytes)?)? {
            let place = piece.as_ptr() as usize - start;
            let turned = piece.iter().map(|byte| byte.reverse_bits());
            bytes[place..place + piece.len()].iter_mut().zip(turned).for_each(|(to, from)| *to = from);
        }
        Some(bytes)
    }

    /// Samples of everything but JPEG. The decoder is to find grey, of one sample or several; samples that end within bytes,
    /// and pixels that share a colour, it is to take for bytes.
    fn by_decoder(&self, directory: &Directory) -> Option<Vec<u8>> {
        let layout = &self.layout;
        let format = if layout.bits == 32 { 3 } else { 1 };
        let mut numbers = vec![(262, 1), (338, 0), (339, format), (258, layout.bits)];
        if layout.shared != (1, 1) || (layout.packed() && layout.bits > 8) {
            let (across, down) = layout.shared;
            let piece = match layout.shared {
                (1, 1) => (layout.piece.0 as usize * layout.samples * layout.bits as usize).div_ceil(8),
                _ => layout.piece.0.div_ceil(across) as usize * layout.unit(),
            };
            let row = u32::try_from(layout.row()).ok()?;
            let (piece, rows) = (u32::try_from(piece).ok()?, layout.piece.1.div_ceil(down));
            numbers.extend([(258, 8), (277, 1), (256, row), (257, layout.rows() as u32)]);
            numbers.extend([(278, rows), (322, piece), (323, rows)]);
        }
        let mut decoder = tiff::decoder::Decoder::new(directory.with(&numbers)).ok()?;
        let mut limits = tiff::decoder::Limits::unlimited();
        limits.intermediate_buffer_size = self.bytes.len();
        decoder = decoder.with_limits(limits);
        let length = layout.planes() * layout.rows() * layout.row();
        if decoder.image_buffer_layout().ok()?.complete_len != length {
            return None;
        }
        let mut raw = vec![0; length];
        decoder.read_image_bytes(&mut raw).ok()?;
        Some(raw)
    }

    /// Samples of JPEG pieces.
    fn by_pieces(&self, directory: &Directory) -> Option<Vec<u8>> {
        let layout = &self.layout;
        let components = layout.samples / layout.planes();
        let (row, plane) = (layout.row(), layout.row() * layout.rows());
        let mut raw = vec![0; plane * layout.planes()];
        let (across, down) = layout.pieces();
        for (number, piece) in self.pieces(directory)?.into_iter().enumerate() {
            let (stream, _) = self.jpeg(directory, piece)?;
            let mut decoder = jpeg_decoder::Decoder::new(stream.as_slice());
            match components {
                3 => decoder.set_color_transform(ColorTransform::RGB), // none
                4 => decoder.set_color_transform(ColorTransform::CMYK), // none but that it turns them round
                _ => {}
            }
            let mut bytes = decoder.decode().ok()?;
            if layout.colours == Colours::Inks {
                bytes.iter_mut().for_each(|byte| *byte = !*byte);
            }
            let (number, per_plane) = (number as u32, across * down);
            let (x, y) = (number % across * layout.piece.0, number % per_plane / across * layout.piece.1);
            let from = layout.piece.0 as usize * components;
            let length = from.min((layout.width - x) as usize * components);
            let rows = layout.piece.1.min(layout.height - y) as usize;
            let first = (number / per_plane) as usize * plane + y as usize * row + x as usize * components;
            for line in 0..rows {
                let to = raw.get_mut(first + line * row..)?.get_mut(..length)?;
                to.copy_from_slice(bytes.get(line * from..)?.get(..length)?);
            }
        }
        Some(raw)
    }

    /// A piece with the tables that all have in common, and what it takes to decode it. Decoder and walk have to agree on its
    /// size, which is the piece's.
    fn jpeg(&self, directory: &Directory, piece: &[u8]) -> Option<(Vec<u8>, u64)> {
        let layout = &self.layout;
        let tables = directory.bytes(347).unwrap_or(&[0xFF, 0xD8]);
        let tables = tables.strip_suffix(&[0xFF, 0xD9]).unwrap_or(tables);
        let stream = [tables, piece.strip_prefix(&[0xFF, 0xD8])?].concat();
        let frame = container::jpeg(&stream)?;
        let mut decoder = jpeg_decoder::Decoder::new(stream.as_slice());
        decoder.read_info().ok()?;
        let info = decoder.info()?;
        let components = layout.samples / layout.planes();
        let sound = (info.width, info.height) == (frame.width, frame.height)
            && u32::from(frame.width) == layout.piece.0
            && u32::from(frame.height) <= layout.piece.1.next_multiple_of(16)
            && usize::from(frame.components) == components;
        let pixels = u64::from(frame.width) * u64::from(frame.height) * components as u64;
        let planes = frame.blocks * 64 * if frame.progressive { 3 } else { 1 };
        sound.then_some((stream, pixels + planes))
    }
}
