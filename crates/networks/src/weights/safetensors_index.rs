//! The table of a safetensors file: eight bytes of header length, a JSON header, then the values.

use candle_core::DType;
use safetensors::{Dtype, SafeTensors};

use super::float8::Float8;
use super::index::{Index, Stored};

/// Whether the file begins like safetensors: a plausible header length followed by `{`.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

pub(super) fn index(bytes: &[u8]) -> Result<Index, String> {
    let damaged = |error| format!("not a whole safetensors file ({error}); download it again");
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let mut index = Index::new();
    for (name, info) in metadata.tensors() {
        let dtype = dtype(info.dtype)
            .ok_or_else(|| format!("tensor `{name}` has the unsupported type {:?}", info.dtype))?;
        let start = 8 + header;
        let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
        let float8 = match info.dtype {
            Dtype::F8_E4M3 => Some(Float8::E4M3),
            Dtype::F8_E5M2 => Some(Float8::E5M2),
            _ => None,
        };
        let shape = info.shape.clone();
        index.insert(name, Stored { dtype, float8, shape, strides: None, file: 0, bytes });
    }
    Ok(index)
}

fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::U8 | Dtype::BOOL | Dtype::F8_E4M3 | Dtype::F8_E5M2 => DType::U8,
        _ => return None,
    })
}
