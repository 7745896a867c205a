//! How a TIFF file holds its pixels, and which ways of doing so are read.

use super::directory::Directory;

/// Why a file is not read: it contradicts itself, or is of a variety that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::picture) enum Refused {
    Unsound,
    Rare(&'static str),
}

/// What the first samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey { white_is_zero: bool },
    Rgb,
    Palette,
    Inks,
    YCbCr,
}

impl Colours {
    /// Samples of a pixel.
    pub(super) fn samples(self) -> usize {
        match self {
            Self::Grey { .. } | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Inks => 4,
        }
    }
}

/// What the sample behind the colours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    /// The colours are multiplied by it already.
    Associated,
    Unassociated,
}

/// How pixels are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1 to 16, or 32 for floating point.
    pub(super) bits: u32,
    pub(super) samples: usize,
    pub(super) colours: Colours,
    pub(super) alpha: Alpha,
    /// Each sample in a plane of its own.
    pub(super) planar: bool,
    /// Width and height of the pieces that are compressed by themselves.
    pub(super) piece: (u32, u32),
    pub(super) tiled: bool,
    pub(super) jpeg: bool,
    /// Bits of a byte are in the opposite order.
    pub(super) reversed: bool,
    /// Pixels that share a colour, across and down; 1 and 1 where a JPEG decoder has spread them already.
    pub(super) shared: (u32, u32),
}

impl Layout {
    /// Reads it from the directory.
    pub(super) fn read(directory: &Directory) -> Result<Self, Refused> {
        let compression = number(directory, 259, 1)?;
        compression_is_read(compression)?;
        let photometric = number(directory, 262, u64::MAX)?;
        let colours = colours(photometric, number(directory, 332, 1)?)?;
        let (width, height) = (side(directory, 256)?, side(directory, 257)?);
        let bits = directory.same(258, 1).ok_or(Refused::Rare("channels of different depths"))? as u32;
        let samples = usize::try_from(number(directory, 277, 1)?).map_err(|_| Refused::Unsound)?;
        let extra = directory.numbers(338).ok_or(Refused::Unsound)?;
        if samples < colours.samples() || samples > 64 {
            return Err(Refused::Unsound);
        }
        let alpha = match extra.first() {
            _ if samples == colours.samples() => Alpha::None,
            Some(1) => Alpha::Associated,
            None | Some(2) => Alpha::Unassociated,
            Some(_) => Alpha::None,
        };
        let tiled = directory.has(322);
        let piece = if tiled {
            (side(directory, 322)?, side(directory, 323)?)
        } else {
            let rows = number(directory, 278, u64::MAX)?.clamp(1, u64::from(height));
            (width, rows as u32)
        };
        let layout = Self {
            width,
            height,
            bits,
            samples,
            colours,
            alpha,
            planar: number(directory, 284, 1)? == 2 && samples > 1,
            piece,
            tiled,
            jpeg: compression == 7,
            reversed: number(directory, 266, 1)? == 2 && compression != 7,
            shared: shared(directory, colours, compression == 7)?,
        };
        layout.depth_is_read(number(directory, 317, 1)?, directory)?;
        layout.pieces_are_sound()?;
        Ok(layout)
    }

    /// Which depths there are for which colours.
    fn depth_is_read(&self, predictor: u64, directory: &Directory) -> Result<(), Refused> {
        let format = directory.same(339, 1).ok_or(Refused::Rare("channels of different kinds"))?;
        match (format, self.bits) {
            (1 | 4, 1..=16) => {}
            (3, 32) if matches!(self.colours, Colours::Grey { white_is_zero: false } | Colours::Rgb) => {}
            (3, _) => return Err(Refused::Rare("floating-point numbers of this size")),
            (2, _) => return Err(Refused::Rare("signed numbers")),
            (1 | 4, _) => return Err(Refused::Rare("numbers of this size")),
            _ => return Err(Refused::Rare("complex numbers")),
        }
        let whole_bytes = matches!(self.bits, 8 | 16 | 32);
        if self.tiled && self.planar && !self.jpeg {
            return Err(Refused::Rare("tiles in separate planes")); // the decoder (0.11.3) mistakes their sizes
        }
        if (!whole_bytes && predictor != 1) || (self.bits > 8 && self.packed() && self.planar) {
            return Err(Refused::Rare("numbers of this size in this order"));
        }
        match self.colours {
            Colours::Palette if self.bits > 8 => Err(Refused::Rare("a palette of more than 256 colours")),
            Colours::YCbCr if self.bits != 8 => Err(Refused::Rare("YCbCr colours of this depth")),
            Colours::YCbCr
                if self.shared != (1, 1) && (self.planar || self.samples > 3 || predictor != 1) =>
            {
                Err(Refused::Rare("YCbCr colours in this order"))
            }
            _ if self.jpeg && self.bits != 8 => Err(Refused::Rare("JPEG compression of this depth")),
            _ => Ok(()),
        }
    }

    /// Pieces that hold much more than the picture keep a decoder busy with nothing.
    fn pieces_are_sound(&self) -> Result<(), Refused> {
        let (across, down) = self.pieces();
        let held = u64::from(across) * u64::from(self.piece.0) * u64::from(down) * u64::from(self.piece.1);
        let pixels = u64::from(self.width) * u64::from(self.height);
        let aligned = self.shared.0 <= 1 || self.piece.0.is_multiple_of(self.shared.0) || !self.tiled;
        let rows = self.piece.1.is_multiple_of(self.shared.1) || self.piece.1 >= self.height;
        let bytes = !self.packed() || !self.tiled || self.piece.0.is_multiple_of(8);
        let sound = held <= 4 * pixels + (1 << 24) && aligned && rows && bytes;
        if sound { Ok(()) } else { Err(Refused::Unsound) }
    }

    /// Pieces across and down.
    pub(super) fn pieces(&self) -> (u32, u32) {
        (self.width.div_ceil(self.piece.0), self.height.div_ceil(self.piece.1))
    }

    /// Whether samples do not end where bytes end.
    pub(super) fn packed(&self) -> bool {
        !matches!(self.bits, 8 | 16 | 32)
    }

    /// Planes, each with one sample or all of them.
    pub(super) fn planes(&self) -> usize {
        if self.planar { self.samples } else { 1 }
    }

    /// Bytes of a row of one plane, before anything is spread out.
    pub(super) fn row(&self) -> usize {
        if self.shared != (1, 1) {
            return self.width.div_ceil(self.shared.0) as usize * self.unit();
        }
        (self.width as usize * (self.samples / self.planes()) * self.bits as usize).div_ceil(8)
    }

    /// Rows of one plane.
    pub(super) fn rows(&self) -> usize {
        self.height.div_ceil(self.shared.1) as usize
    }

    /// Bytes of the pixels that share a colour: their lightness, and two values of colour.
    pub(super) fn unit(&self) -> usize {
        self.shared.0 as usize * self.shared.1 as usize + 2
    }
}

fn number(directory: &Directory, tag: u16, default: u64) -> Result<u64, Refused> {
    directory.number(tag, default).ok_or(Refused::Unsound)
}

fn side(directory: &Directory, tag: u16) -> Result<u32, Refused> {
    let side = u32::try_from(number(directory, tag, 0)?).map_err(|_| Refused::Unsound)?;
    // What no picture within any limit reaches, and no product of two overflows.
    if (1..=1 << 28).contains(&side) { Ok(side) } else { Err(Refused::Unsound) }
}

fn compression_is_read(compression: u64) -> Result<(), Refused> {
    Err(Refused::Rare(match compression {
        1 | 4 | 5 | 7 | 8 | 32_773 | 32_946 => return Ok(()),
        2 | 3 | 32_771 => "fax compression (Group 3)",
        6 => "old-style JPEG compression",
        34_676 | 34_677 => "LogLuv compression",
        34_712 | 33_003 | 33_005 => "JPEG 2000 compression",
        34_887 => "LERC compression",
        34_925 => "LZMA compression",
        34_926 | 50_000 => "Zstandard compression",
        50_001 => "WebP compression",
        50_002 => "JPEG XL compression",
        _ => "unknown compression",
    }))
}

fn colours(photometric: u64, ink_set: u64) -> Result<Colours, Refused> {
    Err(Refused::Rare(match photometric {
        0 => return Ok(Colours::Grey { white_is_zero: true }),
        1 => return Ok(Colours::Grey { white_is_zero: false }),
        2 => return Ok(Colours::Rgb),
        3 => return Ok(Colours::Palette),
        5 if ink_set == 1 => return Ok(Colours::Inks),
        6 => return Ok(Colours::YCbCr),
        4 => "a mask",
        5 => "inks other than CMYK",
        8..=10 => "Lab colours",
        32_803 | 34_892 => "raw data of a camera",
        32_844 | 32_845 => "LogLuv colours",
        _ => "unknown colours",
    }))
}

/// How many pixels share a colour.
fn shared(directory: &Directory, colours: Colours, jpeg: bool) -> Result<(u32, u32), Refused> {
    if colours != Colours::YCbCr || jpeg {
        return Ok((1, 1));
    }
    match directory.numbers(530).ok_or(Refused::Unsound)?.as_slice() {
        [] => Ok((2, 2)),
        &[across @ (1 | 2 | 4), down @ (1 | 2 | 4)] => Ok((across as u32, down as u32)),
        _ => Err(Refused::Unsound),
    }
}
